"""The bias of a convolution."""

from keras import ops

from models.kernels.backend import on_tensorflow


def add_bias(x, bias):
    """Add a number per channel, the last axis, or per position and channel."""
    if not on_tensorflow():
        return ops.add(x, bias)
    import tensorflow as tf

    bias = tf.convert_to_tensor(bias)
    if len(bias.shape) > 1:
        return tf.add(x, bias)
    # Its gradient, which `ops.add` has too, sums bfloat16 in bfloat16, and stops at 256 ones.
    return add_bfloat16(x, bias) if x.dtype == tf.bfloat16 else tf.nn.bias_add(x, bias)


def add_bfloat16(x, bias):
    """Add a number per channel, by the kernel that joins a convolution's, with a whole gradient."""
    import tensorflow as tf

    @tf.custom_gradient
    def add(x, bias):
        axes = list(range(len(x.shape) - 1))
        return tf.nn.bias_add(x, bias), lambda dy: (dy, tf.reduce_sum(dy, axes))

    return add(x, bias)
