"""A search from beginning to end, and what it leaves in its folder."""

import dataclasses
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline import plots
from pipeline.console import console, progress
from pipeline.data.sources import load
from pipeline.data.splits import Splits
from pipeline.differences import differences
from pipeline.files import alone, whole, write_csv, write_json, write_text
from pipeline.recipe import Recipe
from pipeline.run import new_folder, provenance
from pipeline.task import Classification
from pipeline.tuning.costs import Costs
from pipeline.tuning.oracles import (
    OWN,
    Refusal,
    SweepOracle,
    decode,
    is_refused,
    make_oracle,
    scores_of,
    values_of,
)
from pipeline.tuning.search import Limits, Search
from pipeline.tuning.source import source_of
from pipeline.tuning.space import Space, parse, value_of, with_values
from pipeline.tuning.tuner import REASON, RecipeTuner
from pipeline.tuning.workbench import Workbench
from pipeline.tuning.workers import search_by
from serving.errors import ConvoyError


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder; the properties name what lies in it."""

    folder: Path

    @property
    def search_json(self) -> Path:
        """The recipe, the space, how it was searched, where and with what."""
        return self.folder / "search.json"

    @property
    def oracle_json(self) -> Path:
        """What a search goes on from."""
        return self.folder / "oracle.json"

    @property
    def sweep_json(self) -> Path:
        """Every trial: its values, scores and fate, the best first."""
        return self.folder / "sweep.json"

    @property
    def sweep_csv(self) -> Path:
        """The same as a table."""
        return self.folder / "sweep.csv"

    @property
    def best(self) -> Path:
        """The best recipe, a file that `convoy train` takes."""
        return self.folder / "best.py"

    @property
    def plots(self) -> Path:
        """The pictures."""
        return self.folder / "plots"

    @property
    def trials(self) -> Path:
        """A run folder for each trial."""
        return self.folder / "trials"


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


def tune(recipe: Recipe, space: Space, search: Search, workers: int = 1) -> Sweep:
    """Search for a better recipe.

    Args:
        recipe: the one to better; its own values are tried first.
        space: what may change.
        search: how to go about it.
        workers: processes that run trials.

    Raises:
        ConvoyError: bad input, or nothing within the limits; nothing is left behind.
    """
    splits = load(recipe.data)
    named = dataclasses.replace(recipe, name=f"{recipe.name}-sweep")
    sweep = Sweep(new_folder(named))
    content = {
        "recipe": recipe.to_dict(),
        "space": {name: str(values) for name, values in space.items()},
        "search": dataclasses.asdict(search),
        "data": splits.fingerprint,
        "provenance": provenance(),
    }
    write_json(sweep.search_json, content)
    go_on(sweep, recipe, space, search, splits, workers)
    return sweep


def resume(sweep: Sweep, workers: int = 1) -> None:
    """Go on with a search that was interrupted or killed, as if it had not been.

    Raises:
        ConvoyError: it is no sweep, is at work, or its data have changed.
    """
    go_on(sweep, *recalled(sweep), workers)


def work(sweep: Sweep) -> None:
    """Run trials that a chief hands out, until it has no more.

    Raises:
        ConvoyError: it is no sweep, or its data have changed.
    """
    recipe, space, search, splits = recalled(sweep)
    oracle = oracle_of(sweep, recipe, space, search, lambda values: None)
    task = Classification(splits.labels)
    tuner = RecipeTuner(oracle, recipe, space, sweep.folder)
    tuner.search(Workbench(splits, task), splits, task)


def recalled(sweep: Sweep) -> tuple[Recipe, Space, Search, Splits]:
    """What a sweep is of, and its data.

    Raises:
        ConvoyError: it is no sweep, or its data have changed.
    """
    content = read(sweep)
    recipe = Recipe.from_dict(content["recipe"])
    limits = Limits(**content["search"].pop("limits"))
    search = Search(**content["search"], limits=limits)
    space = {name: parse(text) for name, text in content["space"].items()}
    splits = load(recipe.data)
    if changed := differences({"data": content["data"]}, {"data": splits.fingerprint}):
        raise ConvoyError(
            f"the data of {sweep.folder} have changed: expected those it began with, received "
            f"others: {changed}; restore `{recipe.data.source}` or search again."
        )
    return recipe, space, search, splits


def oracle_of(
    sweep: Sweep, recipe: Recipe, space: Space, search: Search, refusal: Refusal
) -> SweepOracle:
    """The oracle of a sweep, at its beginning."""
    defaults = {name: value_of(recipe, name) for name in space}
    return make_oracle(space, defaults, sweep.oracle_json, search, refusal, recipe.training.epochs)


def read(sweep: Sweep) -> dict[str, Any]:
    """What a sweep is of.

    Raises:
        ConvoyError: the folder is no sweep.
    """
    try:
        return json.loads(sweep.search_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConvoyError(
            f"{sweep.folder} is no sweep: expected a readable search.json in it, received "
            f"{type(error).__name__}; pass a folder that `convoy tune` wrote."
        ) from error


def go_on(
    sweep: Sweep, recipe: Recipe, space: Space, search: Search, splits: Splits, workers: int = 1
) -> None:
    """Run trials until the search ends, and write what was found after each."""
    with alone(sweep.folder / ".lock", wait=False) as is_alone:
        if not is_alone:
            raise ConvoyError(
                f"{sweep.folder} is at work: expected a sweep that no process searches, received "
                "one that another does; wait for it, or stop it first."
            )
        refusal = Costs(recipe, splits, search.limits).refusal
        oracle = oracle_of(sweep, recipe, space, search, refusal)
        if sweep.oracle_json.exists():
            oracle.reload()
        task = Classification(splits.labels)
        with progress("searching", search.trials) as advance:
            tell = Teller(sweep, recipe, space, search, oracle, advance)
            tell.catch_up()
            oracle.heard = tell
            try:
                if workers > 1:
                    search_by(workers, str(sweep.folder), oracle)
                else:
                    tuner = RecipeTuner(oracle, recipe, space, sweep.folder)
                    tuner.search(Workbench(splits, task), splits, task)
            except KeyboardInterrupt:
                way = f"go on with `convoy tune --resume {sweep.folder}`"
                raise KeyboardInterrupt(way) from None
        tell.finish()


class Teller:
    """Tells of a search while it runs, and keeps what it found.

    Args:
        sweep: whose files are written.
        recipe: the one to better.
        space: what may change.
        search: how it goes about it.
        oracle: knows the trials.
        advance: moves the bar.
    """

    def __init__(
        self,
        sweep: Sweep,
        recipe: Recipe,
        space: Space,
        search: Search,
        oracle: SweepOracle,
        advance: Callable[..., None],
    ):
        self.sweep, self.recipe, self.space = sweep, recipe, space
        self.search, self.oracle, self.advance = search, oracle, advance

    @property
    def outcomes(self) -> list[Outcome]:
        """Every trial, the best first."""
        return outcomes(self.oracle, self.space, self.recipe.training.epochs, self.sweep)

    def catch_up(self) -> None:
        """Move the bar to where a resumed search is."""
        done = [each for each in self.outcomes if each.fate in ("completed", "pruned", "failed")]
        self.advance(len(done))

    def __call__(self, trial: Any) -> None:
        """Tell of a trial that has ended, and write all files."""
        found = self.outcomes
        (own,) = [each for each in found if each.trial == trial.trial_id]
        best = found[0]
        console.print(line_of(own), soft_wrap=True)
        self.advance(1, note=f"best {best.score:.2%}" if best.score is not None else "")
        self.keep_best(found)
        write_results(self.sweep, found)
        if best.score is not None:
            write_text(self.sweep.best, best_recipe(self.recipe, self.search, self.sweep, best))

    def keep_best(self, found: list[Outcome]) -> None:
        """Remove the checkpoints of trials that neither are the best nor go on."""
        kept = {each.trial for each in found[: self.search.keep]}
        kept |= self.oracle.needed()
        trials = self.oracle.trials
        for each in found:
            if each.fate != "running" and each.trial not in kept:
                folder = first_of(trials[each.trial], trials)
                if folder not in {first_of(trials[name], trials) for name in kept}:
                    shutil.rmtree(self.sweep.trials / folder / "checkpoints", ignore_errors=True)

    def finish(self) -> None:
        """Write what the last refusals were, and draw the pictures.

        Raises:
            ConvoyError: no trial came to a score.
        """
        found = self.outcomes
        write_results(self.sweep, found)
        if not found or found[0].score is None:
            raise ConvoyError(
                f"the search of {self.sweep.folder} found nothing: expected a trial with a score, "
                f"received {len(found)} without; allow it more time, or widen its limits."
            )
        self.sweep.plots.mkdir(exist_ok=True)
        order = [self.oracle.trials[name] for name in self.oracle.end_order]
        scores = [each.score for each in order if each.score is not None]
        with whole(self.sweep.plots / "scores.png") as scratch:
            plots.search(scores, scratch)


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


def write_results(sweep: Sweep, found: list[Outcome]) -> None:
    """Write `sweep.json` and `sweep.csv`."""
    write_json(sweep.sweep_json, {"trials": [dataclasses.asdict(each) for each in found]})
    rows = []
    for each in found:
        row = dataclasses.asdict(each)
        rows.append({**row.pop("values"), **row} | {"reason": row["reason"] or ""})
    columns = ["trial", "fate", "score", "epochs", *(found[0].values if found else ()), "reason"]
    write_csv(sweep.sweep_csv, columns, rows)


def best_recipe(recipe: Recipe, search: Search, sweep: Sweep, best: Outcome) -> str:
    """The file of the best recipe."""
    named = dataclasses.replace(recipe, name=f"{recipe.name}-tuned")
    words = (
        f"What a {search.oracle} search made of `{recipe.name}`.\n\n"
        f"    convoy train {sweep.best}\n\n"
        f"Validation accuracy {best.score:.2%} after {best.epochs} epochs. The search never saw "
        "the test split.\n"
    )
    return source_of(with_values(named, best.values), words)
