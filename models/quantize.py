"""A network that rounds as its int8 file will: to train it so, and to see what rounding does."""

import collections
import math
from typing import NamedTuple

import keras
import numpy as np
from keras import layers, ops, quantizers, tree

from models.integer_form import integer_form
from models.kinds import MAX_POOLS, WITH_KERNEL, function_of, is_relu
from models.layers import (
    ConvTranspose,
    DepthwiseConv,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    MaxPool1D,
    PaddedShortcut,
)
from models.layers.fake_quant import FakeQuant, FakeQuantKernel
from models.rewrite import copy_of, only_reader, readers_of, record

# What chooses among values, or moves them, leaves them on their steps.
MOVES_VALUES = (
    *MAX_POOLS,
    MaxPool1D,
    GlobalMaxPool1D,
    GlobalMaxPool2D,
    PaddedShortcut,
    layers.MaxPooling1D,
    layers.GlobalMaxPooling1D,
    layers.GlobalMaxPooling2D,
    layers.Cropping2D,
    layers.Dropout,
    layers.Flatten,
    layers.Permute,
    layers.Reshape,
    layers.SpatialDropout2D,
    layers.UpSampling2D,
    layers.ZeroPadding2D,
)
# Operations that apply ReLU before they round.
TAKES_RELU = (*WITH_KERNEL, layers.Add)
# Activations whose steps are the same in every int8 file.
FIXED_RANGES = {
    "sigmoid": (0.0, 255 / 256),
    "softmax": (0.0, 255 / 256),
    "tanh": (-1.0, 127 / 128),
}
PIXELS = (0.0, 255.0)
# What the values of a network may take while they are looked at.
KEPT_BYTES = 1_000_000_000
ROUNDS = (FakeQuant, FakeQuantKernel)
# What follows the name of a layer in that of its rounding.
OF_KERNEL, OF_VALUES = "_int8_kernel", "_int8"


def fake_quantized(network, keep_float=()):
    """Return a copy of a network, in its integer form, that rounds kernels and values to 8 bits.

    Kernels have a size of step for each channel; those of transposed convolutions have one, for
    TensorFlow's converter takes no more from rounded ones. The ranges of values are set by
    `calibrate`, and then by training.

    Args:
        network: functional `keras.Model` with one input, of 0-255.
        keep_float: names of layers that round neither their kernel nor their values. What reads
            those computes in floats too, and rounds its answers.

    Raises:
        ValueError: the network takes no pixels, has convolutions of Keras, or a layer twice.
    """
    if len(network.inputs) != 1 or not keras.backend.is_float_dtype(network.inputs[0].dtype):
        raise ValueError(
            "`network` must have one input, of pixels from 0 to 255. Received: inputs "
            f"{[f'{each.name} of {each.dtype}' for each in network.inputs]}"
        )
    flat, calls = record(integer_form(network))
    readers = readers_of(calls, flat.output)
    (image,) = flat.inputs
    pixels = keras.Input(batch_shape=image.shape, dtype=image.dtype, name=image.name)
    new = {id(image): FakeQuant(*PIXELS, momentum=1, name=image.name + OF_VALUES)(pixels)}
    unrounded, waiting, pixel_sized = set(), {}, {id(image)}
    for call in calls:
        layer, output = call.layer, id(call.output)
        inputs = [id(each) for each in call.inputs]
        in_floats = layer.name in keep_float or any(each in unrounded for each in inputs)
        rounds_kernel = isinstance(layer, WITH_KERNEL) and not in_floats
        gain = 1 / PIXELS[1] if inputs[0] in pixel_sized else 1.0
        copy = rounding_copy(layer, gain) if rounds_kernel else copy_of(layer)
        args = tree.map_structure(lambda each: new.get(id(each), each), call.args)
        new[output] = copy(*args)
        name, reader = waiting.get(inputs[0], layer.name), only_reader(readers, call)
        if isinstance(layer, MOVES_VALUES):
            for kind in (unrounded, pixel_sized):
                if inputs[0] in kind:
                    kind.add(output)
        elif isinstance(layer, TAKES_RELU) and reader and is_relu(reader.layer):
            waiting[output] = name
        elif name in keep_float:
            unrounded.add(output)
        else:
            new[output] = range_of(layer, name + OF_VALUES)(new[output])
    outputs = tree.map_structure(lambda each: new[id(each)], flat.output)
    return keras.Model(pixels, outputs, name=network.name)


def is_fake_quantized(network):
    """Return whether a network has layers that round."""
    return any(isinstance(layer, ROUNDS) for layer in network.layers)


def rounded_answers(probabilities):
    """Return probabilities as an int8 file gives them."""
    return quantizers.fake_quant_with_min_max_vars(probabilities, *FIXED_RANGES["softmax"])


def rounding_copy(layer, gain):
    """Return a copy of a layer that rounds its kernel, which is kept `1 / gain` times as large."""
    if isinstance(layer, ConvTranspose):
        channel_axes = 0
    else:
        channel_axes = 2 if isinstance(layer, DepthwiseConv) else 1
    copy = copy_of(layer)
    copy.kernel.assign(copy.kernel / gain)
    return FakeQuantKernel(copy, channel_axes, gain, name=layer.name + OF_KERNEL)


def range_of(layer, name):
    """Return the layer that rounds the values of another."""
    function = function_of(layer)
    if function in FIXED_RANGES:
        return FakeQuant(*FIXED_RANGES[function], momentum=1, name=name)
    return FakeQuant(name=name)


