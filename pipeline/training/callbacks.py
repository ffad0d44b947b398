"""What happens between epochs: the bar, the best weights."""

import math
from pathlib import Path

import keras

from pipeline.console import progress
from pipeline.files import whole
from serving.errors import ConvoyError


class ProgressBar(keras.callbacks.Callback):
    """One bar over the whole training, with the time left and the last scores."""

    def __init__(self, metric: str, steps: int):
        super().__init__()
        self.metric = metric
        self.context = progress("training", steps)

    def on_train_begin(self, logs=None):
        self.advance = self.context.__enter__()

    def on_train_batch_end(self, batch, logs=None):
        self.advance()

    def on_epoch_end(self, epoch, logs=None):
        scores = logs or {}
        validation = scores.get(f"val_{self.metric}", float("nan"))
        self.advance(
            0, note=f"epoch {epoch + 1}: loss {scores['loss']:.3f}, {self.metric} {validation:.2%}"
        )

    def close(self):
        """End the bar, also when training was interrupted."""
        self.context.__exit__(None, None, None)


class FiniteLoss(keras.callbacks.Callback):
    """Ends a training whose loss is no number any more: nothing comes back from there.

    Stands last among the callbacks, so that the others have closed their files
    when it raises.
    """

    def __init__(self):
        super().__init__()
        self.problem = None

    def on_epoch_end(self, epoch, logs=None):
        loss = (logs or {})["loss"]
        if not math.isfinite(loss):
            self.model.stop_training = True
            self.problem = (
                f"training diverged in epoch {epoch + 1}: expected a finite loss, received "
                f"{loss}; lower --training.learning-rate."
            )

    def on_train_end(self, logs=None):
        if self.problem:
            raise ConvoyError(self.problem)


class BestWeights(keras.callbacks.Callback):
    """Keeps the weights of the epoch that scored best on the validation split."""

    def __init__(self, path: Path, metric: str):
        super().__init__()
        self.path = path
        self.metric = f"val_{metric}"
        self.best = float("-inf")
        self.epoch = 0

    def on_epoch_end(self, epoch, logs=None):
        score = (logs or {})[self.metric]
        # Of equals the later one: it has seen more.
        if score >= self.best:
            self.best, self.epoch = score, epoch + 1
            with whole(self.path) as scratch:
                self.model.save_weights(scratch)
