"""Tells of a search while it runs, and keeps what it found."""

import dataclasses
import shutil
from collections.abc import Callable
from typing import Any

from pipeline import plots
from pipeline.console import console
from pipeline.files import whole, write_text
from pipeline.recipe import Recipe
from pipeline.tuning.folder import Sweep
from pipeline.tuning.oracles import SweepOracle
from pipeline.tuning.outcomes import Outcome, first_of, line_of, outcomes, write_results
from pipeline.tuning.search import Search
from pipeline.tuning.source import source_of
from pipeline.tuning.space import Space, with_values
from serving.errors import ConvoyError


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
        write_results(self.sweep, found, self.oracle.refused_values(self.space))
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
        write_results(self.sweep, found, self.oracle.refused_values(self.space))
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
