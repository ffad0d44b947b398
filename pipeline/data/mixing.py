"""Two images in one: each image of a batch is mixed with the next, and so are their targets."""

import tensorflow as tf

from pipeline.data.rectangles import around, paste


def following(batch: tf.Tensor) -> tf.Tensor:
    """For each of a batch, the next; for the last, the first. Batches come in a random order."""
    return tf.concat([batch[1:], batch[:1]], 0)


def beta(count: tf.Tensor, seed: tf.Tensor, alpha: float) -> tf.Tensor:
    """Draws of Beta(alpha, alpha): float32 `(count,)`.

    It is one draw of Gamma(alpha) as a share of two; in logarithms, as a draw
    of Gamma(alpha + 1) by a power of a uniform one, since both may be too small
    for a number when alpha is.

    Reference:
        Marsaglia and Tsang, 2000, section 6. https://doi.org/10.1145/358407.358414
    """
    first, second = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    shape = tf.stack([2, count])
    above = tf.math.log(tf.random.stateless_gamma(shape, first, tf.constant(alpha + 1.0)))
    logarithm = above + tf.math.log(1 - tf.random.stateless_uniform(shape, second)) / alpha
    return tf.sigmoid(logarithm[0] - logarithm[1])


def share_targets(targets: tf.Tensor, kept: tf.Tensor) -> tf.Tensor:
    """Each target's share `kept`, and the rest of the next one's."""
    share = kept[:, tf.newaxis]
    return share * targets + (1 - share) * following(targets)


def mixup(
    images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Average each image with the next, by weights of its own.

    Args:
        images: `(batch, height, width, channels)`; uint8 is rounded.
        targets: float32 `(batch, classes)`, rows that sum to 1.
        seed: two integers; the same seed gives the same weights.
        alpha: above 0; weights are of Beta(alpha, alpha).

    Reference:
        Zhang et al., 2017. https://arxiv.org/abs/1710.09412
    """
    images = tf.convert_to_tensor(images)
    kept = beta(tf.shape(images)[0], seed, alpha)
    flat = tf.reshape(tf.cast(images, tf.float32), tf.stack([tf.shape(images)[0], -1]))
    mixed = share_targets(flat, kept)
    if images.dtype.is_integer:
        mixed = tf.round(mixed)
    mixed = tf.reshape(tf.cast(mixed, images.dtype), tf.shape(images))
    return mixed, share_targets(targets, kept)


def cutmix(
    images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, alpha: float
) -> tuple[tf.Tensor, tf.Tensor]:
    """Paste a rectangle of the next image over each, at the same place.

    The rectangle has the image's proportions, lies around any of its pixels,
    and is cut at its edge; targets are shared as the pixels then are.

    Args:
        images: `(batch, height, width, channels)`.
        targets: float32 `(batch, classes)`, rows that sum to 1.
        seed: two integers; the same seed gives the same rectangles.
        alpha: above 0; the uncut rectangle leaves a share of Beta(alpha, alpha).

    Reference:
        Yun et al., 2019. https://arxiv.org/abs/1905.04899
    """
    batch, height, width, _ = tf.unstack(tf.shape(images))
    first, second = tf.unstack(tf.random.split(tf.cast(seed, tf.int64), 2))
    side = tf.sqrt(1 - beta(batch, first, alpha))
    down, across = tf.unstack(tf.random.stateless_uniform(tf.stack([2, batch]), second))
    top, bottom = around(down, pixels(side, height), height)
    left, right = around(across, pixels(side, width), width)
    lost = tf.cast((bottom - top) * (right - left), tf.float32)
    kept = 1 - lost / tf.cast(height * width, tf.float32)
    mixed = paste(images, following(images), (top, bottom), (left, right))
    return mixed, share_targets(targets, kept)


def pixels(share: tf.Tensor, length: tf.Tensor) -> tf.Tensor:
    """A share of `length`, in whole pixels."""
    return tf.cast(share * tf.cast(length, tf.float32), tf.int32)
