"""Loss of a part of each image, so that no single part decides."""

from typing import Literal

import tensorflow as tf

from pipeline.data.rectangles import around, paste, start


def noise(images: tf.Tensor, seed: tf.Tensor) -> tf.Tensor:
    """A random pixel for each: whole numbers of 0 to 255, in the shape and type of `images`."""
    words = tf.random.stateless_uniform(
        tf.reshape(tf.size(images) // 4 + 1, [1]), seed, tf.int32.min, tf.int32.max, tf.int32
    )
    pixels = tf.reshape(tf.bitcast(words, tf.uint8), [-1])[: tf.size(images)]
    return tf.cast(tf.reshape(pixels, tf.shape(images)), images.dtype)


def places(share: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """A share of `length` in whole places: one at least, all at most."""
    wanted = tf.cast(tf.round(share * tf.cast(length, tf.float32)), tf.int32)
    return tf.clip_by_value(wanted, 1, length)


def erase(
    images: tf.Tensor,
    seed: tf.Tensor,
    probability: float,
    area: tuple[float, float] = (0.02, 0.33),
    aspect: tuple[float, float] = (0.3, 1 / 0.3),
    fill: Literal["noise", "zeros"] = "noise",
) -> tf.Tensor:
    """Fill a rectangle of its own in each image, with `probability`.

    Args:
        images: `(batch, height, width, channels)`, 0 to 255.
        seed: two integers; the same seed gives the same rectangles.
        probability: of each image to lose something.
        area: least and most share of the image; any share between is as likely.
        aspect: least and most height by width, measured in heights and widths
            of the image. Any logarithm between is as likely, so that standing
            and lying rectangles are; a side longer than the image ends with it.
        fill: random pixels, or zeros.

    Reference:
        Zhong et al., 2017 (random erasing). https://arxiv.org/abs/1708.04896
    """
    batch, height, width, _ = tf.unstack(tf.shape(images))
    first, second = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    drawn = tf.unstack(tf.random.stateless_uniform(tf.stack([5, batch]), first))
    lost = area[0] + (area[1] - area[0]) * drawn[0]
    stretch = aspect[0] * (aspect[1] / aspect[0]) ** drawn[1]
    rows = places(tf.sqrt(lost * stretch), height)
    columns = places(tf.sqrt(lost / stretch), width)
    top, left = start(drawn[2], rows, height), start(drawn[3], columns, width)
    bottom = tf.where(drawn[4] < probability, top + rows, top)
    content = noise(images, second) if fill == "noise" else tf.zeros_like(images)
    return paste(images, content, (top, bottom), (left, left + columns))


def cutout(images: tf.Tensor, seed: tf.Tensor, side: int) -> tf.Tensor:
    """Fill a square of `side` pixels with zeros in each image, around any of its pixels.

    Args:
        images: `(batch, height, width, channels)`.
        seed: two integers; the same seed gives the same squares.
        side: pixels; what lies outside the image is cut.

    Reference:
        DeVries and Taylor, 2017. https://arxiv.org/abs/1708.04552
    """
    batch, height, width, _ = tf.unstack(tf.shape(images))
    down, right = tf.unstack(tf.random.stateless_uniform(tf.stack([2, batch]), seed))
    rows = around(down, tf.constant(side), height)
    columns = around(right, tf.constant(side), width)
    return paste(images, tf.zeros_like(images), rows, columns)
