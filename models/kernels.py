"""The one door to backend-specific ops: each job takes its backend's fastest kernel.

On TensorFlow, batch normalization is one fused op forward and one backward; Keras 3 spells it
out in six or more, which halves the speed of a small residual network on a CPU.
"""

import functools

import keras
from keras import ops

from models.geometry import (
    extent,
    output_sizes,
    padding_pairs,
    transposed_padding_pairs,
    transposed_sizes,
)

# The fused kernel takes these, and keeps its statistics in float32 for all of them.
FUSED_DTYPES = ("float32", "bfloat16", "float16")


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
    if not _on_tensorflow():
        return ops.conv(x, kernel, strides, padding, "channels_last", dilation_rate)
    rank, groups = len(strides), x.shape[-1] // kernel.shape[-2]
    axes = zip(kernel.shape[:rank], dilation_rate, strict=True)
    dilation_rate = [gap if width > 1 else 1 for width, gap in axes]
    if groups > 1 and not _trains(rank, x.dtype, groups=2):
        parts = zip(ops.split(x, groups, -1), ops.split(kernel, groups, -1), strict=True)
        outputs = [conv(*part, strides, padding, dilation_rate) for part in parts]
        return ops.concatenate(outputs, axis=-1)
    if max(dilation_rate) > 1 and not _trains(rank, x.dtype, dilation=2):
        return _conv_of_phases(x, kernel, strides, padding, dilation_rate)
    if None in x.shape[1:-1] and (max(strides) > 1 or rank == 3):
        return _conv_of_any_size(x, kernel, strides, padding, dilation_rate)
    x, kernel, strides, padding = _steady(x, kernel, strides, padding, dilation_rate)
    return _native_conv(x, kernel, strides, padding, dilation_rate)


def depthwise_conv(x, kernel, strides, padding, dilation_rate):
    """Slide over each channel of `x` its own filters: `(*window, channels, multiplier)`.

    The other arguments are those of `conv`.
    """
    *window, channels, multiplier = kernel.shape
    dilated = max(dilation_rate) > 1
    if len(window) == 1 and _on_tensorflow():
        steps, gaps = strides * 2, (1, *dilation_rate)
        return depthwise_conv(x[:, None], kernel[None], steps, padding, gaps)[:, 0]
    # TensorFlow's kernel takes one stride for all axes, and none beside dilation.
    if not _on_tensorflow() or len(set(strides)) > 1 or (dilated and max(strides) > 1):
        filters = ops.reshape(kernel, (*window, 1, channels * multiplier))
        return conv(x, filters, strides, padding, dilation_rate)
    if len(window) == 3:
        return _depthwise_conv_of_planes(x, kernel, strides, padding, dilation_rate)
    import tensorflow as tf

    gaps = dilation_rate if dilated else None
    return tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), padding.upper(), dilations=gaps)


def conv_transpose(x, kernel, strides, padding):
    """Return the gradient that `x` would send back through `conv`: its adjoint.

    Args:
        x: `(batch, *sizes, channels)`.
        kernel: `(*window, filters, channels)`.
        strides: an int per axis.
        padding: that of the convolution, as layers take it.
    """
    window = kernel.shape[:-2]
    sizes = transposed_sizes(ops.shape(x)[1:-1], window, strides, padding)
    if _on_tensorflow() and _is_skipping(kernel, strides):
        kernel = _with_empty_tap(kernel)
    if padding == "same" and _on_tensorflow() and not _is_lone_or_larger(x, kernel, strides):
        return _native_conv_transpose(x, kernel, sizes, strides, "SAME")
    whole = _whole_conv_transpose(x, kernel, strides)
    starts = [start for start, _ in transposed_padding_pairs(window, strides, padding)]
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    return cut(whole, [(0, None), *zip(starts, ends, strict=True)])


