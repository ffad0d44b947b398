"""Batch normalization: one fused op forward and one backward.

Keras 3 spells it out in six or more, which halves the speed of a small residual network on a CPU.
"""

import keras
from keras import ops

from models.kernels import replicas
from models.kernels.backend import on_tensorflow

# The fused kernel takes these, and keeps its statistics in float32 for all of them.
FUSED_DTYPES = ("float32", "bfloat16", "float16")


def batch_norm_training(x, gamma, beta, epsilon, mask=None):
    """Normalize `x` by its own statistics and return `(y, mean, variance)`.

    The statistics are per channel, the last axis, and float32. `y` is normalized by the variance
    of the batch, as in algorithm 1 of Ioffe and Szegedy, 2015; the variance returned is the
    unbiased estimate, `n / (n - 1)` times that, as their algorithm 2 asks of inference. Where a
    `mask` of the shape of `x` without channels is `False`, `x` is no part of the statistics.
    """
    if replicas.are_several():
        return replicas.batch_norm_together(x, gamma, beta, epsilon, mask)
    if mask is None and has_fused_kernel(x):
        return fused_batch_norm(x, gamma, beta, [], [], epsilon, is_training=True)
    # Cast once, so that the parts of its gradient are rounded together.
    whole = ops.cast(x, "float32")
    mean, variance, count = moments(whole, mask)
    y = scale_and_shift(whole, gamma, beta, mean, variance, epsilon)
    return ops.cast(y, x.dtype), mean, variance * (count / ops.maximum(count - 1, 1))


def batch_norm_inference(x, gamma, beta, mean, variance, epsilon):
    """Normalize `x` by a given float32 `mean` and `variance` per channel, the last axis."""
    if has_fused_kernel(x):
        return fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training=False)[0]
    y = scale_and_shift(ops.cast(x, "float32"), gamma, beta, mean, variance, epsilon)
    return ops.cast(y, x.dtype)


def has_fused_kernel(x):
    """Return whether one op normalizes tensors like `x`."""
    return on_tensorflow() and keras.backend.standardize_dtype(x.dtype) in FUSED_DTYPES


def fused_batch_norm(x, gamma, beta, mean, variance, epsilon, is_training):
    """Normalize `x` by one op, and return `(y, mean, variance)`."""
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


def moments(x, mask):
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


def scale_and_shift(x, gamma, beta, mean, variance, epsilon):
    """Normalize `x`, float32."""
    return (x - mean) * (gamma * ops.rsqrt(variance + epsilon)) + beta