def roundings(network):
    """Return a dict from the name of each layer that rounds to the layers that round for it.

    The pixels are not among them: whole numbers have nothing to lose.

    Args:
        network: what `fake_quantized` gave.
    """
    found = {}
    pixels = network.inputs[0].name + OF_VALUES
    for layer in network.layers:
        if isinstance(layer, ROUNDS) and layer.name != pixels:
            name = layer.name.removesuffix(OF_KERNEL).removesuffix(OF_VALUES)
            found.setdefault(name, []).append(layer)
    return found


class Trace:
    """A network applied to images without rounding, and again with some of it.

    Args:
        recorded: what `record` gave of what `fake_quantized` gave.
        images: `(count, height, width, channels)`.
    """

    def __init__(self, recorded, images):
        flat, self.calls = recorded
        self.inputs, self.outputs = flat.inputs, tree.flatten(flat.output)
        self.values = {id(self.inputs[0]): ops.convert_to_tensor(images, "float32")}
        self.values = self.rounded_by(())

    def rounded_by(self, layers_that_round):
        """Return the values of all tensors, by id, where these layers round and no others do."""
        values, changed = dict(self.values), set()
        for call in self.calls:
            ids = {id(each) for each in call.inputs}
            rounds = call.layer in layers_that_round
            if id(call.output) in values and not rounds and not ids & changed:
                continue
            args = tree.map_structure(lambda each: values.get(id(each), each), call.args)
            values[id(call.output)] = applied(call, args, rounds)
            changed.add(id(call.output))
        return values


def applied(call, args, rounds):
    """Return what a layer makes of `args`, rounded or not."""
    if isinstance(call.layer, FakeQuant) and not rounds:
        return args[0]
    if isinstance(call.layer, FakeQuantKernel) and not rounds:
        return call.layer.exact(*args)
    return call.layer(*args)


def traces(network, images):
    """Yield a `Trace` of some images after the other, and their share of all.

    So many at a time that all values of the network can be kept.
    """
    recorded = record(network)
    values = sum(math.prod(call.output_shape) for call in recorded[1])
    # Without rounding and with some of it, four bytes each.
    chunk = max(1, min(50, KEPT_BYTES // (2 * 4 * values)))
    for start in range(0, len(images), chunk):
        some = images[start : start + chunk]
        yield Trace(recorded, some), len(some) / len(images)


def calibrate(network, images):
    """Set the ranges of values to those that images have where nothing is rounded.

    Args:
        network: what `fake_quantized` gave; it is changed.
        images: `(count, height, width, channels)`, of 0-255.
    """
    lows, highs = collections.defaultdict(float), collections.defaultdict(float)
    for trace, _ in traces(network, images):
        for call in trace.calls:
            if isinstance(call.layer, FakeQuant):
                seen, name = trace.values[id(call.output)], call.layer.name
                lows[name] = min(lows[name], float(ops.min(seen)))
                highs[name] = max(highs[name], float(ops.max(seen)))
    for layer in network.layers:
        if isinstance(layer, FakeQuant) and layer.momentum < 1:
            layer.low.assign(lows[layer.name])
            # What is always zero needs a range too.
            layer.high.assign(max(highs[layer.name], lows[layer.name] + 1e-6))
    round_biases(network)


def round_biases(network):
    """Round biases to the steps of the sums they join, which ranges and kernels decide.

    Then the network's values are those that XNNPACK computes of the int8 file, but for ties.

    Args:
        network: what `fake_quantized` gave, calibrated or trained; it is changed.
    """
    _, calls = record(network)
    steps = {}
    for call in calls:
        layer, step = call.layer, steps.get(id(call.inputs[0]))
        if isinstance(layer, FakeQuant):
            steps[id(call.output)] = layer.step
        elif isinstance(layer, MOVES_VALUES) and step:
            steps[id(call.output)] = step
        elif isinstance(layer, FakeQuantKernel):
            layer.round_bias(step)


class Noise(NamedTuple):
    """What the rounding of one layer does, the rest of the network being left as it is."""

    layer: str
    """Its name."""
    low: float
    """The low end of its values' range."""
    high: float
    """The high end."""
    error: float
    """Mean square of what rounding changes in its values."""
    own: float
    """Its values' signal-to-noise ratio, in decibels."""
    answer: float
    """The signal-to-noise ratio of the network's answers, in decibels."""


def noises(network, images):
    """Return the `Noise` of each layer that rounds, the one that harms the answers most first.

    Args:
        network: what `fake_quantized` gave, calibrated.
        images: `(count, height, width, channels)`, of 0-255.
    """
    sources = roundings(network)
    # Signal and noise, in the layer's values and in the answers.
    powers = {name: np.zeros((2, 2)) for name in sources}
    for trace, share in traces(network, images):
        own = {call.layer.name: call.output for call in trace.calls}
        for name, parts in sources.items():
            rounded = trace.rounded_by(parts)
            for row, tensor in enumerate((own[parts[-1].name], *trace.outputs)):
                clean = np.float64(trace.values[id(tensor)])
                noise = np.float64(rounded[id(tensor)]) - clean
                powers[name][row] += share * np.mean(clean**2), share * np.mean(noise**2)
    found = []
    for name, (own, answer) in powers.items():
        low, high = ends_of(sources[name][-1])
        found.append(Noise(name, low, high, float(own[1]), decibels(*own), decibels(*answer)))
    return sorted(found, key=lambda noise: noise.answer)


def ends_of(layer):
    """Return the range of a layer that rounds values."""
    return float(layer.low), float(layer.high)


def decibels(signal, noise):
    """Return a signal-to-noise ratio from both powers."""
    return float(10 * np.log10(max(signal, 1e-30) / max(noise, 1e-30)))