def local_conv(x, kernel, window, strides):
    """Apply at each position of `window` a matrix of its own.

    Args:
        x: `(batch, *sizes, channels)`, padded.
        kernel: `(*positions, taps * channels, filters)`.
        window: an int per axis.
        strides: an int per axis.
    """
    # With the batch last, copies are long runs of memory: four times as fast to train as if first.
    x = ops.moveaxis(x, 0, -1)
    taps = [x]
    for axis, count in enumerate(kernel.shape[:-2]):
        starts = range(window[axis])
        taps = [every(tap, axis, start, strides[axis], count) for tap in taps for start in starts]
    seen = ops.concatenate(taps, axis=-2)
    return ops.moveaxis(ops.matmul(ops.swapaxes(kernel, -1, -2), seen), -1, 0)


def cut(x, bounds):
    """Return the part of `x` from a start to an end, or `None`, on each of the first axes.

    On TensorFlow the gradient of `x[start:end]` is several times slower.
    """
    if not _on_tensorflow():
        return x[tuple(slice(*each) for each in bounds)]
    import tensorflow as tf

    bounds = [*bounds, *[(0, None)] * (len(x.shape) - len(bounds))]
    sizes = [-1 if end is None else end - start for start, end in bounds]
    part = tf.slice(x, [start for start, _ in bounds], sizes)
    # Where one size is a tensor, TensorFlow forgets the others.
    axes = zip(x.shape, bounds, strict=True)
    part.set_shape([size if bound == (0, None) else None for size, bound in axes])
    return part


def every(x, axis, start, step, count):
    """Return `count` positions of an `axis` of `x`: `start`, and on by `step`."""
    if step == 1:
        return cut(x, [*[(0, None)] * axis, (start, start + count)])
    return ops.take(x, ops.arange(start, start + step * count, step), axis)


def add_bias(x, bias):
    """Add a number per channel, the last axis, or per position and channel."""
    if not _on_tensorflow():
        return ops.add(x, bias)
    import tensorflow as tf

    # The gradient of `bias_add`, which `ops.add` takes too, sums bfloat16 in bfloat16, and stops at
    # 256 ones; that of a sum does so in float16.
    add = tf.add if len(bias.shape) > 1 or x.dtype == tf.bfloat16 else tf.nn.bias_add
    return add(x, tf.convert_to_tensor(bias))


def pool(reduce, x, window, strides, padding):
    """Apply `reduce`, which is `ops.max_pool` or `ops.average_pool`, to each window.

    The other arguments are those of `conv`. `"same"` padding is no part of any maximum or mean.
    """
    if _on_tensorflow():
        if len(window) == 3:
            return _pool_planes(reduce, x, window, strides, padding)
        return reduce(x, window, strides, padding, "channels_last")
    # JAX adds up a window in the type of `x`, and bfloat16 cannot count beyond 256.
    whole = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    return ops.cast(reduce(whole, window, strides, padding, "channels_last"), x.dtype)


def _pool_planes(reduce, x, window, strides, padding):
    """Pool a volume's planes, then across them.

    TensorFlow's kernels for volumes send a maximum's gradient to all that equal it, take no
    float16, and have no likes in TFLite.
    """
    _, depth, height, width, channels = ops.shape(x)
    planes = ops.reshape(x, (-1, height, width, channels))
    planes = reduce(planes, window[1:], strides[1:], padding, "channels_last")
    _, height, width, _ = ops.shape(planes)
    columns = ops.reshape(planes, (-1, depth, height * width, channels))
    columns = reduce(columns, (window[0], 1), (strides[0], 1), padding, "channels_last")
    return ops.reshape(columns, (-1, ops.shape(columns)[1], height, width, channels))


def batch_norm_training(x, gamma, beta, epsilon, mask=None):
    """Normalize `x` by its own statistics and return `(y, mean, variance)`.

    The statistics are per channel, the last axis, and float32. `y` is normalized by the variance
    of the batch, as in algorithm 1 of Ioffe and Szegedy, 2015; the variance returned is the
    unbiased estimate, `n / (n - 1)` times that, as their algorithm 2 asks of inference. Where a
    `mask` of the shape of `x` without channels is `False`, `x` is no part of the statistics.
    """
    if mask is None and _has_fused_kernel(x):
        return _fused_batch_norm(x, gamma, beta, [], [], epsilon, is_training=True)
    mean, variance, count = _moments(ops.cast(x, "float32"), mask)
    y = _scale_and_shift(x, gamma, beta, mean, variance, epsilon)
    return y, mean, variance * (count / ops.maximum(count - 1, 1))


