"""How the trials of a search went: told in lines, and kept in files."""

import dataclasses
from dataclasses import dataclass
from typing import Any

from pipeline.files import write_csv, write_json
from pipeline.tuning.folder import Sweep
from pipeline.tuning.oracles import OWN, SweepOracle, decode, is_refused, scores_of, values_of
from pipeline.tuning.space import Space
from pipeline.tuning.tuner import REASON


@dataclass(frozen=True)
class Outcome:
    """How a trial went."""

    trial: str
    fate: str
    """completed, pruned, refused, failed or running."""
    score: float | None
    """Best accuracy on validation images."""
    epochs: int
    """Of its training."""
    values: dict[str, Any]
    """Of the recipe's fields."""
    reason: str | None = None
    """Why it was refused, or failed."""


def first_of(trial: Any, trials: dict[str, Any]) -> str:
    """The trial that another goes on from, through all promotions: that one's folder is used."""
    earlier = trial.hyperparameters.values.get(f"{OWN}trial_id")
    return first_of(trials[earlier], trials) if earlier else trial.trial_id


def outcomes(oracle: SweepOracle, space: Space, epochs: int, sweep: Sweep) -> list[Outcome]:
    """How every trial went, the best first, those without a score last."""
    found = []
    for trial in oracle.trials.values():
        scores = scores_of(trial)
        reached = max(scores, default=0)
        planned = trial.hyperparameters.values.get(f"{OWN}epochs", epochs)
        fate = {"RUNNING": "running", "COMPLETED": "completed"}.get(trial.status, "failed")
        if is_refused(trial):
            fate = "refused"
        elif fate == "completed" and reached < planned:
            fate = "pruned"
        score = trial.score if fate in ("completed", "pruned") else None
        values = decode(space, values_of(trial))
        reason = trial.message
        if fate == "failed" and reason is None:
            reason = (sweep.trials / trial.trial_id / REASON).read_text(encoding="utf-8")
        found.append(Outcome(trial.trial_id, fate, score, reached, values, reason))
    return sorted(found, key=lambda each: (each.score is None, -(each.score or 0)))


def line_of(outcome: Outcome) -> str:
    """A trial in one line."""
    score = "" if outcome.score is None else f"{outcome.score:.2%}"
    values = ", ".join(
        f"{name.rpartition('.')[2]} {short(value)}" for name, value in outcome.values.items()
    )
    fate = outcome.fate if outcome.reason is None else f"{outcome.fate} ({outcome.reason})"
    return f"  {outcome.trial:>4} {score:>7} {outcome.epochs:>3} epochs  {fate:<9}  {values}"


def short(value: Any) -> str:
    """A value in few characters."""
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def write_results(sweep: Sweep, found: list[Outcome], never_begun: list[dict[str, Any]]) -> None:
    """Write `sweep.json` and `sweep.csv`.

    Args:
        sweep: whose files they are.
        found: the trials, the best first.
        never_begun: values that were refused before they became trials, and why.
    """
    trials = [dataclasses.asdict(each) for each in found]
    write_json(sweep.sweep_json, {"trials": trials, "never_begun": never_begun})
    rows = []
    for each in found:
        row = dataclasses.asdict(each)
        rows.append({**row.pop("values"), **row} | {"reason": row["reason"] or ""})
    columns = ["trial", "fate", "score", "epochs", *(found[0].values if found else ()), "reason"]
    write_csv(sweep.sweep_csv, columns, rows)
