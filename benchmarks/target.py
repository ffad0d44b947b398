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
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import layers

from benchmarks.pairs import said, surroundings
from benchmarks.sides import image_by_image
from pipeline.data.sources import load
from pipeline.data.splits import Examples, Splits
from pipeline.recipe import Recipe
from pipeline.run import create_run
from pipeline.task import Classification
from pipeline.training.fit import fit
from pipeline.training.prepare import prepare
from serving.errors import ConvoyError

BATCH, MOST_EPOCHS = 128, 40


def stock_vgg() -> keras.Model:
    """The network of the `fashion` recipe, of Keras's own layers."""
    image = keras.Input((28, 28, 1))
    x = layers.Rescaling(1 / 255)(image)
    for filters in (32, 64, 128):
        for _ in range(2):
            x = layers.Conv2D(filters, 3, padding="same", use_bias=False)(x)
            x = layers.ReLU()(layers.BatchNormalization()(x))
        x = layers.MaxPooling2D()(x)
    return keras.Model(image, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def right(model: keras.Model, examples: Examples) -> float:
    """Share of examples that a model answers rightly."""
    logits = model.predict(examples.images.astype("float32"), batch_size=500, verbose=0)  # pyright: ignore
    logits = logits["logits"] if isinstance(logits, dict) else logits
    return float(np.mean(logits.argmax(-1) == examples.labels))


class StopAt(keras.callbacks.Callback):
    """Ends a training that is as good on the test split as was asked for.

    `seconds` is what the looks took.
    """

    def __init__(self, target: float, examples: Examples):
        super().__init__()
        self.target, self.examples = target, examples
        self.seconds, self.best = 0.0, 0.0

    def on_epoch_end(self, epoch, logs=None):
        began = time.perf_counter()
        self.best = max(self.best, right(self.model, self.examples))
        self.model.stop_training = self.best >= self.target
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
    looks = StopAt(target, splits.test)
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
        seeds: how many, from 0.

    Raises:
        ConvoyError: no seed.
    """
    if seeds < 1:
        raise ConvoyError(
            f"--seeds is too small: expected 1 at least, received {seeds}; give more."
        )
    before = os.getloadavg()
    splits = load(recipe.data)
    turns = []
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(seeds):
            wanted = dataclasses.replace(recipe, seed=seed, runs=Path(folder))
            turns.append({"ours": ours(wanted, splits), "stock Keras": stock(splits, target, seed)})
    return {
        "recipe": recipe.name,
        "target": target,
        "turns": turns,
        **surroundings(before),
    }


def table(result: dict[str, Any]) -> str:
    """Render what `run` measured."""
    lines = [f"{'':14}{'seed':>6}{'seconds':>10}{'epochs':>8}{'validation':>12}{'test':>9}"]
    for seed, turn in enumerate(result["turns"]):
        for side, found in turn.items():
            missed = "  missed" * (found["test"] < result["target"])
            lines.append(
                f"{side:14}{seed:>6}{found['seconds']:>10.0f}{found['epochs']:>8}"
                f"{found['validation']:>12.2%}{found['test']:>9.2%}{missed}"
            )
    times = [turn["stock Keras"]["seconds"] / turn["ours"]["seconds"] for turn in result["turns"]]
    ratios = ", ".join(f"{each:.1f}" for each in times)
    notes = [f"Ours is so many times as fast: {ratios}.", *textwrap.wrap(said(result), 80)]
    return "\n".join([*lines, "", *notes])