def batch_norm_inference(x, gamma, beta, mean, variance, epsilon):
    """Normalize `x` by a given float32 `mean` and `variance` per channel, the last axis."""
    if _has_fused_kernel(x):
        return _fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]
    return _scale_and_shift(x, gamma, beta, mean, variance, epsilon)


def _steady(x, kernel, strides, padding, dilation_rate):
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
    if any(lone) or (len(sizes) == 3 and _is_larger(extents, sizes)):
        x = ops.pad(x, [(0, 0), *padding_pairs(sizes, extents, strides, padding), (0, 0)])
        ends = [end if alone else None for end, alone in zip(extents, lone, strict=True)]
        x, padding = cut(x, [(0, None), *((0, end) for end in ends)]), "valid"
        # One position needs no step.
        strides = [1 if alone else stride for stride, alone in zip(strides, lone, strict=True)]
    if _is_skipping(kernel, strides):
        # Padding now adds at most the position that the empty tap sees.
        kernel, padding = _with_empty_tap(kernel), "same"
    return x, kernel, strides, padding


def _conv_of_any_size(x, kernel, strides, padding, dilation_rate):
    """Convolve what may have any of the sizes that `_steady` changes.

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
    if _is_skipping(kernel, strides):
        kernel, padding = _with_empty_tap(kernel), "same"
    outputs = _native_conv(x, kernel, strides, padding, dilation_rate)
    return outputs[(slice(None), *(slice(None, -count or None) for count in more))]


def _is_larger(extents, sizes):
    return any(length > size for length, size in zip(extents, sizes, strict=True))


def _is_skipping(kernel, strides):
    """Return whether windows of one have strides and few channels; 16 are a vector of oneDNN."""
    *window, channels, _ = kernel.shape
    return max(window) == 1 < max(strides) and channels < 16


def _with_empty_tap(kernel):
    """Put a zero after the last axis of the window."""
    return ops.pad(kernel, [*[(0, 0)] * (len(kernel.shape) - 3), (0, 1), (0, 0), (0, 0)])


def _native_conv(x, kernel, strides, padding, dilation_rate):
    import tensorflow as tf

    rank = len(strides)
    native = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}[rank]
    ones = (1,) if rank == 3 else ()
    steps, gaps = (*ones, *strides, *ones), (*ones, *dilation_rate, *ones)
    return native(x, kernel, steps, padding.upper(), dilations=gaps)


@functools.cache
def _trains(rank, dtype, groups=1, dilation=1):
    """Return whether TensorFlow has this convolution and its gradient, here and for this type.

    Without oneDNN it does not dilate or cut into groups, and oneDNN has no float16.
    """
    import tensorflow as tf

    @tf.function
    def gradients():
        x = tf.zeros((1, *[3] * rank, groups), dtype)
        kernel = tf.zeros((*[2] * rank, 1, groups), dtype)
        y = _native_conv(x, kernel, [1] * rank, "same", [dilation] * rank)
        return tf.gradients(y, [x, kernel])

    with tf.init_scope():  # At once, also while a graph is made.
        try:
            gradients()
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


def _conv_of_phases(x, kernel, strides, padding, dilation_rate):
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


def _depthwise_conv_of_planes(x, kernel, strides, padding, dilation_rate):
    """Convolve a volume's planes with each plane of the kernel, and sum over those."""
    (size, *_), (window, *_) = ops.shape(x)[1:-1], kernel.shape
    (stride, *steps), (gap, *gaps) = strides, dilation_rate
    reach = extent(window, gap)
    x = ops.pad(x, [(0, 0), *padding_pairs((size,), (reach,), (stride,), padding), *[(0, 0)] * 3])
    (count,) = output_sizes((size,), (reach,), (stride,), padding)
    _, depth, height, width, channels = ops.shape(x)
    runs = ops.reshape(x, (-1, depth, height * width * channels))
    outputs = 0
    for index in range(window):
        seen = every(runs, 1, index * gap, stride, count)
        planes = ops.reshape(seen, (-1, height, width, channels))
        outputs += depthwise_conv(planes, kernel[index], tuple(steps), padding, tuple(gaps))
    return ops.reshape(outputs, (-1, count, *ops.shape(outputs)[1:]))


