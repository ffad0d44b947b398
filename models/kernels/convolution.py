"""Convolutions, by TensorFlow's kernel where it is right, and otherwise where it is not."""

import functools

from keras import ops

from models.geometry import extent, output_sizes, padding_pairs
from models.kernels.backend import cut, has_gpu, on_tensorflow
from models.kernels.small_map import conv_of_small_map, is_small_map


def conv(x, kernel, strides, padding, dilation_rate):
    """Slide `kernel` over the 1, 2 or 3 axes of `x` between batch and channels.

    The kernel's depth says how many groups the channels of `x` are cut into.

    Args:
        x: `(batch, *sizes, channels)`.
        kernel: `(*window, channels / groups, filters)`.
        strides: an int per axis.
        padding: `"same"` or `"valid"`.
        dilation_rate: an int per axis.
    """
    if not on_tensorflow():
        return ops.conv(x, kernel, strides, padding, "channels_last", dilation_rate)
    rank, groups = len(strides), x.shape[-1] // kernel.shape[-2]
    axes = zip(kernel.shape[:rank], dilation_rate, strict=True)
    dilation_rate = [gap if width > 1 else 1 for width, gap in axes]
    if groups > 1 and not trains(rank, x.dtype, groups=2):
        parts = zip(ops.split(x, groups, -1), ops.split(kernel, groups, -1), strict=True)
        outputs = [conv(*part, strides, padding, dilation_rate) for part in parts]
        return ops.concatenate(outputs, axis=-1)
    if max(dilation_rate) > 1 and not trains(rank, x.dtype, dilation=2):
        return conv_of_phases(x, kernel, strides, padding, dilation_rate)
    if None in x.shape[1:-1] and (max(strides) > 1 or rank == 3):
        return conv_of_any_size(x, kernel, strides, padding, dilation_rate)
    if not has_gpu() and is_small_map(x, kernel, strides, padding, dilation_rate):
        return conv_of_small_map(x, kernel)
    x, kernel, strides, padding = steady(x, kernel, strides, padding, dilation_rate)
    return native_conv(x, kernel, strides, padding, dilation_rate)


def steady(x, kernel, strides, padding, dilation_rate):
    """Return the arguments of an equal convolution that oneDNN computes right.

    Sizes are known, or strides are 1 and the rank is less than 3.

    That of TensorFlow 2.21 reads and writes beyond its arrays, which gives wrong numbers and
    crashes: where an axis has one position and a stride, where windows of one have strides and
    few channels, and in volumes where the window is larger than an axis.
    """
    sizes, window = x.shape[1:-1], kernel.shape[:-2]
    extents = [extent(*axis) for axis in zip(window, dilation_rate, strict=True)]
    positions = output_sizes(sizes, extents, strides, padding)
    lone = [count == 1 < stride for count, stride in zip(positions, strides, strict=True)]
    if any(lone) or (len(sizes) == 3 and is_larger(extents, sizes)):
        x = ops.pad(x, [(0, 0), *padding_pairs(sizes, extents, strides, padding), (0, 0)])
        ends = [end if alone else None for end, alone in zip(extents, lone, strict=True)]
        x, padding = cut(x, [(0, None), *((0, end) for end in ends)]), "valid"
        # One position needs no step.
        strides = [1 if alone else stride for stride, alone in zip(strides, lone, strict=True)]
    if is_skipping(kernel, strides):
        # Padding now adds at most the position that the empty tap sees.
        kernel, padding = with_empty_tap(kernel), "same"
    return x, kernel, strides, padding


def conv_of_any_size(x, kernel, strides, padding, dilation_rate):
    """Convolve what may have any of the sizes that `steady` changes.

    All is padded here. Where a size is not known, there are two positions more than wanted, which
    are cut off again, so that none is alone.
    """
    import tensorflow as tf

    extents = [extent(*axis) for axis in zip(kernel.shape[:-2], dilation_rate, strict=True)]
    more = [
        2 if size is None and stride > 1 else 0
        for size, stride in zip(x.shape[1:-1], strides, strict=True)
    ]
    pairs = padding_pairs(ops.shape(x)[1:-1], extents, strides, padding)
    axes = zip(pairs, more, strides, strict=True)
    widths = [(before, after + count * stride) for (before, after), count, stride in axes]
    channels = x.shape[-1]
    x = tf.pad(x, [(0, 0), *widths, (0, 0)])
    x.set_shape((None,) * (len(strides) + 1) + (channels,))
    padding = "valid"
    if is_skipping(kernel, strides):
        kernel, padding = with_empty_tap(kernel), "same"
    outputs = native_conv(x, kernel, strides, padding, dilation_rate)
    return outputs[(slice(None), *(slice(None, -count or None) for count in more))]


def is_larger(extents, sizes):
    """Return whether a window is larger than the input along an axis."""
    return any(length > size for length, size in zip(extents, sizes, strict=True))


def is_skipping(kernel, strides):
    """Return whether windows of one have strides and few channels; 16 are a vector of oneDNN."""
    *window, channels, _ = kernel.shape
    return max(window) == 1 < max(strides) and channels < 16


def with_empty_tap(kernel):
    """Put a zero after the last axis of the window."""
    return ops.pad(kernel, [*[(0, 0)] * (len(kernel.shape) - 3), (0, 1), (0, 0), (0, 0)])


def conv_of_phases(x, kernel, strides, padding, dilation_rate):
    """Convolve with dilation by plain convolutions of every nth position."""
    import tensorflow as tf

    window, sizes = kernel.shape[:-2], ops.shape(x)[1:-1]
    extents = [extent(*axis) for axis in zip(window, dilation_rate, strict=True)]
    x = ops.pad(x, [(0, 0), *padding_pairs(sizes, extents, strides, padding), (0, 0)])
    ones = [1] * len(strides)
    paddings, crops = tf.required_space_to_batch_paddings(ops.shape(x)[1:-1], dilation_rate)
    phases = tf.space_to_batch(x, dilation_rate, paddings)
    outputs = conv(phases, kernel, ones, "valid", ones)
    outputs = tf.batch_to_space(outputs, dilation_rate, crops)
    return outputs[(slice(None), *(slice(None, None, stride) for stride in strides))]


def native_conv(x, kernel, strides, padding, dilation_rate):
    """Convolve by TensorFlow's own function of that rank."""
    import tensorflow as tf

    rank = len(strides)
    native = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}[rank]
    ones = (1,) if rank == 3 else ()
    steps, gaps = (*ones, *strides, *ones), (*ones, *dilation_rate, *ones)
    return native(x, kernel, steps, padding.upper(), dilations=gaps)


@functools.cache
def trains(rank, dtype, groups=1, dilation=1):
    """Return whether TensorFlow has this convolution and its gradient, here and for this type.

    Without oneDNN it does not dilate or cut into groups, and oneDNN has no float16.
    """
    import tensorflow as tf

    @tf.function
    def gradients():
        x = tf.zeros((1, *[3] * rank, groups), dtype)
        kernel = tf.zeros((*[2] * rank, 1, groups), dtype)
        y = native_conv(x, kernel, [1] * rank, "same", [dilation] * rank)
        return tf.gradients(y, [x, kernel])

    with tf.init_scope():  # At once, also while a graph is made.
        try:
            gradients()
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True
