"""One trial: a training of the recipe with other values, which may end before its last epoch."""

from collections.abc import Callable
from pathlib import Path

import keras

from pipeline.data.splits import Splits
from pipeline.recipe import Recipe
from pipeline.run import Run, create_run
from pipeline.task import Classification
from pipeline.training.callbacks import Recorder
from pipeline.training.divergence import Diverged
from pipeline.training.fit import begin, identity_of, run_epochs
from pipeline.training.learner import Learner

# Told of an epoch, counted from one, and of its score; says whether to go on.
Report = Callable[[int, float], bool]


class Reporter(keras.callbacks.Callback):
    """Reports every score, and ends the training where it is told to."""

    def __init__(self, metric: str, report: Report):
        super().__init__()
        self.metric = metric
        self.report = report

    def on_epoch_end(self, epoch, logs=None):
        if not self.tell(epoch, logs or {}):
            self.model.stop_training = True

    def tell(self, epoch, scores):
        """Report the scores of an epoch, counted from zero; return whether to go on."""
        names = (f"val_{self.metric}", f"val_average_{self.metric}")
        found = [scores[name] for name in names if scores.get(name) is not None]
        return self.report(epoch + 1, max(found)) if found else True


def train_trial(
    recipe: Recipe,
    learner: Learner,
    splits: Splits,
    task: Classification,
    folder: Path,
    last: int,
    report: Report,
) -> None:
    """Train a recipe in a folder, or go on where a training in it stopped.

    Where its numbers cease to be finite it scores nothing from there on.

    Args:
        recipe: of the trial.
        learner: at its beginning.
        splits: the data; the test split is never seen.
        task: what is learned.
        folder: a run's, with checkpoints and `history.csv`.
        last: the epoch to stop after, counted from one.
        report: told of every score.
    """
    run = Run(folder) if (folder / "recipe.json").exists() else create_run(recipe, folder)
    identity = identity_of(recipe, splits)
    state = begin(learner, recipe, splits, run, identity, resume=True)
    recorder = Recorder(run, state, identity, task.metric, recipe.training.checkpoint_seconds)
    reporter = Reporter(task.metric, report)
    # Who hears of them now may be another than before; the last word counts.
    goes_on = [reporter.tell(row["epoch"], row) for row in state.history]
    if state.epoch >= last or not all(goes_on[-1:]):
        return
    try:
        run_epochs(learner, recipe, splits, recorder, [reporter], last)
    except Diverged:
        report(state.epoch + 1, 0.0)
    except KeyboardInterrupt:
        recorder.save_within_epoch()
        raise
