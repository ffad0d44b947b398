"""The learner of several replicas: what Keras's `fit` needs to work under `tf.distribute`.

Keras 3.15 fails there in two places (https://github.com/keras-team/keras/issues/20585): before the
first step `_maybe_symbolic_build` averages a batch over the replicas, which several machines
cannot; and `reduce_per_replica` averages the scores of a step over an axis that they do not have.
Here everything is built beforehand, and scores are read from the metrics, which add up by
themselves. Beside that, gradients are added up before they are clipped, or looked at for float16,
so that every replica decides alike.
"""

import contextlib
import os
import signal
from collections.abc import Callable, Iterator
from typing import Any

import tensorflow as tf

from pipeline.training.distribution import Distribution
from pipeline.training.learner import Learner


class ReplicatedLearner(Learner):
    """A `Learner` whose steps are taken by all replicas together.

    To Keras an evaluation is one step, as an epoch is: give `evaluate` one step of
    `evaluation_shares`.

    Args:
        network: as for `Learner`, made in the scope of `distribution`.
        steps_per_epoch: as for `Learner`.
        average: as for `Learner`.
        distribution: the devices.
    """

    evaluation_calls = 1

    def __init__(self, network, steps_per_epoch, average, distribution: Distribution):
        super().__init__(network, steps_per_epoch, average)
        self.distribution = distribution
        self.evaluation_steps = 1
        self.interrupted = 0
        for layer in network._flatten_layers():
            if getattr(layer, "seed_generator", None):
                throw_own_dice(layer.seed_generator)
        # As a graph: the metrics of all workers are added up, which costs a message for each.
        self.metrics_result = tf.function(self.get_metrics_result)

    def compile(self, *args, **kwargs):
        super().compile(*args, **kwargs)
        add_gradients_first(self.optimizer)

    def fit(self, *args, **kwargs):
        if self.distribution.workers == 1:
            return super().fit(*args, **kwargs)
        with signals_noted(self.note_interrupt):
            history = super().fit(*args, **kwargs)
        if self.interrupted:
            raise KeyboardInterrupt
        return history

    def note_interrupt(self) -> None:
        """Stop all workers after the present call, at the same step."""
        self.interrupted = 1

    def _maybe_symbolic_build(self, iterator=None, data_batch=None):
        """Nothing: who fits has built it."""

    def make_test_function(self, force=False):
        if self.test_function is None or force:
            self.test_steps = tf.function(self.evaluation_steps_of)
            self.test_function = self.test_all
        return self.test_function

    def evaluation_steps_of(self, batches, count: tf.Tensor) -> None:
        """Measure the next `count` batches; what they gave is in the metrics."""
        for _ in tf.range(count):
            self.distribute_strategy.run(self.test_step, (next(batches),))

    def test_all(self, batches) -> dict[str, Any]:
        """Measure every batch once, and give the scores back."""
        self.test_steps(batches, tf.constant(self.evaluation_steps, tf.int64))
        return self.get_metrics_result()

    def agree(self, steps_per_second):
        """The pace of the chief: clocks differ, and workers would wait for one another.

        Raises:
            KeyboardInterrupt: one of the workers was told to stop.
        """
        mine = steps_per_second if self.distribution.is_chief else 0.0
        pace, interrupted = self.distribution.added_up(mine, self.interrupted)
        if interrupted:
            raise KeyboardInterrupt
        return pace

    def scores(self):
        return {name: float(value) for name, value in self.metrics_result().items()}


@contextlib.contextmanager
def signals_noted(note: Callable[[], None]) -> Iterator[None]:
    """Call `note` at the first Ctrl-C or SIGTERM, instead of raising; the second ends at once."""

    def first(number: int, _frame: Any) -> None:
        signal.signal(number, lambda *_: os._exit(128 + number))
        note()

    before = {number: signal.signal(number, first) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def throw_own_dice(generator: Any) -> None:
    """Have a generator give each replica another seed: or they would drop the same units out."""
    draw = generator.next

    def draw_own(*args, **kwargs):
        seed = draw(*args, **kwargs)
        context = tf.distribute.get_replica_context()
        number = context.replica_id_in_sync_group if context else 0
        return seed + tf.cast(tf.stack([number, 0]), seed.dtype)

    generator.next = draw_own


def add_gradients_first(optimizer: Any) -> None:
    """Have an optimizer add its gradients up over the replicas before it does anything to them.

    Keras adds them up last, so each replica would clip its own part, and look for infinite numbers
    in its own part alone.
    """
    apply = optimizer.apply

    def apply_added_up(gradients, trainable_variables=None):
        context = tf.distribute.get_replica_context()
        return apply(context.all_reduce("SUM", list(gradients)), trainable_variables)

    optimizer.apply = apply_added_up
    innermost = getattr(optimizer, "inner_optimizer", optimizer)
    innermost._all_reduce_sum_gradients = list
