"""Transposed convolutions, as the gradient of convolutions."""

from keras import ops

from models.geometry import transposed_padding_pairs, transposed_sizes
from models.kernels.backend import cut, on_tensorflow
from models.kernels.convolution import is_skipping, with_empty_tap


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
    if on_tensorflow() and is_skipping(kernel, strides):
        kernel = with_empty_tap(kernel)
    if padding == "same" and on_tensorflow() and not is_lone_or_larger(x, kernel, strides):
        return native_conv_transpose(x, kernel, sizes, strides, "SAME")
    whole = whole_conv_transpose(x, kernel, strides)
    starts = [start for start, _ in transposed_padding_pairs(window, strides, padding)]
    ends = [start + size for start, size in zip(starts, sizes, strict=True)]
    return cut(whole, [(0, None), *zip(starts, ends, strict=True)])


def is_lone_or_larger(x, kernel, strides):
    """Return whether the convolution that this transposes is one that `steady` changes."""
    axes = list(zip(x.shape[1:-1], kernel.shape[:-2], strides, strict=True))
    lone = any(size in (1, None) and stride > 1 for size, _, stride in axes)
    larger = any(window > (size or 1) * stride for size, window, stride in axes)
    return lone or (len(axes) == 3 and larger)


def whole_conv_transpose(x, kernel, strides):
    """Return a transposed convolution uncut: `(size - 1) * stride + max(window, stride)` long."""
    if not on_tensorflow():
        return ops.conv_transpose(x, kernel, strides, "valid", None, "channels_last")
    axes = list(zip(x.shape[1:-1], kernel.shape[:-2], strides, strict=True))
    # A size that is not known might be 1: another position, whose window is cut off, prevents it.
    more = [1 if size is None and stride > 1 else 0 for size, _, stride in axes]
    x = ops.pad(x, [(0, 0), *((0, count) for count in more), (0, 0)])
    steps = [1 if size == 1 else stride for size, _, stride in axes]
    lengths = [max(window, step) for (_, window, _), step in zip(axes, steps, strict=True)]
    spans = zip(ops.shape(x)[1:-1], steps, lengths, strict=True)
    sizes = [(size - 1) * step + length for size, step, length in spans]
    outputs = native_conv_transpose(x, kernel, sizes, steps, "VALID")
    short = [max(stride - length, 0) for (*_, stride), length in zip(axes, lengths, strict=True)]
    return ops.pad(outputs, [(0, 0), *((0, missing) for missing in short), (0, 0)])


def native_conv_transpose(x, kernel, sizes, strides, padding):
    """Convolve transposed by TensorFlow's own function of that rank, to these `sizes`."""
    import tensorflow as tf

    rank = len(strides)
    natives = {1: tf.nn.conv1d_transpose, 2: tf.nn.conv2d_transpose, 3: tf.nn.conv3d_transpose}
    shape = (ops.shape(x)[0], *sizes, kernel.shape[-2])
    outputs = natives[rank](x, kernel, shape, strides, padding)
    outputs.set_shape([size if isinstance(size, int) else None for size in shape])
    return outputs
