"""Where a training went wrong: the step, the layer and the images that gave no finite number."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from models.expand import replay
from pipeline.training.checkpoints import variables
from pipeline.training.learner import Learner

# How many images a message names.
NAMED = 3

Batch = tuple[tf.Tensor, tf.Tensor]


class Diverged(Exception):
    """The loss or a weight is no finite number any more: nothing comes back from there."""


class Culprit(NamedTuple):
    """What first gave something else than finite numbers, and for which rows of the batch."""

    what: str
    rows: np.ndarray


def repeat_until_it_breaks(learner: Learner, batches: Iterator[Batch], most: int) -> Batch | None:
    """Train step by step until the loss or a weight is no finite number, and undo that step.

    Returns:
        The batch of that step, the learner standing where it was before it; `None` where `most`
        steps went well.
    """
    train = tf.function(learner.train_step)
    for _ in range(most):
        batch = next(batches)
        before = snapshot(learner)
        if learner.steps_done % learner.steps_per_epoch == 0:
            learner.reset_metrics()
        scores = train(batch)
        if not (np.isfinite(float(scores["loss"])) and is_finite(learner)):
            put_back(before)
            return batch
    return None


def is_finite(learner: Learner) -> bool:
    """Whether every weight is a finite number."""
    return all(np.isfinite(weight).all() for weight in learner.get_weights())


def snapshot(learner: Learner) -> list[tuple[Any, np.ndarray]]:
    """Everything that a training changes, with the values it has."""
    return [(each, keras.ops.convert_to_numpy(each)) for _, each in variables(learner)]


def put_back(state: list[tuple[Any, np.ndarray]]) -> None:
    """Give variables the values they had."""
    for variable, value in state:
        variable.assign(value)


def find_culprit(learner: Learner, batch: Batch) -> Culprit:
    """Which layer first gives no finite numbers for a batch, forward, or else backward.

    Leaves the weights as they are.
    """
    before = snapshot(learner)
    try:
        return culprit_forward(learner, batch) or culprit_backward(learner, batch)
    finally:
        put_back(before)


def culprit_forward(learner: Learner, batch: Batch) -> Culprit | None:
    """The first layer with an output that is not finite; `None` where all are."""
    found = []

    def call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        if getattr(layer, "_call_has_training_arg", False) and kwargs.get("training") is None:
            kwargs["training"] = True
        output = layer(*args, **kwargs)
        for tensor in tf.nest.flatten(output):
            rows = not_finite(tensor)
            if rows.size:
                found.append(Culprit(f"the output of `{layer.name}`", rows))
        return output

    # Not by the layers' own outputs: those of a backbone belong to the network it comes from.
    replay(learner, tf.cast(batch[0], learner.input.dtype), call)
    return found[0] if found else None


def culprit_backward(learner: Learner, batch: Batch) -> Culprit:
    """The layer nearest to the loss with a gradient that is not finite, or the loss itself."""
    images, targets = batch
    with tf.GradientTape() as tape:
        loss = learner.compute_loss(images, targets, learner(images, training=True), training=True)
    none = np.array([], int)
    if not np.isfinite(float(loss)):
        return Culprit("the loss", none)
    weights = [weight.path for weight in learner.trainable_variables]
    found = tape.gradient(loss, learner.trainable_variables)
    gradients = dict(zip(weights, found, strict=True))
    for layer in reversed(learner.layers):
        for weight in layer.trainable_variables:
            if not np.isfinite(keras.ops.convert_to_numpy(gradients[weight.path])).all():
                return Culprit(f"the gradient of `{layer.name}`", none)
    return Culprit("a weight, by too large a step", none)


def not_finite(tensor: tf.Tensor) -> np.ndarray:
    """The rows of a batch that hold something else than finite numbers."""
    values = keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))
    return np.flatnonzero(~np.isfinite(values).all(axis=tuple(range(1, values.ndim))))
