"""Variation of whole batches of images: one operation for all, never image by image."""

import tensorflow as tf


def flip(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """Mirror each image left to right with probability one half.

    Args:
        images: `(batch, height, width, channels)`.
        seed: two integers; the same seed gives the same choice.
    """
    one_per_image = tf.stack([tf.shape(images)[0], 1, 1, 1])
    chosen = tf.random.stateless_uniform(one_per_image, seed) < 0.5
    return tf.where(chosen, images[:, :, ::-1], images)


def shift(images: tf.Tensor, seed: tf.Tensor, most: int) -> tf.Tensor:
    """Move each image by up to `most` pixels along each axis; zeros fill the edge.

    Args:
        images: `(batch, height, width, channels)`.
        seed: two integers; the same seed gives the same moves.
        most: pixels, each way.
    """
    batch, height, width = tf.unstack(tf.shape(images)[:3])
    starts = tf.random.stateless_uniform(
        tf.stack([2, batch, 1]), seed, 0, 2 * most + 1, dtype=tf.int32
    )
    padded = tf.pad(images, [[0, 0], [most, most], [most, most], [0, 0]])
    rows = tf.gather(padded, starts[0] + tf.range(height), axis=1, batch_dims=1)
    return tf.gather(rows, starts[1] + tf.range(width), axis=2, batch_dims=1)
