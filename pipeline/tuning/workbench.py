"""Learners that are traced once and used for many trials.

Most of a short trial is not training: Keras builds a network, TensorFlow traces its step. Trials
that differ in numbers alone, such as the learning rate, share a step in which these are dials.
"""

import dataclasses
import functools
from typing import Any

import keras
import tensorflow as tf

from pipeline.data.batches import batch_spec
from pipeline.data.splits import Splits
from pipeline.recipe import Data, Export, Recipe, Training
from pipeline.task import Classification
from pipeline.training.checkpoints import variables
from pipeline.training.learner import Learner
from pipeline.training.prepare import prepare

# How many learners are kept; a search goes back and forth between some widths.
KEPT = 8
# Of a training: numbers that are read in every step.
NUMBERS = ("learning_rate", "warmup", "weight_decay", "momentum", "bias_rate", "label_smoothing")
# Those of which zero, or one, takes another step.
SWITCHES = ("weight_decay", "momentum", "average")
# What a step has nothing to do with.
ELSEWHERE = (
    *("epochs", "initialization", "start_from", "validate_every", "checkpoint_seconds"),
    *("learning_rate", "warmup", "bias_rate", "label_smoothing"),
)


class Dial:
    """A number that can be changed in a step that is traced already."""

    def __init__(self, value: float):
        # As fine as the numbers of Python, whose place it takes.
        self.variable = tf.Variable(tf.constant(value, tf.float64), trainable=False)

    def __tf_tensor__(self, dtype: Any = None, name: str | None = None) -> tf.Tensor:
        return tf.cast(self.variable, dtype or tf.float32, name)

    def turn(self, value: float) -> None:
        """Make it another number."""
        self.variable.assign(value)


class Workbench:
    """Gives trials their learners.

    Args:
        splits: the data.
        task: what is learned.
    """

    def __init__(self, splits: Splits, task: Classification):
        self.splits, self.task = splits, task
        self.kept: dict[str, tuple[Learner, dict[str, Dial]]] = {}

    def learner_for(self, recipe: Recipe) -> Learner:
        """A learner for a recipe, in all but the last bits like one that was made for it alone.

        Raises:
            ConvoyError: the network does not suit the images, or a setting the network.
        """
        fresh = prepare(recipe, self.splits, self.task)
        if recipe.quantize != "none":
            # What layers it has depends on weights.
            return fresh
        fresh.build_for(batch_spec(self.splits.train, recipe.data, len(self.splits.labels)))
        key = step_of(recipe)
        if key not in self.kept:
            self.kept[key] = fresh, dials_of(fresh, recipe)
        learner, dials = self.kept[key] = self.kept.pop(key)
        while len(self.kept) > KEPT:
            del self.kept[next(iter(self.kept))]
        if learner is not fresh:
            begin_anew(learner, fresh)
            values = numbers_of(recipe, learner.steps_per_epoch)
            for name, dial in dials.items():
                dial.turn(values[name])
        return learner


def step_of(recipe: Recipe) -> str:
    """What the traced step depends on; alike for recipes that can share one."""
    training, default = recipe.training, Training()
    switches = {name: float(bool(getattr(training, name))) / 2 for name in SWITCHES}
    elsewhere = {name: getattr(default, name) for name in ELSEWHERE}
    mixes = bool(recipe.data.mixup or recipe.data.cutmix)
    alike = dataclasses.replace(
        recipe,
        name="step",
        training=dataclasses.replace(training, **{**elsewhere, **switches}),
        data=Data(batch_size=recipe.data.batch_size, mixup=float(mixes)),
        export=Export(),
        seed=0,
    )
    rate = getattr(recipe.network, "dropout_rate", 0.0)
    if rate:
        network = dataclasses.replace(recipe.network, **{"dropout_rate": 0.5})
        alike = dataclasses.replace(alike, network=network)
    return repr(alike)


def numbers_of(recipe: Recipe, steps_per_epoch: int) -> dict[str, float]:
    """What the dials of a recipe show."""
    training = recipe.training
    return {
        **{name: getattr(training, name) for name in (*NUMBERS, "average")},
        "steps": steps_per_epoch * training.epochs,
        "dropout_rate": getattr(recipe.network, "dropout_rate", 0.0),
    }


def dials_of(learner: Learner, recipe: Recipe) -> dict[str, Dial]:
    """Put dials in the place of a learner's numbers, before it is traced."""
    values = numbers_of(recipe, learner.steps_per_epoch)
    optimizer: Any = learner.optimizer
    optimizer = getattr(optimizer, "inner_optimizer", optimizer)
    schedule = optimizer._learning_rate
    places = {
        "learning_rate": [(schedule, "peak")],
        "steps": [(schedule, "steps")],
        "warmup": [(schedule, "warmup")],
        "weight_decay": [(optimizer, "weight_decay")],
        "momentum": [(optimizer, "momentum")],
        "bias_rate": [(optimizer, "bias_rate")],
        "label_smoothing": [(learner.loss["logits"], "label_smoothing")],
        "average": [(learner, "average")],
    }
    dials = {}
    for name, owners in places.items():
        # What another optimizer has not, or switches off, is no number of the step.
        own = [(owner, field) for owner, field in owners if getattr(owner, field, None) is not None]
        if own and (values[name] or name not in SWITCHES):
            dials[name] = Dial(values[name])
            for owner, field in own:
                setattr(owner, field, dials[name])
    if values["dropout_rate"]:
        dials["dropout_rate"] = Dial(values["dropout_rate"])
        for layer in learner.layers:
            if isinstance(layer, keras.layers.Dropout):
                layer.call = functools.partial(drop, layer, dials["dropout_rate"])
    return dials


def drop(layer: Any, rate: Dial, inputs: tf.Tensor, training: bool = False) -> tf.Tensor:
    """What a dropout layer does, whose rate must be known when it is traced."""
    if not training:
        return inputs
    # As Keras narrows seeds.
    seed = tf.cast(layer.seed_generator.next() % (tf.int32.max - 1), "int32")
    chance = tf.random.stateless_uniform(tf.shape(inputs), seed, dtype=inputs.dtype)
    larger = inputs * tf.cast(1 / (1 - rate.variable), inputs.dtype)
    return tf.where(chance >= tf.cast(rate.variable, inputs.dtype), larger, 0)


def begin_anew(learner: Learner, fresh: Learner) -> None:
    """Put a learner where one that was just made stands."""
    for (_, old), (_, new) in zip(variables(learner), variables(fresh), strict=True):
        old.assign(new)
    learner.epoch = 0
    learner.resumed = learner.scores_training = False
    learner.watchers = []
    learner.stop_training = False
