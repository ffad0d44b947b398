"""Our layers beside those of Keras: inference and training of each, in float32 and bfloat16.

Both sides are compiled once, hold the same weights, must give the same numbers, and take turns.
Where Keras has no such layer, the peer is what one would write with Keras and TensorFlow.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
from keras import layers as stock

from benchmarks.pairs import in_words, notes, require_pairs, spread, surroundings
from models import layers
from serving.errors import ConvoyError, nearest

DTYPES = {"float32": "float32", "bfloat16": "mixed_bfloat16"}
MODES = ("inference", "training")
# The least that one measurement takes, so that the clock and the calls do not count.
LEAST_SECONDS = 0.01
# Two right answers differ by no more than this share of the largest number.
TOLERANCES = {"float32": 1e-4, "bfloat16": 0.03}


class L2Pooling2D(stock.Layer):
    """The length of each 2x2 window, as one would write it so that zeros have a gradient."""

    def call(self, inputs):
        mean = keras.ops.average_pool(keras.ops.square(inputs), 2)
        return keras.ops.sqrt(keras.ops.maximum(4 * mean, 1e-7))


class LocallyConnected2D(stock.Layer):
    """Own 3x3 filters for each position, as one would write it."""

    def build(self, input_shape):
        _, height, width, channels = input_shape
        positions = (height - 2, width - 2)
        self.kernel = self.add_weight(shape=(*positions, 9 * channels, channels))
        self.bias = self.add_weight(shape=(*positions, channels))

    def call(self, inputs):
        ones = [1, 1, 1, 1]
        seen = tf.image.extract_patches(inputs, [1, 3, 3, 1], ones, ones, "VALID")
        return tf.einsum("bhwi,hwif->bhwf", seen, self.kernel) + self.bias


class ResidualBlock(stock.Layer):
    """A basic residual block that keeps its shape, of Keras's layers."""

    def __init__(self, filters, **kwargs):
        super().__init__(**kwargs)
        same = {"padding": "same", "use_bias": False, "dtype": self.dtype_policy}
        self.conv1 = stock.Conv2D(filters, 3, **same)
        self.norm1 = stock.BatchNormalization(dtype=self.dtype_policy)
        self.conv2 = stock.Conv2D(filters, 3, **same)
        self.norm2 = stock.BatchNormalization(dtype=self.dtype_policy)

    def build(self, input_shape):
        for part in (self.conv1, self.norm1, self.conv2, self.norm2):
            part.build(input_shape)

    def call(self, inputs, training=None):
        x = keras.ops.relu(self.norm1(self.conv1(inputs), training=training))
        x = self.norm2(self.conv2(x), training=training)
        return keras.ops.relu(x + inputs)


class Case(NamedTuple):
    """Two layers that should give the same, each made by its class, and what they are given."""

    ours: Callable[..., Any]
    theirs: Callable[..., Any]
    arguments: dict[str, Any]
    shape: tuple[int, ...]


STEPS, IMAGES, SMALL, VOLUMES = (
    (64, 128, 32),
    (64, 28, 28, 32),
    (64, 14, 14, 64),
    (8, 16, 16, 16, 16),
)
CONV = {"filters": 32, "kernel_size": 3, "padding": "same"}
DEEPER = {**CONV, "filters": 64}
PAIRS = {"pool_size": 2}
LAYERS = {
    "Conv1D": Case(layers.Conv1D, stock.Conv1D, CONV, STEPS),
    "Conv2D": Case(layers.Conv2D, stock.Conv2D, CONV, IMAGES),
    "Conv2D 1x1": Case(layers.Conv2D, stock.Conv2D, {**DEEPER, "kernel_size": 1}, SMALL),
    "Conv2D stride 2": Case(layers.Conv2D, stock.Conv2D, {**DEEPER, "strides": 2}, SMALL),
    "Conv2D dilated": Case(layers.Conv2D, stock.Conv2D, {**DEEPER, "dilation_rate": 2}, SMALL),
    "Conv2D groups": Case(layers.Conv2D, stock.Conv2D, {**DEEPER, "groups": 4}, SMALL),
    "Conv3D": Case(layers.Conv3D, stock.Conv3D, {**CONV, "filters": 16}, VOLUMES),
    "DepthwiseConv1D": Case(
        layers.DepthwiseConv1D,
        stock.DepthwiseConv1D,
        {"kernel_size": 3, "padding": "same"},
        STEPS,
    ),
    "DepthwiseConv2D": Case(
        layers.DepthwiseConv2D,
        stock.DepthwiseConv2D,
        {"kernel_size": 3, "padding": "same"},
        IMAGES,
    ),
    "ConvTranspose1D": Case(
        layers.ConvTranspose1D, stock.Conv1DTranspose, {**CONV, "strides": 2}, STEPS
    ),
    "ConvTranspose2D": Case(
        layers.ConvTranspose2D, stock.Conv2DTranspose, {**DEEPER, "strides": 2}, SMALL
    ),
    "ConvTranspose3D": Case(
        layers.ConvTranspose3D, stock.Conv3DTranspose, {**CONV, "strides": 2}, VOLUMES
    ),
    "LocallyConnected2D": Case(
        lambda **kwargs: layers.LocallyConnected2D(32, 3, **kwargs), LocallyConnected2D, {}, IMAGES
    ),
    "MaxPool1D": Case(layers.MaxPool1D, stock.MaxPooling1D, PAIRS, STEPS),
    "MaxPool2D": Case(layers.MaxPool2D, stock.MaxPooling2D, PAIRS, IMAGES),
    "MaxPool3D": Case(layers.MaxPool3D, stock.MaxPooling3D, PAIRS, VOLUMES),
    "AveragePool1D": Case(layers.AveragePool1D, stock.AveragePooling1D, PAIRS, STEPS),
    "AveragePool2D": Case(layers.AveragePool2D, stock.AveragePooling2D, PAIRS, IMAGES),
    "AveragePool3D": Case(layers.AveragePool3D, stock.AveragePooling3D, PAIRS, VOLUMES),
    "L2Pool2D": Case(layers.L2Pool2D, L2Pooling2D, {}, IMAGES),
    "GlobalMaxPool1D": Case(layers.GlobalMaxPool1D, stock.GlobalMaxPooling1D, {}, STEPS),
    "GlobalMaxPool2D": Case(layers.GlobalMaxPool2D, stock.GlobalMaxPooling2D, {}, IMAGES),
    "GlobalAveragePool2D": Case(
        layers.GlobalAveragePool2D, stock.GlobalAveragePooling2D, {}, IMAGES
    ),
    "BatchNorm": Case(
        layers.BatchNorm, stock.BatchNormalization, {"momentum": 0.9, "epsilon": 1e-3}, IMAGES
    ),
    "Dense": Case(layers.Dense, stock.Dense, {"units": 256}, (256, 512)),
    "ResidualBlock": Case(layers.ResidualBlock, ResidualBlock, {"filters": 32}, IMAGES),
}


