"""Convolution over maps of a few positions, whose filters' gradient oneDNN finds slowly."""

from models.geometry import padding_pair

# Positions of a map up to which products of matrices win, with any channels and with many.
FEW, FEW_IF_WIDE, WIDE = 16, 64, 128


def is_small_map(x, kernel, strides, padding, dilation_rate):
    """Return whether `conv_of_small_map` computes this convolution, and sooner."""
    if len(strides) != 2 or padding != "same" or None in x.shape[1:]:
        return False
    # TensorFlow sums products of float16 in float16.
    if max(strides) > 1 or max(dilation_rate) > 1 or x.dtype == "float16":
        return False
    *_, height, width, channels = x.shape
    rows, columns, depth, _ = kernel.shape
    most = FEW_IF_WIDE if channels >= WIDE else FEW
    fits = 1 < rows <= height and 1 < columns <= width
    return fits and depth == channels and height * width <= most


def conv_of_small_map(x, kernel):
    """Convolve with strides of 1 and padding `"same"`, with another way to the filters' gradient.

    Each tap of the window sees the part of the map that it meets when the window slides: its
    gradient is one product of that part and the answers' there. No position is multiplied with
    padding, which is 40% of a 3x3 map under a 3x3 window.
    """
    import tensorflow as tf

    @tf.custom_gradient
    def conv(x, kernel):
        y = tf.nn.conv2d(x, kernel, 1, "SAME")

        def gradients(dy):
            dx = tf.nn.conv2d_transpose(dy, kernel, tf.shape(x), 1, "SAME")
            return dx, filter_gradient(x, dy, kernel.shape)

        return y, gradients

    return conv(x, tf.convert_to_tensor(kernel))


def filter_gradient(x, dy, shape):
    """Return the gradient of a kernel, tap by tap.

    Args:
        x: `(batch, height, width, channels)`, what was convolved.
        dy: `(batch, height, width, filters)`, the gradient of the answers.
        shape: 4 ints, of the kernel.
    """
    import tensorflow as tf

    rows, columns, channels, filters = shape
    taps = []
    for down in steps(rows):
        for right in steps(columns):
            seen = tf.reshape(met(x, down, right), [-1, channels])
            answers = tf.reshape(met(dy, -down, -right), [-1, filters])
            taps.append(tf.matmul(seen, answers, transpose_a=True))
    return tf.reshape(tf.stack(taps), shape)


def steps(length):
    """Return how far each tap of a window lies from the position it answers for."""
    before, after = padding_pair(length, length, padding="same")
    return range(-before, after + 1)


def met(x, down, right):
    """Return the positions of a map that are met from so far above and left of them."""
    _, height, width, _ = x.shape
    return x[
        :,
        max(down, 0) : height + min(down, 0),
        max(right, 0) : width + min(right, 0),
    ]
