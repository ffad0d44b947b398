"""Variation of whole batches of images: one operation for all, never image by image.

What differs from image to image is done group by group: the images are sorted by what was drawn for
them, each group is sliced out and treated as one, and then all are put back into their places. Rows
and images are copied whole, which takes a tenth of the time of copying pixels one by one.
"""

from collections.abc import Callable, Sequence

import tensorflow as tf

GOLDEN = 0x9E3779B97F4A7C15


def by_group(
    images: tf.Tensor,
    chosen: tf.Tensor,
    treatments: Sequence[Callable[..., tf.Tensor]],
    *along: tf.Tensor,
) -> tf.Tensor:
    """Treat each image by the treatment chosen for it.

    Args:
        images: `(batch, ...)`.
        chosen: int32 `(batch,)`, positions in `treatments`.
        treatments: each takes any number of images, also none, and returns as many.
        along: tensors `(batch, ...)`, of which a treatment takes those of its images.
    """
    order = tf.argsort(chosen, stable=True)
    sizes = tf.ensure_shape(tf.math.bincount(chosen, minlength=len(treatments)), [len(treatments)])
    groups = [tf.split(tf.gather(each, order), sizes) for each in (images, *along)]
    treated = [treat(*group) for treat, *group in zip(treatments, *groups, strict=True)]
    return tf.gather(tf.concat(treated, 0), tf.math.invert_permutation(order))


def mirror(images: tf.Tensor) -> tf.Tensor:
    """Every image left to right."""
    batch, height, width, channels = tf.unstack(tf.shape(images))
    # Rows of three channels are what `tf.reverse` is fast at, in three axes alone.
    rows = tf.reshape(images, [batch * height, width, channels])
    if images.shape[-1] is not None:
        rows = tf.ensure_shape(rows, [None, None, images.shape[-1]])
    return tf.reshape(tf.reverse(rows, [1]), tf.shape(images))


def alternate(positions: tf.Tensor, epoch: tf.Tensor, seed: int) -> tf.Tensor:
    """Which images to mirror in an epoch: int64 `(batch,)`, 0 or 1.

    Every image is mirrored in every second epoch, half of them begin so. Two
    epochs in a row show both sides of each, where chance shows one side twice
    to half of them.

    Args:
        positions: int64 `(batch,)`, places of the images in the training split.
        epoch: int64 scalar.
        seed: an image begins as its position and the seed say, and nothing else.

    Reference:
        Jordan, 2024. https://arxiv.org/abs/2404.00498
    """
    return tf.math.floormod(coins(positions, seed) + tf.cast(epoch, tf.int64), 2)


def coins(positions: tf.Tensor, seed: int) -> tf.Tensor:
    """A fair coin for each position: int64, 0 or 1.

    It is the last bit of a number scrambled by steps that can each be undone,
    so that over all 2**64 numbers it falls exactly as often on each side.

    Reference:
        Steele, Lea and Flood, 2014 (SplitMix). https://doi.org/10.1145/2660193.2660195
    """
    start = (seed + 1) * 0xD1B54A32D192ED03 % 2**64
    mixed = tf.constant(start, tf.uint64) + tf.cast(positions, tf.uint64) * GOLDEN
    for distance, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ tf.bitwise.right_shift(mixed, tf.constant(distance, tf.uint64))) * factor
    mixed ^= tf.bitwise.right_shift(mixed, tf.constant(31, tf.uint64))
    return tf.cast(mixed & 1, tf.int64)


def shift(images: tf.Tensor, seed: tf.Tensor, most: int) -> tf.Tensor:
    """Move each image by up to `most` pixels along each axis; zeros fill the edge.

    Args:
        images: `(batch, height, width, channels)`.
        seed: two integers; the same seed gives the same moves.
        most: pixels, each way.
    """
    batch, height, width, channels = tf.unstack(tf.shape(images))
    down, right = tf.unstack(
        tf.random.stateless_uniform(tf.stack([2, batch]), seed, 0, 2 * most + 1, dtype=tf.int32)
    )
    rows = tf.reshape(images, tf.stack([batch, height, width * channels]))
    rows = shift_down(rows, down, most)
    moves = [left(columns, width, channels) for columns in range(-most, most + 1)]
    return tf.reshape(by_group(rows, right, moves), tf.shape(images))


def shift_down(rows: tf.Tensor, starts: tf.Tensor, most: int) -> tf.Tensor:
    """Each image's rows from its start on, in the image with `most` rows of zeros around it."""
    batch, height, row = tf.unstack(tf.shape(rows))
    zeros = tf.zeros(tf.stack([batch, most, row]), rows.dtype)
    padded = tf.reshape(tf.concat([zeros, rows, zeros], 1), tf.stack([-1, row]))
    first = tf.range(batch) * (height + 2 * most) + starts
    return tf.gather(padded, first[:, tf.newaxis] + tf.range(height))


def left(columns: int, width: tf.Tensor, channels: tf.Tensor) -> Callable[[tf.Tensor], tf.Tensor]:
    """A treatment that moves rows `(count, height, width * channels)` left, or right below zero."""

    def move(rows: tf.Tensor) -> tf.Tensor:
        lost = tf.minimum(abs(columns), width) * channels
        zeros = tf.zeros_like(rows[:, :, :lost])
        if columns > 0:
            return tf.concat([rows[:, :, lost:], zeros], 2)
        return tf.concat([zeros, rows[:, :, : width * channels - lost]], 2)

    return move if columns else tf.identity
