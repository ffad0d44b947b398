"""The one door to backend-specific ops: each job takes its backend's fastest kernel.

On TensorFlow, batch normalization is one fused op forward and one backward; Keras 3 spells it
out in six or more, which halves the speed of a small residual network on a CPU.
"""

import keras
from keras import ops

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
    if _on_tensorflow():
        import tensorflow as tf

        rank = len(strides)
        native = {1: tf.nn.conv1d, 2: tf.nn.conv2d, 3: tf.nn.conv3d}[rank]
        ones = (1,) if rank == 3 else ()
        steps, gaps = (*ones, *strides, *ones), (*ones, *dilation_rate, *ones)
        return native(x, kernel, steps, padding.upper(), dilations=gaps)
    return ops.conv(x, kernel, strides, padding, "channels_last", dilation_rate)


def add_bias(x, bias):
    """Add a number per channel, the last axis."""
    if _on_tensorflow():
        import tensorflow as tf

        return tf.nn.bias_add(x, tf.convert_to_tensor(bias))
    return ops.add(x, bias)


def batch_norm_training(x, gamma, beta, epsilon):
    """Normalize `x` by its own statistics and return `(y, mean, variance)`.

    The statistics are per channel, the last axis, and float32. `y` is normalized by the variance
    of the batch, as in algorithm 1 of Ioffe and Szegedy, 2015; the variance returned is the
    unbiased estimate, `n / (n - 1)` times that, as their algorithm 2 asks of inference.
    """
    if _has_fused_kernel(x):
        return _fused_batch_norm(x, gamma, beta, [], [], epsilon, is_training=True)
    values, axes = ops.cast(x, "float32"), tuple(range(len(x.shape) - 1))
    mean, variance = ops.mean(values, axes), ops.var(values, axes)
    y = _scale_and_shift(x, gamma, beta, mean, variance, epsilon)
    count = ops.cast(ops.size(x), "float32") / x.shape[-1]
    return y, mean, variance * (count / ops.maximum(count - 1, 1))


def batch_norm_inference(x, gamma, beta, mean, variance, epsilon):
    """Normalize `x` by a given float32 `mean` and `variance` per channel, the last axis."""
    if _has_fused_kernel(x):
        return _fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]
    return _scale_and_shift(x, gamma, beta, mean, variance, epsilon)


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


def _scale_and_shift(x, gamma, beta, mean, variance, epsilon):
    """Normalize in float32, and return the type of `x`."""
    scale = gamma * ops.rsqrt(variance + epsilon)
    return ops.cast((ops.cast(x, "float32") - mean) * scale + beta, x.dtype)