class Side:
    """One layer, compiled for inference and for training."""

    def __init__(self, layer: Any, x: tf.Tensor) -> None:
        self.layer = layer
        y = layer(x)
        dy = tf.cast(tf.random.stateless_normal(y.shape, (1, 2)), y.dtype)

        @tf.function
        def infer():
            return layer(x, training=False)

        @tf.function
        def train():
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = layer(x, training=True)
            sources = [x, *(weight.value for weight in layer.trainable_weights)]
            return tape.gradient(y, sources, [dy])

        self.steps = {"inference": infer, "training": train}

    def seconds(self, mode: str, times: int) -> float:
        """Run a step so many times, and return what one took."""
        step = self.steps[mode]
        began = time.perf_counter()
        for _ in range(times):
            step()
        tf.test.experimental.sync_devices()
        return (time.perf_counter() - began) / times


def measure(name: str, dtype: str, pairs: int) -> dict[str, Any]:
    """Time both sides of a case in turn.

    Raises:
        ConvoyError: the two sides do not give the same numbers.
    """
    case = LAYERS[name]
    x = tf.cast(tf.random.stateless_normal(case.shape, (0, 0)), dtype)
    made = [make(**case.arguments, dtype=DTYPES[dtype]) for make in (case.ours, case.theirs)]
    ours, theirs = (Side(layer, x) for layer in made)
    theirs.layer.set_weights(ours.layer.get_weights())
    hold_alike(name, ours.layer(x), theirs.layer(x), TOLERANCES[dtype])
    result: dict[str, Any] = {"layer": name, "dtype": dtype}
    for mode in MODES:
        # The first time compiles.
        *_, once = [max(side.seconds(mode, 2) for side in (ours, theirs)) for _ in range(2)]
        times = max(1, round(LEAST_SECONDS / once))
        turns = [(ours.seconds(mode, times), theirs.seconds(mode, times)) for _ in range(pairs)]
        result[mode] = {
            "milliseconds": 1e3 * statistics.median(our for our, _ in turns),
            "ratio": spread([their / our for our, their in turns]),
        }
    return result


def hold_alike(name: str, ours: tf.Tensor, theirs: tf.Tensor, tolerance: float) -> None:
    """Refuse to compare two layers that do not do the same."""
    first, second = (np.array(tf.cast(each, "float32")) for each in (ours, theirs))
    most = tolerance * max(1.0, float(np.abs(second).max()))
    if first.shape != second.shape or np.abs(first - second).max() > most:
        raise ConvoyError(
            f"`{name}` is not what it is compared with: expected the same numbers from the same "
            f"weights, received shapes {first.shape} and {second.shape}; mend its line in "
            "benchmarks/layers.py."
        )


def run(
    names: Iterable[str] = (), pairs: int = 15, show: Callable[[str], None] = lambda line: None
) -> dict[str, Any]:
    """Measure the named layers, or all of them, and `show` a line of a table for each.

    Raises:
        ConvoyError: no such layer, or too few pairs.
    """
    names = list(names) or list(LAYERS)
    for name in names:
        if name not in LAYERS:
            raise ConvoyError(f"unknown layer `{name}`: {nearest(name, LAYERS)}")
    require_pairs(pairs, steady=15)
    before, found = os.getloadavg(), []
    show(f"{'times as fast as Keras':24}{'type':9}{'inference':>22}{'training':>22}")
    for name in names:
        for dtype in DTYPES:
            found.append(measure(name, dtype, pairs))
            show(row(found[-1]))
    result = {"pairs": pairs, "layers": found, **surroundings(before)}
    show("\n" + "\n".join(notes(result)))
    return result


def row(found: dict[str, Any]) -> str:
    """Say how many times as fast as its peer a layer is."""
    cells = [in_words(found[mode]["ratio"]) for mode in MODES]
    return f"{found['layer']:24}{found['dtype']:9}{cells[0]:>22}{cells[1]:>22}"
