"""Train a recipe's network and give it back in float32 with its best weights."""

import contextlib
import time
from collections.abc import Iterator

import keras

import models
from pipeline.data.batches import evaluation_batches, training_batches
from pipeline.data.splits import Splits
from pipeline.recipe import Recipe
from pipeline.run import Run
from pipeline.task import Classification
from pipeline.training.callbacks import BestWeights, FiniteLoss, ProgressBar
from pipeline.training.precision import POLICIES, choose_precision
from pipeline.training.schedule import WarmupDecay
from serving.errors import ConvoyError


def prepare(recipe: Recipe, splits: Splits, task: Classification) -> keras.Model:
    """Build and compile the recipe's network in the precision that this machine trains in.

    Raises:
        ConvoyError: the network does not suit the images.
    """
    keras.utils.set_random_seed(recipe.seed)
    with dtype_policy(POLICIES[choose_precision(recipe.training.precision)]):
        network = build(recipe, splits)
    network.compile(
        optimizer=optimizer(
            recipe, steps_per_epoch(recipe, splits) * recipe.training.epochs, network
        ),
        loss={"logits": task.loss(recipe.training.label_smoothing)},
        metrics={"logits": task.metrics()},
        # Slower than plain graphs on processors.
        jit_compile=False,
    )
    return network


def fit(
    network: keras.Model, recipe: Recipe, splits: Splits, task: Classification, run: Run
) -> keras.Model:
    """Train, choosing the best weights on the validation split.

    Writes `history.csv`, `tensorboard/` and `checkpoints/` into the run and
    records seconds, precision and validation score in its metrics.

    Raises:
        ConvoyError: the loss became infinite or no number.

    Returns:
        The network under float32, whatever it was trained in.
    """
    steps = steps_per_epoch(recipe, splits)
    run.best_weights.parent.mkdir()
    best = BestWeights(run.best_weights, task.metric)
    bar = ProgressBar(task.metric, steps * recipe.training.epochs)
    started = time.monotonic()
    with contextlib.closing(bar):
        network.fit(
            training_batches(splits.train, recipe.data, recipe.seed),
            validation_data=evaluation_batches(splits.validation),
            epochs=recipe.training.epochs,
            steps_per_epoch=steps,
            callbacks=[
                bar,
                best,
                keras.callbacks.CSVLogger(run.folder / "history.csv"),
                keras.callbacks.TensorBoard(run.folder / "tensorboard", write_graph=False),
                FiniteLoss(),
            ],
            # The data set shuffles by itself.
            shuffle=False,
            verbose=0,
        )
    network.load_weights(run.best_weights)
    run.record(
        precision=network.dtype_policy.name,
        training_seconds=round(time.monotonic() - started, 1),
        parameters=network.count_params(),
        best_epoch=best.epoch,
        validation_accuracy=best.best,
    )
    return in_float32(network, recipe, splits)


def steps_per_epoch(recipe: Recipe, splits: Splits) -> int:
    """Whole batches in the training images, one at least."""
    return max(len(splits.train) // recipe.data.batch_size, 1)


def build(recipe: Recipe, splits: Splits) -> keras.Model:
    """The recipe's network for these images.

    Raises:
        ConvoyError: the images do not suit the network, or it answers for each of their pixels.
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
    return network


def optimizer(recipe: Recipe, steps: int, network: keras.Model) -> keras.optimizers.Optimizer:
    """Nesterov momentum with decoupled weight decay on kernels alone."""
    training = recipe.training
    chosen = keras.optimizers.SGD(
        WarmupDecay(training.learning_rate, steps, training.warmup, training.decay),
        momentum=training.momentum,
        nesterov=True,
        weight_decay=training.weight_decay or None,
    )
    spared = [weight for weight in network.trainable_variables if len(weight.shape) < 2]
    chosen.exclude_from_weight_decay(var_list=spared)
    return chosen


def in_float32(network: keras.Model, recipe: Recipe, splits: Splits) -> keras.Model:
    """The same network and weights with float32 arithmetic: what is measured and exported."""
    with dtype_policy("float32"):
        twin = build(recipe, splits)
    twin.set_weights(network.get_weights())
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
