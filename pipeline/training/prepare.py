"""The recipe's network, ready to train: built, given its first weights, compiled."""

import contextlib
from collections.abc import Iterator

import keras
import numpy as np
import tensorflow as tf

import models
from models.equalize import equalized
from models.quantize import calibrate, fake_quantized, is_fake_quantized, round_biases
from pipeline.data.batches import steps_per_epoch
from pipeline.data.splits import Splits
from pipeline.export.calibration import calibration_images
from pipeline.recipe import Recipe
from pipeline.task import Classification
from pipeline.training.distribution import ALONE, Distribution
from pipeline.training.initialization import initialize, take_over
from pipeline.training.learner import Learner
from pipeline.training.optimizers import make_optimizer
from pipeline.training.precision import POLICIES, precision_of
from pipeline.training.replicated import ReplicatedLearner
from pipeline.training.shares import require_even
from serving.errors import ConvoyError


def prepare(
    recipe: Recipe,
    splits: Splits,
    task: Classification,
    distribution: Distribution = ALONE,
    begun: bool = False,
) -> Learner:
    """Build and compile the recipe's network in the precision that this machine trains in.

    Where it has `begun` before, its weights come from a checkpoint, whatever they began as.

    Raises:
        ConvoyError: the network does not suit the images, a setting does not suit the network, or
            the devices cannot share a batch.
    """
    if recipe.quantize == "qat" and distribution.replicas > 1:
        raise ConvoyError(
            "--quantize qat trains on one device: expected no --distribute, for each device would "
            f"find ranges of its own, received {distribution.replicas} devices; leave it out."
        )
    require_even(min(recipe.data.batch_size, len(splits.train)), distribution)
    training, steps = recipe.training, steps_per_epoch(len(splits.train), recipe.data)
    keras.utils.set_random_seed(recipe.seed)
    if training.deterministic:
        tf.config.experimental.enable_op_determinism()
    with distribution.scope(), dtype_policy(POLICIES[precision_of(recipe)]):
        network = build(recipe, splits)
        if not begun and is_fake_quantized(network):
            count = recipe.export.calibration_images
            calibrate(network, calibration_images(splits.train, count, recipe.seed))
        elif not begun:
            initialize(network, training, recipe.seed, splits.train.images)
        learner = learner_of(network, steps, training.average, distribution)
        learner.compile(
            optimizer=make_optimizer(training, steps * training.epochs, network),
            loss={"logits": task.loss(training, splits.train.labels)},
            metrics={"logits": task.metrics()},
            # Slower than plain graphs on processors, and not for several devices at once.
            jit_compile=not distribution.strategy and bool(tf.config.list_physical_devices("GPU")),
        )
    return learner


def learner_of(
    network: keras.Model, steps: int, average: float, distribution: Distribution
) -> Learner:
    """The learner of a network, on one device or several."""
    if distribution.strategy is None:
        return Learner(network, steps, average)
    return ReplicatedLearner(network, steps, average, distribution)


def build(recipe: Recipe, splits: Splits) -> keras.Model:
    """The recipe's network for these images; one that rounds has the weights it starts from.

    Raises:
        ConvoyError: the images do not suit the network, it answers for each of their pixels, or
            has nothing to start from.
    """
    name = recipe.network.architecture
    try:
        network = models.build(
            name, splits.image_shape, len(splits.labels), **recipe.network.options
        )
    except ValueError as error:
        raise ConvoyError(f"cannot build `{name}`: {error}") from error
    _, *places, _ = network.output["logits"].shape
    if places:
        raise ConvoyError(
            f"`{name}` does not classify images: expected one answer for an image, received one "
            f"for each of {places} positions; choose another network."
        )
    if recipe.quantize == "qat" and recipe.training.start_from:
        # Which layers there are depends on weights: a norm joins the layer before it, or does not.
        take_over(network, recipe.training.start_from, whole=True)
        try:
            # Channels that others dwarf could not be told apart any more, nor learn.
            return fake_quantized(equalized(network))
        except ValueError as error:
            raise ConvoyError(f"--quantize qat does not suit `{name}`: {error}") from error
    return network


def in_float32(weights: list[np.ndarray], recipe: Recipe, splits: Splits) -> keras.Model:
    """The recipe's network with float32 arithmetic and these weights: what is measured."""
    with dtype_policy("float32"):
        twin = build(recipe, splits)
    twin.set_weights(weights)
    if is_fake_quantized(twin):
        round_biases(twin)
    return twin


@contextlib.contextmanager
def dtype_policy(name: str) -> Iterator[None]:
    """Build layers under a Keras dtype policy, then restore the old one."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(name)
    try:
        yield
    finally:
        keras.config.set_dtype_policy(before)
