"""Depthwise convolutions, of images by TensorFlow's kernel and else by what they are made of."""

from keras import ops

from models.geometry import extent, output_sizes, padding_pairs
from models.kernels.backend import every, on_tensorflow
from models.kernels.convolution import conv


def depthwise_conv(x, kernel, strides, padding, dilation_rate):
    """Slide over each channel of `x` its own filters: `(*window, channels, multiplier)`.

    The other arguments are those of `conv`.
    """
    *window, channels, multiplier = kernel.shape
    dilated = max(dilation_rate) > 1
    if len(window) == 1 and on_tensorflow():
        steps, gaps = strides * 2, (1, *dilation_rate)
        rows, filters = ops.expand_dims(x, 1), ops.expand_dims(kernel, 0)
        return ops.squeeze(depthwise_conv(rows, filters, steps, padding, gaps), 1)
    # TensorFlow's kernel takes one stride for all axes, and none beside dilation.
    if not on_tensorflow() or len(set(strides)) > 1 or (dilated and max(strides) > 1):
        filters = ops.reshape(kernel, (*window, 1, channels * multiplier))
        return conv(x, filters, strides, padding, dilation_rate)
    if len(window) == 3:
        return depthwise_conv_of_planes(x, kernel, strides, padding, dilation_rate)
    import tensorflow as tf

    gaps = dilation_rate if dilated else None
    return tf.nn.depthwise_conv2d(x, kernel, (1, *strides, 1), padding.upper(), dilations=gaps)


def depthwise_conv_of_planes(x, kernel, strides, padding, dilation_rate):
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
