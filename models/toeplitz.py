"""Convolutions as dense layers, whose matrices are sparse and repeat one kernel; and back.

A convolution is linear, so it is some matrix from all its inputs to all its outputs: zero but where
a window lies, and with the same numbers for every window (along one axis, a Toeplitz matrix).
"""

import collections
import functools
import math

import numpy as np
from keras import layers

from models.geometry import padding_pairs
from models.layers import Conv, DepthwiseConv
from models.rewrite import rewrite


def to_matrix(layer, input_shape):
    """Return a convolution's matrix, `(inputs, outputs)`, and its bias, `(outputs,)`.

    Inputs and outputs are in the order of `Flatten`.

    Args:
        layer: `Conv` or `DepthwiseConv` of any rank, built.
        input_shape: ints. Sizes and channels, without the batch.

    Example:

    >>> conv = Conv1D(1, 3, padding="valid")
    >>> conv.build((None, 7, 1))
    >>> to_matrix(conv, (7, 1))[0].shape
    (7, 5)
    """
    if None in input_shape:
        raise ValueError(
            f"`input_shape` must have known sizes. Received: input_shape={tuple(input_shape)}"
        )
    kernel, *bias = layer.get_weights()
    output_shape = layer.compute_output_shape((None, *input_shape))[1:]
    rows, columns, weights = places(layer, input_shape, output_shape)
    matrix = np.zeros((math.prod(input_shape), math.prod(output_shape)), kernel.dtype)
    matrix[rows, columns] = kernel.reshape(-1)[weights]
    per_filter = bias[0] if bias else np.zeros(output_shape[-1], kernel.dtype)
    return matrix, np.tile(per_filter, math.prod(output_shape[:-1]))


def from_matrix(layer, input_shape, matrix, bias):
    """Return the kernel and the bias per filter with which a convolution has this matrix.

    Weights that lie on padding at every position, and so do nothing, come back as 0.

    Args:
        layer: `Conv` or `DepthwiseConv`, built; of its weights, only the shapes matter.
        input_shape: ints. Sizes and channels, without the batch.
        matrix: array `(inputs, outputs)`.
        bias: array `(outputs,)`.

    Raises:
        ValueError: no convolution of this geometry has that matrix and that bias.
    """
    output_shape = layer.compute_output_shape((None, *input_shape))[1:]
    shape = math.prod(input_shape), math.prod(output_shape)
    require(matrix.shape == shape, f"of shape {shape}", f"shape {matrix.shape}")
    rows, columns, weights = places(layer, input_shape, output_shape)
    kernel = np.zeros(layer.kernel.shape, matrix.dtype)
    kernel.reshape(-1)[weights] = matrix[rows, columns]
    again = np.zeros_like(matrix)
    again[rows, columns] = kernel.reshape(-1)[weights]
    require_equal(matrix, again, "zero outside the windows and the same in each")
    per_position = bias.reshape(-1, output_shape[-1])
    require_equal(per_position, per_position[:1], "of one bias per filter")
    return kernel, per_position[0]


def require(condition, expected, received):
    """Refuse a matrix."""
    if not condition:
        raise ValueError(f"`matrix` must be {expected}, to be a convolution. Received: {received}")


def require_equal(found, wanted, expected):
    """Refuse a matrix where it is not `wanted`, naming the first place."""
    differs = np.argwhere(found != wanted)
    if len(differs):
        place = tuple(map(int, differs[0]))
        require(False, expected, f"{found[place]} at {place}")


def to_matrices(network):
    """Return a copy of a network in which dense layers stand for its convolutions.

    Each `Conv` and `DepthwiseConv` becomes a flatten, a dense layer with the convolution's matrix,
    and a reshape. The matrix has a number for each input and output: small networks only.

    Args:
        network: functional `keras.Model` with inputs of known sizes.
    """
    times = collections.Counter()

    @functools.cache
    def chain(conv, input_shape, output_shape):
        times[conv.name] += 1
        # A convolution over maps of two sizes is two matrices.
        name = conv.name if times[conv.name] == 1 else f"{conv.name}_{times[conv.name]}"
        return dense_chain(conv, input_shape, output_shape, name)

    def change(call, args):
        masked = call.kwargs.get("mask") is not None
        if masked or not isinstance(call.layer, Conv | DepthwiseConv):
            return None
        outputs = args[0]
        for layer in chain(call.layer, call.input_shape, call.output_shape):
            outputs = layer(outputs)
        return outputs

    return rewrite(network, change)


def dense_chain(conv, input_shape, output_shape, name):
    """Return the flatten, the dense layer and the reshape that do what a convolution does."""
    matrix, bias = to_matrix(conv, input_shape)
    policy = {"dtype": conv.dtype_policy}
    dense = layers.Dense(math.prod(output_shape), name=name, **policy)
    dense.build((None, len(matrix)))
    dense.set_weights([matrix, bias])
    flatten = layers.Flatten(name=f"{name}_flatten", **policy)
    return flatten, dense, layers.Reshape(output_shape, name=f"{name}_reshape", **policy)


def places(layer, input_shape, output_shape):
    """Return where a convolution's matrix holds which weight.

    Returns:
        Three arrays of ints, alike in shape: row, column, and index into the flat kernel.
    """
    *sizes, channels = input_shape
    *positions, filters = output_shape
    taps = taps_of(layer, sizes, positions)
    # Depthwise is one group for each channel.
    groups = layer.groups if isinstance(layer, Conv) else channels
    depth = channels // groups
    inputs, outputs, windows = (each[:, np.newaxis, np.newaxis] for each in taps)
    channel, filter_ = np.arange(depth)[:, np.newaxis], np.arange(filters)
    first_channel = filter_ // (filters // groups) * depth
    rows = inputs * channels + first_channel + channel
    columns = outputs * filters + filter_
    return rows, columns, (windows * depth + channel) * filters + filter_


def taps_of(layer, sizes, positions):
    """Return each place where a window lies on an input: input, output and tap, all flat."""
    pairs = padding_pairs(sizes, layer.extents, layer.strides, layer.padding)
    inputs = outputs = taps = np.zeros(1, int)
    geometry = (sizes, positions, layer.window, layer.strides, layer.dilation_rate, pairs)
    for size, count, window, stride, dilation, (before, _) in zip(*geometry, strict=True):
        output, tap = (each.reshape(-1) for each in np.indices((count, window)))
        source = output * stride + tap * dilation - before
        inside = (source >= 0) & (source < size)
        inputs = flat(inputs, size, source[inside])
        outputs = flat(outputs, count, output[inside])
        taps = flat(taps, window, tap[inside])
    return inputs, outputs, taps


def flat(index, size, along):
    """Return flat indices into one more axis of this `size`, for every pair of the two."""
    return (index[:, np.newaxis] * size + along).reshape(-1)
