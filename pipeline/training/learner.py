"""A network that learns under Keras's `fit`: many steps in one call, counted and averaged."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from pipeline.training.distribution import ALONE, Distribution

# How long one call should take: long enough not to count, short enough for Ctrl-C and the bar.
SECONDS_PER_CALL = 0.25


class Learner(keras.Model):
    """A functional network that trains many steps in each call of its train function.

    To Keras's `fit` an epoch is one step, so give it `steps_per_epoch=1`; who
    wants to know of the steps within stands in `watchers`, and is called with
    the scores so far. How steps are grouped into calls changes their speed
    alone, not what they compute.

    Args:
        network: functional `keras.Model`, whose layers it shares.
        steps_per_epoch: int. Batches in an epoch.
        average: float. Share of the averaged weights that a step leaves as it was; 0 for none.

    Reference:
        Polyak and Juditsky, 1992. https://doi.org/10.1137/0330046 (averages)
    """

    # One device, where Keras counts the batches of an evaluation by itself.
    distribution: Distribution = ALONE
    evaluation_calls: int | None = None

    def __init__(self, network: keras.Model, steps_per_epoch: int, average: float = 0.0):
        super().__init__(network.input, network.output, name=network.name)
        self.steps_per_epoch = steps_per_epoch
        self.average = average
        self.epoch = 0
        self.watchers: list[Callable[[dict[str, float]], None]] = []
        self.steps_per_call = 1
        self.resumed = False
        # Whether the metrics are those of an epoch under way, not of a validation.
        self.scores_training = False
        # TensorFlow's, not Keras's: they are no weights of the network.
        self.step = tf.Variable(tf.constant(0, tf.int64), trainable=False)
        self.averages = [
            tf.Variable(keras.ops.convert_to_numpy(weight), trainable=False)
            # The statistics of norms go with the kernels.
            for weight in (self.weights if average else ())
        ]

    @property
    def steps_done(self) -> int:
        """How many batches it has trained on."""
        return int(self.step.numpy())

    def build_for(self, element_spec: Any) -> None:
        """Make the variables of metrics and optimizer, which Keras makes when data first come."""
        with self.distribution.scope():
            self._symbolic_build(data_batch=element_spec)

    def train_step(self, data):
        logs = super().train_step(data)
        self.step.assign_add(1)
        # Early on the average follows faster, so that it forgets where it began.
        seen = tf.cast(self.step, tf.float32)
        moved = 1 - tf.minimum(self.average, (1 + seen) / (10 + seen))
        for average, weight in zip(self.averages, self.weights, strict=False):
            if average.dtype.is_floating:
                average.assign_sub(moved * (average - weight.value))
            else:
                average.assign(weight.value)
        return logs

    def make_train_function(self, force=False):
        if self.train_function is None or force:
            jit = bool(self.jit_compile)
            self.one_step = (
                tf.function(self.train_step, jit_compile=True) if jit else self.train_step
            )
            self.train_steps = tf.function(self.steps_of)
            self.train_function = self.train_epoch
        return self.train_function

    def steps_of(self, batches: Iterator, count: tf.Tensor) -> None:
        """Train on the next `count` batches; what they gave is in the metrics."""
        for _ in tf.range(count):
            self.distribute_strategy.run(self.one_step, (next(batches),))

    def train_epoch(self, batches: Iterator) -> dict[str, float]:
        """Train from the present step to the end of the epoch, and give the scores back."""
        self.scores_training = True
        left = (self.epoch + 1) * self.steps_per_epoch - self.steps_done
        scores = None
        while left > 0:
            count = min(self.steps_per_call, left)
            began = time.perf_counter()
            self.train_steps(batches, tf.constant(count, tf.int64))
            self.adapt(self.agree(count / (time.perf_counter() - began)))
            left -= count
            scores = self.scores()
            for watch in self.watchers:
                watch(scores)
        # None where a training goes on at the end of an epoch.
        return self.scores() if scores is None else scores

    def agree(self, steps_per_second: float) -> float:
        """The pace that all processes go by, after each call."""
        return steps_per_second

    def adapt(self, steps_per_second: float) -> None:
        """Choose how many steps the next call takes, at most ten times those of the last."""
        wanted = int(steps_per_second * SECONDS_PER_CALL)
        self.steps_per_call = max(min(wanted, 10 * self.steps_per_call), 1)

    def scores(self) -> dict[str, Any]:
        """Mean loss and metrics of the epoch so far."""
        return {name: float(value) for name, value in self.get_metrics_result().items()}

    def reset_metrics(self):
        self.scores_training = False
        # In the middle of an epoch they go on from where they stopped.
        if self.resumed:
            self.resumed = False
        else:
            super().reset_metrics()
