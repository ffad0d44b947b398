"""What happens between steps and epochs: the bar, the records, the choice of the best weights."""

import contextlib
import math
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from pipeline.console import progress
from pipeline.files import write_csv, writing
from pipeline.run import Run
from pipeline.training import checkpoints
from pipeline.training.checkpoints import Progress
from pipeline.training.divergence import Diverged, is_finite
from pipeline.training.learner import Learner


class ProgressBar(keras.callbacks.Callback):
    """One bar over the whole training, with the time left and the last scores."""

    def __init__(self, metric: str, steps: int, done: int = 0):
        super().__init__()
        self.metric = metric
        self.done = done
        self.bar = progress("training", steps, done)
        self.open = contextlib.ExitStack()

    def on_train_begin(self, logs=None):
        self.advance = self.open.enter_context(self.bar)

    def watch(self, scores):
        """Move on by what the last call trained."""
        step = self.model.steps_done
        self.advance(step - self.done)
        self.done = step

    def on_epoch_end(self, epoch, logs=None):
        scores = logs or {}
        validation = scores.get(f"val_{self.metric}")
        said = f", {self.metric} {validation:.2%}" if validation is not None else ""
        self.advance(0, note=f"epoch {epoch + 1}: loss {scores['loss']:.3f}{said}")

    def close(self):
        """End the bar, also when training was interrupted."""
        self.open.close()


class Board(keras.callbacks.TensorBoard):
    """TensorBoard's events, of which a full disk is told like of any other file."""

    def on_test_end(self, logs=None):
        with writing_events(self.log_dir):
            super().on_test_end(logs)

    def on_epoch_end(self, epoch, logs=None):
        with writing_events(self.log_dir):
            super().on_epoch_end(epoch, logs)

    def on_train_end(self, logs=None):
        with writing_events(self.log_dir):
            super().on_train_end(logs)


def writing_events(folder: str) -> contextlib.AbstractContextManager[None]:
    """Turn a refusal to write TensorBoard's events into one sentence."""
    return writing(Path(folder), also=tf.errors.OpError)


class Recorder(keras.callbacks.Callback):
    """Keeps the history, the weights that validate best, and checkpoints to go on from.

    Args:
        run: whose folder is written to.
        state: how far the training came; kept up to date.
        identity: what a checkpoint must be of, for a training to go on from it.
        metric: name of the score that chooses, higher being better.
        seconds: between checkpoints.
    """

    def __init__(
        self, run: Run, state: Progress, identity: dict[str, Any], metric: str, seconds: float
    ):
        super().__init__()
        self.run = run
        self.state = state
        self.identity = identity
        self.metric = metric
        self.seconds = seconds
        self.validation: Any = None
        self.before = state.seconds
        self.began = self.saved = time.monotonic()

    def watch(self, scores):
        """Keep a checkpoint when it is time for one.

        Raises:
            Diverged: the loss is no finite number.
        """
        if not math.isfinite(scores["loss"]):
            raise Diverged
        due = time.monotonic() - self.saved >= self.seconds
        if self.model.distribution.of_chief(due):
            self.save()

    def save(self):
        """Keep a checkpoint.

        Raises:
            Diverged: a weight is no finite number.
        """
        if not is_finite(self.model):
            raise Diverged
        self.state.step = self.model.steps_done
        self.state.seconds = self.before + time.monotonic() - self.began
        checkpoints.save(self.run.checkpoints, self.model, self.state, self.identity)
        self.saved = time.monotonic()

    def save_within_epoch(self):
        """Keep a checkpoint of an interrupted epoch, unless its metrics already validate."""
        if self.model.scores_training:
            with contextlib.suppress(Diverged):
                self.save()

    def on_epoch_end(self, epoch, logs=None):
        scores = logs if logs is not None else {}
        validated = f"val_{self.metric}" in scores
        if validated:
            self.choose(epoch, scores)
        # What an interrupted end of this epoch left is written anew.
        earlier = [row for row in self.state.history if row["epoch"] < epoch]
        self.state.history = [*earlier, {"epoch": epoch, **scores}]
        if self.model.distribution.is_chief:
            write_history(self.run, self.state.history)
        self.state.epoch = self.model.epoch = epoch + 1
        if validated:
            self.save()

    def choose(self, epoch, scores):
        """Keep this epoch's weights, or their average, where they are the best so far."""
        learner: Any = self.model
        candidates = [(scores[f"val_{self.metric}"], False)]
        if learner.averages:
            with averaged(learner):
                found = self.scores()
                averages = learner.get_weights()
            scores[f"val_average_{self.metric}"] = found[self.metric]
            candidates.append((found[self.metric], True))
        for score, is_average in candidates:
            # Of equals the later one: it has seen more.
            if score >= self.state.best_score:
                self.state.best_score, self.state.best_epoch = score, epoch + 1
                self.state.best_is_average = is_average
                self.state.best = averages if is_average else learner.get_weights()

    def scores(self):
        """Measure the weights as they are on the validation split."""
        learner: Any = self.model
        return learner.evaluate(
            self.validation, steps=learner.evaluation_calls, verbose=0, return_dict=True
        )


@contextlib.contextmanager
def averaged(learner: Learner) -> Iterator[None]:
    """Give a learner the moving averages of its weights for a while."""
    own = learner.get_weights()
    learner.set_weights(learner.averages)
    try:
        yield
    finally:
        learner.set_weights(own)


def write_history(run: Run, history: list[dict[str, float]]) -> None:
    """Write `history.csv`, a row for each epoch; what was not measured in one is empty."""
    columns = list(dict.fromkeys(name for row in history for name in row))
    write_csv(run.history, columns, history)
