"""The bias of a convolution."""

from keras import ops

from models.kernels.backend import on_tensorflow


def add_bias(x, bias):
    """Add a number per channel, the last axis, or per position and channel."""
    if not on_tensorflow():
        return ops.add(x, bias)
    import tensorflow as tf

    # The gradient of `bias_add`, which `ops.add` takes too, sums bfloat16 in bfloat16, and stops at
    # 256 ones; that of a sum does so in float16.
    add = tf.add if len(bias.shape) > 1 or x.dtype == tf.bfloat16 else tf.nn.bias_add
    return add(x, tf.convert_to_tensor(bias))