def _is_lone_or_larger(x, kernel, strides):
    """Return whether the convolution that this transposes is one that `_steady` changes."""
    axes = list(zip(x.shape[1:-1], kernel.shape[:-2], strides, strict=True))
    lone = any(size in (1, None) and stride > 1 for size, _, stride in axes)
    larger = any(window > (size or 1) * stride for size, window, stride in axes)
    return lone or (len(axes) == 3 and larger)


def _whole_conv_transpose(x, kernel, strides):
    """Return a transposed convolution uncut: `(size - 1) * stride + max(window, stride)` long."""
    if not _on_tensorflow():
        return ops.conv_transpose(x, kernel, strides, "valid", None, "channels_last")
    axes = list(zip(x.shape[1:-1], kernel.shape[:-2], strides, strict=True))
    # A size that is not known might be 1: another position, whose window is cut off, prevents it.
    more = [1 if size is None and stride > 1 else 0 for size, _, stride in axes]
    x = ops.pad(x, [(0, 0), *((0, count) for count in more), (0, 0)])
    steps = [1 if size == 1 else stride for size, _, stride in axes]
    lengths = [max(window, step) for (_, window, _), step in zip(axes, steps, strict=True)]
    spans = zip(ops.shape(x)[1:-1], steps, lengths, strict=True)
    sizes = [(size - 1) * step + length for size, step, length in spans]
    outputs = _native_conv_transpose(x, kernel, sizes, steps, "VALID")
    short = [max(stride - length, 0) for (*_, stride), length in zip(axes, lengths, strict=True)]
    return ops.pad(outputs, [(0, 0), *((0, missing) for missing in short), (0, 0)])


def _native_conv_transpose(x, kernel, sizes, strides, padding):
    import tensorflow as tf

    rank = len(strides)
    natives = {1: tf.nn.conv1d_transpose, 2: tf.nn.conv2d_transpose, 3: tf.nn.conv3d_transpose}
    shape = (ops.shape(x)[0], *sizes, kernel.shape[-2])
    outputs = natives[rank](x, kernel, shape, strides, padding)
    outputs.set_shape([size if isinstance(size, int) else None for size in shape])
    return outputs


def _on_tensorflow():
    return keras.backend.backend() == "tensorflow"


def _has_fused_kernel(x):
    return _on_tensorflow() and keras.backend.standardize_dtype(x.dtype) in FUSED_DTYPES


def _fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training):
    import tensorflow as tf  # Here, so that no other backend ever loads it.

    # The kernel wants rank 4 and looks at channels alone, so any other rank can be folded.
    images = x if len(x.shape) == 4 else tf.reshape(x, (-1, 1, 1, x.shape[-1]))
    result = tf.raw_ops.FusedBatchNormV3(
        x=images,
        scale=tf.convert_to_tensor(gamma, tf.float32),
        offset=tf.convert_to_tensor(beta, tf.float32),
        mean=tf.convert_to_tensor(mean, tf.float32),
        variance=tf.convert_to_tensor(variance, tf.float32),
        epsilon=epsilon,
        is_training=is_training,
    )
    y = result.y if len(x.shape) == 4 else tf.reshape(result.y, tf.shape(x))
    return y, result.batch_mean, result.batch_variance


def _moments(x, mask):
    """Return mean and variance of each channel, and how many values they are taken over."""
    axes = tuple(range(len(x.shape) - 1))
    if mask is None:
        count = ops.cast(ops.size(x), "float32") / x.shape[-1]
        return ops.mean(x, axes), ops.var(x, axes), count
    shown = mask[..., None]
    count = ops.maximum(ops.sum(ops.cast(shown, "float32")), 1)
    mean = ops.sum(ops.where(shown, x, 0.0), axes) / count
    centred = ops.where(shown, x - mean, 0.0)
    return mean, ops.sum(ops.square(centred), axes) / count, count


def _scale_and_shift(x, gamma, beta, mean, variance, epsilon):
    """Normalize in float32, and return the type of `x`."""
    scale = gamma * ops.rsqrt(variance + epsilon)
    return ops.cast((ops.cast(x, "float32") - mean) * scale + beta, x.dtype)
