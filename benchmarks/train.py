"""How fast we train: ResNet-20 beside stock Keras and PyTorch, and what a step costs by itself.

Every side trains the same network on batches of 128 that lie in memory, and takes a turn of the
same number of steps, in the precision that `convoy train` chooses here and in float32. Stock Keras
is what its guide shows: its own layers under `fit` on arrays. PyTorch is measured where it is
installed, or where `python` leads to one that has it.
"""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from benchmarks.pairs import in_turn, in_words, notes, ratios, require_pairs, spread, surroundings
from models.inspection import inspect_network
from pipeline.data.splits import Examples, Splits
from pipeline.launch import count_cores
from pipeline.recipe import Data, Recipe, Training, network
from pipeline.task import Classification
from pipeline.training.distribution import ALONE, Distribution
from pipeline.training.fit import batches_from
from pipeline.training.learner import Learner
from pipeline.training.precision import POLICIES, choose_precision
from pipeline.training.prepare import dtype_policy, prepare
from serving.errors import ConvoyError

# Enough steps that what `fit` sets up and takes down at each call hardly counts.
BATCH, STEPS = 128, 40
# Small steps cost little time, so that many make a turn.
TINY_STEPS = 1000
TORCH = Path(__file__).with_name("torch_resnet20.py")

Turn = Callable[[], float]


def stock_resnet20() -> keras.Model:
    """ResNet-20 of Keras's own layers, as one writes it."""

    def conv_norm(x: Any, filters: int, size: int, strides: int) -> Any:
        conv = layers.Conv2D(filters, size, strides, padding="same", use_bias=False)
        return layers.BatchNormalization()(conv(x))

    image = keras.Input((28, 28, 1))
    x = layers.ReLU()(conv_norm(layers.Rescaling(1 / 255)(image), 16, 3, 1))
    for filters in (16, 32, 64):
        for index in range(3):
            strides = 2 if index == 0 and filters > 16 else 1
            branch = layers.ReLU()(conv_norm(x, filters, 3, strides))
            shortcut = conv_norm(x, filters, 1, strides) if strides > 1 else x
            x = layers.ReLU()(layers.Add()([conv_norm(branch, filters, 3, 1), shortcut]))
    logits = layers.Dense(10, dtype="float32")(layers.GlobalAveragePooling2D()(x))
    return keras.Model(image, logits)


def stock_tiny() -> keras.Model:
    """A network so small that its steps are all overhead."""
    image = keras.Input((8, 8, 1))
    x = layers.Flatten()(layers.Rescaling(1 / 255)(image))
    return keras.Model(image, layers.Dense(10)(layers.Dense(32, activation="sigmoid")(x)))


