"""How long until Fashion-MNIST is answered with a given accuracy: our recipe beside stock Keras.

Stock Keras is what its guides show: a VGG of its own layers, images flipped and moved one by one
with tf.data, Adam, float32, `fit`; the learning rate falls when the validation loss does not. It is
looked at on the test split after every epoch, and its clock stops at the first look that reaches
the target: sooner than anybody without the test split could have stopped. Ours runs a recipe as it
is and is looked at once, at the end. All counts from the data in memory to the trained network:
building, compiling, looking at the validation split; but for the looks of stock Keras at the test
split. Neither side averages over views of an image.
"""

import dataclasses
import os
import tempfile
import textwrap
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.pairs import said, surroundings
from benchmarks.sides import image_by_image
from pipeline.console import progress
from pipeline.data.sources import load
from pipeline.data.splits import Examples, Splits
from pipeline.recipe import Recipe
from pipeline.run import create_run
from pipeline.task import Classification
from pipeline.training.fit import fit
from pipeline.training.prepare import prepare
from serving.errors import ConvoyError

IMAGE, CLASSES = (28, 28, 1), 10
BATCH, MOST_EPOCHS = 128, 40


def stock_vgg() -> keras.Model:
    """The network of the `fashion` recipe, of Keras's own layers."""
    image = keras.Input(IMAGE)
    x = layers.Rescaling(1 / 255)(image)
    for filters in (32, 64, 128):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(image, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(x)))


def right(model: keras.Model, examples: Examples) -> float:
    """Share of examples that a model answers rightly."""
    logits = model.predict(examples.images.astype("float32"), batch_size=500, verbose=0)  # pyright: ignore
    logits = logits["logits"] if isinstance(logits, dict) else logits
    return float(np.mean(logits.argmax(-1) == examples.labels))


class StopAt(keras.callbacks.Callback):
    """Ends a training that is as good on the test split as was asked for.

    `seconds` is what the looks took, `advance` moves a progress bar on by an epoch.
    """

    def __init__(self, target: float, examples: Examples, advance: Callable[..., None]):
        super().__init__()
        self.target, self.examples, self.advance = target, examples, advance
        self.seconds, self.best = 0.0, 0.0

    def on_epoch_end(self, epoch, logs=None):
        began = time.perf_counter()
        self.best = max(self.best, right(self.model, self.examples))
        self.model.stop_training = self.best >= self.target
        self.advance(note=f"stock Keras, epoch {epoch + 1}: best test accuracy {self.best:.2%}")
        self.seconds += time.perf_counter() - began


def stock(splits: Splits, target: float, seed: int) -> dict[str, Any]:
    """Train stock Keras until it reaches the target on the test split."""
    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    model = stock_vgg()
    model.compile(
        keras.optimizers.Adam(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    slower = keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.3)
    with progress("training", MOST_EPOCHS) as advance:
        looks = StopAt(target, splits.test, advance)
        history = model.fit(
            image_by_image(splits.train, BATCH, most=1),
            steps_per_epoch=len(splits.train) // BATCH,
            validation_data=(splits.validation.images.astype("float32"), splits.validation.labels),
            epochs=MOST_EPOCHS,
            callbacks=[slower, looks],
            # The data set shuffles by itself.
            shuffle=False,
            verbose=0,  # pyright: ignore
        ).history
    seconds = time.perf_counter() - began - looks.seconds
    return {
        "seconds": seconds,
        "epochs": len(history["loss"]),
        "validation": history["val_accuracy"][-1],
        "test": looks.best,
    }


def ours(recipe: Recipe, splits: Splits) -> dict[str, Any]:
    """Train a recipe."""
    began = time.perf_counter()
    task = Classification(splits.labels)
    learner = prepare(recipe, splits, task)
    run = create_run(recipe)
    network = fit(learner, recipe, splits, task, run)
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "epochs": recipe.training.epochs,
        "validation": run.metrics["validation_accuracy"],
        "test": right(network, splits.test),
    }


def run(recipe: Recipe, target: float, seeds: int) -> dict[str, Any]:
    """Train both sides once for each seed, in turn.

    Args:
        recipe: ours.
        target: accuracy on the test split that both should reach.
        seeds: how many, from that of the recipe.

    Raises:
        ConvoyError: no seed, no such accuracy, or images that are not Fashion-MNIST's.
    """
    if seeds < 1:
        raise ConvoyError(
            f"--seeds is too small: expected 1 at least, received {seeds}; give more."
        )
    if not 0 <= target < 1:
        raise ConvoyError(
            f"--target is out of range: expected an accuracy from 0 to below 1, received "
            f"{target:g}; give it as a fraction, such as 0.94."
        )
    before = os.getloadavg()
    splits = load(recipe.data)
    if splits.image_shape != IMAGE or len(splits.labels) != CLASSES:
        raise ConvoyError(
            f"`{recipe.name}` cannot be timed beside stock Keras: expected {CLASSES} classes of "
            f"images {IMAGE}, received {len(splits.labels)} of {splits.image_shape}; give a recipe "
            "for Fashion-MNIST."
        )
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(recipe.seed, recipe.seed + seeds):
            wanted = dataclasses.replace(recipe, seed=seed, runs=Path(folder))
            sides = {"ours": ours(wanted, splits), "stock Keras": stock(splits, target, seed)}
            turns.append({"seed": seed, "sides": sides})
    return {
        "recipe": recipe.name,
        "target": target,
        "turns": turns,
        **surroundings(before),
    }


def table(result: dict[str, Any]) -> str:
    """Render what `run` measured."""
    lines = [f"{'':14}{'seed':>6}{'seconds':>10}{'epochs':>8}{'validation':>12}{'test':>9}"]
    for turn in result["turns"]:
        for side, found in turn["sides"].items():
            missed = "  missed" * (found["test"] < result["target"])
            lines.append(
                f"{side:14}{turn['seed']:>6}{found['seconds']:>10.0f}{found['epochs']:>8}"
                f"{found['validation']:>12.2%}{found['test']:>9.2%}{missed}"
            )
    # A turn in which one side misses compares nothing.
    times = [
        f"{turn['sides']['stock Keras']['seconds'] / turn['sides']['ours']['seconds']:.1f}"
        for turn in result["turns"]
        if all(found["test"] >= result["target"] for found in turn["sides"].values())
    ]
    note = (
        f"Both reached {result['target']:.1%} in {len(times)} of {len(result['turns'])} turns; "
        f"ours is so many times as fast: {', '.join(times) or 'no figure'}."
    )
    return "\n".join([*lines, "", *textwrap.wrap(note, 80), *textwrap.wrap(said(result), 80)])
