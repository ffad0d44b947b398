"""Batch normalization by the statistics of the whole batch, when several replicas hold parts of it.

Each replica sums over its own images, the sums are added over all replicas, and every replica
goes on with the same mean and variance, to the last bit. Backward the same happens to the sums
of the gradients: one message in each direction for each layer.

Reference: Peng et al., 2017. https://arxiv.org/abs/1711.07240 (batch normalization across devices)
"""

from keras import ops

from models.kernels.backend import on_tensorflow


def are_several():
    """Return whether other replicas hold other parts of the batch that is being trained on."""
    if not on_tensorflow():
        return False
    import tensorflow as tf  # Here, so that no other backend ever loads it.

    context = tf.distribute.get_replica_context()
    return context is not None and context.num_replicas_in_sync > 1


def batch_norm_together(x, gamma, beta, epsilon, mask=None):
    """Normalize `x` by the statistics of all replicas, and return `(y, mean, variance)`.

    Statistics are float32, the variance returned is the unbiased one; see `batch_norm_training`.
    """
    import tensorflow as tf

    # The kernel wants rank 4 and looks at channels alone.
    pixels = ops.reshape(x, (-1, 1, 1, x.shape[-1]))
    shown = None if mask is None else ops.reshape(ops.cast(mask, "float32"), (-1, 1, 1, 1))

    @tf.custom_gradient
    def together(pixels, gamma, beta):
        mean, variance, count = moments_together(pixels, shown)
        y = normalized(pixels, gamma, beta, mean, variance, epsilon)

        def gradient(dy, *_):
            return gradients_together(dy, pixels, gamma, mean, variance, count, shown, epsilon)

        return (y, mean, variance * (count / ops.maximum(count - 1, 1))), gradient

    vectors = [tf.convert_to_tensor(each, tf.float32) for each in (gamma, beta)]
    y, *statistics = together(pixels, *vectors)
    return ops.reshape(y, ops.shape(x)), *statistics


def moments_together(pixels, shown):
    """Return mean and variance of each channel over all replicas, and the number of values."""
    whole = ops.cast(pixels, "float32")
    if shown is None:
        count = ops.cast(ops.shape(pixels)[0], "float32")
    else:
        count, whole = ops.sum(shown), whole * shown
    axes = (0, 1, 2)
    total, squares, count = added_up(
        ops.sum(whole, axes), ops.sum(ops.square(whole), axes), ops.reshape(count, (1,))
    )
    count = ops.maximum(count[0], 1)
    mean = total / count
    return mean, ops.maximum(squares / count - ops.square(mean), 0), count


def gradients_together(dy, pixels, gamma, mean, variance, count, shown, epsilon):
    """Return the gradients of pixels, gamma and beta, from that of the normalized pixels."""
    import tensorflow as tf

    own = tf.raw_ops.FusedBatchNormGradV3(
        y_backprop=dy,
        x=pixels,
        scale=gamma,
        reserve_space_1=mean,
        reserve_space_2=variance,
        reserve_space_3=tf.zeros(0),
        epsilon=epsilon,
        is_training=False,
    )
    # What reaches the pixels by way of the statistics is itself a scale and shift of them.
    by_variance, by_mean = added_up(own.scale_backprop, own.offset_backprop)
    slope = gamma * ops.rsqrt(variance + epsilon) / count
    indirect = normalized(pixels, slope * by_variance, slope * by_mean, mean, variance, epsilon)
    if shown is not None:
        indirect = indirect * ops.cast(shown, indirect.dtype)
    # Those of gamma and beta are added up with all other gradients.
    return own.x_backprop - indirect, own.scale_backprop, own.offset_backprop


def normalized(pixels, gamma, beta, mean, variance, epsilon):
    """Normalize by given statistics, in one pass."""
    import tensorflow as tf

    return tf.raw_ops.FusedBatchNormV3(
        x=pixels,
        scale=gamma,
        offset=beta,
        mean=mean,
        variance=variance,
        epsilon=epsilon,
        is_training=False,
    ).y


def added_up(*vectors):
    """Add vectors over all replicas, in one message."""
    import tensorflow as tf

    # The concatenation lies on the replica's device, which TensorFlow asks the tensor for.
    sums = tf.distribute.get_replica_context().all_reduce("SUM", tf.concat(vectors, 0))
    return tf.split(sums, [vector.shape[0] for vector in vectors])
