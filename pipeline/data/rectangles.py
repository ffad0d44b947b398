"""One rectangle in each image of a batch."""

import tensorflow as tf


def between(first: tf.Tensor, end: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """True at the places from `first` to before `end`: bool `(batch, length)`."""
    places = tf.range(length)
    return (places >= first[:, tf.newaxis]) & (places < end[:, tf.newaxis])


def paste(
    images: tf.Tensor,
    content: tf.Tensor,
    rows: tuple[tf.Tensor, tf.Tensor],
    columns: tuple[tf.Tensor, tf.Tensor],
) -> tf.Tensor:
    """Take the pixels of each image's rectangle from `content`, at the same places.

    Args:
        images: `(batch, height, width, channels)`.
        content: of the same shape and type.
        rows: of each rectangle the first and that after the last, int32 `(batch,)`.
        columns: likewise.
    """
    batch, height, width, channels = tf.unstack(tf.shape(images))
    inside = tf.repeat(tf.cast(between(*columns, width), images.dtype), channels, axis=1)
    # An image's mask has rows of two kinds only, and whole rows are copied fast.
    kinds = tf.concat([inside, tf.zeros_like(inside)], 0)
    outside = 1 - tf.cast(between(*rows, height), tf.int32)
    mask = tf.gather(kinds, tf.range(batch)[:, tf.newaxis] + batch * outside)
    mask = tf.reshape(mask, tf.shape(images))
    # Products, since `tf.where` takes a hundred times as long.
    return images * (1 - mask) + content * mask


def start(chance: tf.Tensor, side: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """Where `side` places begin, so that all are within `length`; any start is as likely."""
    return tf.cast(chance * tf.cast(length - side + 1, tf.float32), tf.int32)


def around(chance: tf.Tensor, side: tf.Tensor, length: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First place, and that after the last, of `side` places around any; what is not within is cut.

    Any of the `length` places is as likely to be the middle.
    """
    first = start(chance, tf.constant(1), length) - side // 2
    return tf.clip_by_value(first, 0, length), tf.clip_by_value(first + side, 0, length)