def under_fit(make: Callable[[], keras.Model], images: Examples, precision: str) -> Turn:
    """A turn of a network of Keras's layers under the default `fit`."""
    with dtype_policy(POLICIES[precision]):
        model = make()
    model.compile(
        keras.optimizers.SGD(0.1, momentum=0.9, nesterov=True),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    pixels = images.images.astype("float32")

    def turn() -> float:
        began = time.perf_counter()
        model.fit(pixels, images.labels, batch_size=BATCH, verbose=0)  # pyright: ignore
        return len(images) / (time.perf_counter() - began)

    return turn


def under_learner(architecture: str, images: Examples, precision: Any, **options: Any) -> Turn:
    """A turn of ours: the steps that `convoy train` takes."""
    recipe = Recipe(
        name="bench",
        network=network(architecture, **options),
        data=Data(batch_size=BATCH, flip="none", shift=0),
        training=Training(precision=precision, learning_rate=0.1, epochs=10**6),
    )
    learner, batches = learner_of(recipe, images)

    def turn() -> float:
        learner.epoch = learner.steps_done // learner.steps_per_epoch
        began = time.perf_counter()
        # To Keras our epoch is one step.
        learner.fit(batches, steps_per_epoch=1, shuffle=False, verbose=0)  # pyright: ignore
        return len(images) / (time.perf_counter() - began)

    return turn


def learner_of(
    recipe: Recipe, images: Examples, distribution: Distribution = ALONE
) -> tuple[Learner, tf.data.Dataset]:
    """A recipe's learner, built, and its batches of images in memory."""
    labels = tuple(str(label) for label in range(10))
    splits = Splits(images, images, images, labels)
    learner = prepare(recipe, splits, Classification(labels), distribution)
    batches = batches_from(0, recipe, splits)
    learner.build_for(batches.element_spec)
    return learner, batches


def resnet20_turn(images: Examples, precision: Any) -> Turn:
    """A turn of our ResNet-20, with the shortcuts that the peers have."""
    return under_learner("resnet20", images, precision, shortcut="projection")


def in_torch(python: str, way: str, precision: str, processes: contextlib.ExitStack) -> Turn:
    """A turn of PyTorch's in a process of its own, with as many threads as we have cores.

    Raises:
        ConvoyError: it does not begin, now, or does not end a turn, later.
    """
    threads = count_cores()
    failed = ConvoyError(
        f"PyTorch did not train ({way}): expected an environment that has it, received {python}; "
        f"does `{python} {TORCH} {way} {precision} 1 1 < /dev/null` say why?"
    )
    try:
        # It ends when it is not spoken to any more.
        process = processes.enter_context(
            subprocess.Popen(
                [python, str(TORCH), way, precision, str(STEPS), str(threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
        )
    except OSError as error:
        raise failed from error
    given, answers = process.stdin, process.stdout
    assert given is not None
    assert answers is not None
    if answers.readline().strip() != "ready":
        raise failed

    def turn() -> float:
        print("turn", file=given, flush=True)
        if answer := answers.readline():
            return float(answer)
        raise failed

    return turn


def torch_version(python: str) -> str | None:
    """The version of PyTorch in an environment, `None` where there is none.

    Raises:
        ConvoyError: no such Python.
    """
    command = [python, "-c", "from importlib import metadata; print(metadata.version('torch'))"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise ConvoyError(
            f"--python does not run: expected a Python that has PyTorch, received {python}; "
            "check the path."
        ) from error
    return found.stdout.strip() or None


def ceiling(precision: str) -> float:
    """Operations a second of the convolution that oneDNN is fastest at."""
    maps = tf.random.normal((64, 14, 14, 128), dtype=precision)
    kernel = tf.random.normal((3, 3, 128, 128), dtype=precision)

    ten_convolutions(maps, kernel)
    began = time.perf_counter()
    ten_convolutions(maps, kernel)
    return 10 * 2 * 9 * 128 * 128 * 64 * 14 * 14 / (time.perf_counter() - began)


@tf.function
def ten_convolutions(maps: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """One after the other, so that calling them hardly counts."""
    for _ in range(10):
        maps = tf.nn.conv2d(maps, kernel, 1, "SAME")
    return maps


def noise(size: int, steps: int) -> Examples:
    """Random images for a turn."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (BATCH * steps, size, size, 1), np.uint8)
    return Examples(images, generator.integers(0, 10, len(images)).astype(np.int32))


def run(pairs: int = 10, python: str = sys.executable) -> dict[str, Any]:
    """Measure `pairs` turns of every side.

    Args:
        pairs: turns.
        python: of an environment that has PyTorch.

    Raises:
        ConvoyError: too few pairs, or a `python` of one's own has no PyTorch that trains.
    """
    require_pairs(pairs, steady=10)
    torch = torch_version(python)
    before = os.getloadavg()
    images = noise(28, STEPS)
    best = choose_precision("auto")
    # One where the processor has no other that is fast.
    precisions = dict.fromkeys((best, "float32"))
    with contextlib.ExitStack() as processes:
        sides = {}
        for each in precisions:
            sides[f"ours, {each}"] = resnet20_turn(images, each)
        for each in precisions:
            sides[f"Keras fit, {each}"] = under_fit(stock_resnet20, images, each)
        # Left out where this environment has none; who names another wants it.
        if torch or python != sys.executable:
            for way in ("eager", "compiled"):
                sides[f"PyTorch {way}, {best}"] = in_torch(python, way, best, processes)
        found = in_turn(sides, pairs)
    ours = found[f"ours, {best}"]
    small = noise(8, TINY_STEPS)
    tiny = in_turn(
        {
            "ours": under_learner("mlp", small, "float32", width=32, depth=1),
            "Keras fit": under_fit(stock_tiny, small, "float32"),
        },
        pairs,
    )
    most = max(ceiling(best) for _ in range(pairs))
    return {
        "pairs": pairs,
        "precision": best,
        "images_per_second": {
            name: {**spread(values), "best": max(values)} for name, values in found.items()
        },
        "torch": torch,
        "times": {name: ratios(ours, values) for name, values in found.items()},
        "step_milliseconds": {
            name: spread([1000 * BATCH / value for value in values])
            for name, values in tiny.items()
        },
        "overhead": ratios(tiny["ours"], tiny["Keras fit"]),
        "ceiling": most,
        "share_of_ceiling": operations() * max(ours) / most,
        **surroundings(before),
    }


def operations() -> float:
    """Of training on one image: forward, and twice as many backward."""
    rows = inspect_network(stock_resnet20())
    return 3 * 2 * sum(row.multiply_adds or 0 for row in rows)


def table(result: dict[str, Any]) -> str:
    """Render what `run` measured."""
    lines = [f"{'ResNet-20, batches of 128':27}{'images/s':>9}{'best':>7}  ours is times as fast"]
    for name, speed in result["images_per_second"].items():
        ratio = in_words(result["times"][name])
        lines.append(f"{name:27}{speed['median']:>9,.0f}{speed['best']:>7,.0f}  {ratio}")
    steps = result["step_milliseconds"]
    sentences = (
        f"A step of almost no work: ours {steps['ours']['median']:.3f} ms, Keras fit "
        f"{steps['Keras fit']['median']:.3f} ms: {in_words(result['overhead'], 1)} times.",
        f"Convolutions in {result['precision']} reach {result['ceiling'] / 1e9:,.0f} GFLOP/s; our "
        f"training {result['share_of_ceiling']:.0%} of it.",
        f"PyTorch {result['torch']}."
        if result["torch"]
        else "PyTorch is not installed here; --python leads to an environment that has it.",
    )
    return "\n".join([*lines, "", *notes(result, *sentences)])
