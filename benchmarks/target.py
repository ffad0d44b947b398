"""How long until Fashion-MNIST is answered with a given accuracy: our recipe beside stock Keras.

Stock Keras is what its guides show: a VGG of its own layers, images flipped and moved one by one
with tf.data, Adam, float32, `fit`; the learning rate falls when the validation loss does not, and
it stops after the first epoch that reaches the goal on the validation split. Ours runs a recipe as
it is. All counts from the data in memory to the trained network: building, compiling, looking at
the validation split. Neither side averages over views of an image. The test split is looked at
once, at the end.
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
    logits = model.predict(examples.images.astype("float32"), batch_size=500, verbose="0")
    logits = logits["logits"] if isinstance(logits, dict) else logits
    return float(np.mean(logits.argmax(-1) == examples.labels))


class StopAt(keras.callbacks.Callback):
    """Ends a training that is as good on the validation split as was asked for."""

    def __init__(self, goal: float):
        super().__init__()
        self.goal = goal

    def on_epoch_end(self, epoch, logs=None):
        self.model.stop_training = (logs or {})["val_accuracy"] >= self.goal


def stock(splits: Splits, goal: float, seed: int) -> dict[str, Any]:
    """Train stock Keras until it reaches the goal on the validation split."""
    keras.utils.set_random_seed(seed)
    began = time.perf_counter()
    model = stock_vgg()
    model.compile(
        keras.optimizers.Adam(),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    slower = keras.callbacks.ReduceLROnPlateau(patience=2, factor=0.3)
    history = model.fit(
        image_by_image(splits.train, BATCH, most=1),
        steps_per_epoch=len(splits.train) // BATCH,
        validation_data=(splits.validation.images.astype("float32"), splits.validation.labels),
        epochs=MOST_EPOCHS,
        callbacks=[slower, StopAt(goal)],
        # The data set shuffles by itself.
        shuffle=False,
        verbose="0",
    ).history
    seconds = time.perf_counter() - began
    return {
        "seconds": seconds,
        "epochs": len(history["loss"]),
        "validation": history["val_accuracy"][-1],
        "test": right(model, splits.test),
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


def run(recipe: Recipe, goal: float, seeds: int, target: float = 0.94) -> dict[str, Any]:
    """Train both sides once for each seed, in turn.

    Args:
        recipe: ours.
        goal: validation accuracy at which stock Keras stops.
        seeds: how many, from 0.
        target: accuracy on the test split that both should reach.

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
            turns.append({"ours": ours(wanted, splits), "stock Keras": stock(splits, goal, seed)})
    return {
        "recipe": recipe.name,
        "goal": goal,
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
