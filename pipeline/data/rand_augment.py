"""RandAugment: a few random operations on each image, all of one strength.

Each operation is done once to all images that drew it, and the five that move pixels are one
transform. The operations are those of the paper, as Pillow does them.

Reference: Cubuk et al., 2019. https://arxiv.org/abs/1909.13719
"""

import math

import tensorflow as tf

from pipeline.data.augment import by_group

# The strength at which operations are strongest, as in the paper.
STRONGEST = 10
# The most that images are turned, in radians, sheared, and moved, as shares of their sides.
MOST_TURNED, MOST_SHEARED, MOST_MOVED = math.radians(30), 0.3, 0.45
# The most that brightness, contrast, colour and sharpness are raised or lowered.
MOST_BLENDED = 0.9
# Shares of red, green and blue in grey.
GREY = (0.299, 0.587, 0.114)


def to_pixels(values: tf.Tensor) -> tf.Tensor:
    """Float values as the nearest uint8."""
    return tf.cast(tf.clip_by_value(tf.round(values), 0, 255), tf.uint8)


def grey(images: tf.Tensor) -> tf.Tensor:
    """Float brightness of each pixel: whole numbers, one channel."""
    values = tf.cast(images, tf.float32)
    if images.shape[-1] == 3:
        values = tf.tensordot(values, tf.constant(GREY), 1)[..., tf.newaxis]
    return tf.round(values)


def blend(images: tf.Tensor, neutral: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Move each image away from its `neutral` one (factor above 1), or towards it (below 1)."""
    neutral = tf.cast(neutral, tf.float32)
    factors = factors[:, tf.newaxis, tf.newaxis, tf.newaxis]
    return to_pixels(neutral + factors * (tf.cast(images, tf.float32) - neutral))


def smooth(images: tf.Tensor) -> tf.Tensor:
    """Average each pixel with its 8 neighbours, itself counting for 5; the edge stays."""
    values = tf.cast(images, tf.float32)
    # Sums of three, twice: TensorFlow's convolution forgets the shape of no images.
    rows = values[:, :-2] + values[:, 1:-1] + values[:, 2:]
    nine = rows[:, :, :-2] + rows[:, :, 1:-1] + rows[:, :, 2:]
    inner = tf.round((nine + 4 * values[:, 1:-1, 1:-1]) / 13)
    middle = tf.concat([values[:, 1:-1, :1], inner, values[:, 1:-1, -1:]], 2)
    return tf.concat([values[:, :1], middle, values[:, -1:]], 1)


def brightness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from black, or towards it."""
    return blend(images, tf.zeros([]), factors)


def contrast(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from the image's mean grey, or towards it."""
    return blend(images, tf.floor(tf.reduce_mean(grey(images), [1, 2, 3], True) + 0.5), factors)


def colour(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from grey, or towards it."""
    return blend(images, grey(images), factors)


def sharpness(images: tf.Tensor, factors: tf.Tensor) -> tf.Tensor:
    """Away from the smoothed image, or towards it."""
    return blend(images, smooth(images), factors)


def posterize(images: tf.Tensor, magnitude: float) -> tf.Tensor:
    """Keep the highest bits alone: 8 of them at strength 0, 4 at the strongest."""
    dropped = round(4 * magnitude / STRONGEST)
    return tf.bitwise.bitwise_and(images, tf.constant(256 - 2**dropped & 255, tf.uint8))


def solarize(images: tf.Tensor, magnitude: float) -> tf.Tensor:
    """Invert bright pixels: none at strength 0, all at the strongest."""
    threshold = math.ceil(256 - 256 * magnitude / STRONGEST)
    if threshold > 255:
        return images
    bright = tf.cast(images >= tf.constant(threshold, tf.uint8), tf.uint8)
    return tf.bitwise.bitwise_xor(images, 255 * bright)


def autocontrast(images: tf.Tensor) -> tf.Tensor:
    """Stretch each channel of each image to 0 to 255; what has one value keeps it."""
    least = tf.cast(tf.reduce_min(images, [1, 2], True), tf.float32)
    extent = tf.cast(tf.reduce_max(images, [1, 2], True), tf.float32) - least
    flat = extent == 0
    scale = tf.where(flat, 1.0, 255 / tf.maximum(extent, 1))
    # Whole numbers must not fall below themselves.
    offset = tf.where(flat, 0.0, -least * scale) + 1e-3
    return tf.cast(tf.floor(tf.cast(images, tf.float32) * scale + offset), tf.uint8)


def equalize(images: tf.Tensor) -> tf.Tensor:
    """Make all 256 values equally frequent, as far as can be, in each channel of each image."""
    batch, height, width, channels = tf.unstack(tf.shape(images))
    planes = tf.reshape(tf.range(batch * channels), tf.stack([batch, 1, 1, channels]))
    bins = tf.cast(images, tf.int32) + 256 * planes
    counts = tf.math.bincount(tf.reshape(bins, [-1]), minlength=256 * batch * channels)
    counts = tf.reshape(counts, [-1, 256])
    brightest = tf.reshape(tf.cast(tf.reduce_max(images, [1, 2]), tf.int32), [-1])
    full = height * width - tf.gather(counts, brightest, batch_dims=1)
    step = (full // 255)[:, tf.newaxis]
    below = tf.cumsum(counts, axis=1, exclusive=True)
    table = tf.minimum((below + step // 2) // tf.maximum(step, 1), 255)
    table = tf.where(step > 0, table, tf.range(256))
    return tf.gather(tf.reshape(tf.cast(table, tf.uint8), [-1]), bins)


def matrices(kinds: tf.Tensor, amounts: tf.Tensor, height: int, width: int) -> tf.Tensor:
    """From where each pixel comes: `(count, 8)`, turned and sheared about the centre.

    Args:
        kinds: int32 `(count,)`: turn, shear rows, shear columns, move across, move down.
        amounts: float32 `(count,)`, -1 to 1 of the most.
        height: of the images.
        width: of the images.
    """
    zero, one = tf.zeros_like(amounts), tf.ones_like(amounts)
    angle, slope = amounts * MOST_TURNED, amounts * MOST_SHEARED
    across, down = (
        tf.round(amounts * MOST_MOVED * tf.cast(side, tf.float32)) for side in (width, height)
    )
    linear = [
        tf.stack([tf.cos(angle), -tf.sin(angle), tf.sin(angle), tf.cos(angle)], 1),
        tf.stack([one, slope, zero, one], 1),
        tf.stack([one, zero, slope, one], 1),
    ]
    linear += 2 * [tf.stack([one, zero, zero, one], 1)]
    chosen = tf.gather(tf.stack(linear, 1), kinds, batch_dims=1)
    offsets = tf.stack([tf.where(kinds == 3, across, 0), tf.where(kinds == 4, down, 0)], 1)
    centre = (tf.cast(tf.stack([width, height]), tf.float32) - 1) / 2
    turned = tf.linalg.matvec(tf.reshape(chosen, [-1, 2, 2]), centre)
    held = centre - turned - offsets
    a, b, c, d = tf.unstack(chosen, axis=1)
    return tf.stack([a, b, held[:, 0], c, d, held[:, 1], zero, zero], 1)


def move(images: tf.Tensor, kinds: tf.Tensor, amounts: tf.Tensor) -> tf.Tensor:
    """Turn, shear or move each image; zeros come in. For the arguments see `matrices`."""
    _, height, width, _ = tf.unstack(tf.shape(images))
    return tf.raw_ops.ImageProjectiveTransformV3(
        images=images,
        transforms=matrices(kinds, amounts, height, width),
        output_shape=tf.stack([height, width]),
        fill_value=0.0,
        interpolation="NEAREST",
    )


def vary_once(images: tf.Tensor, seed: tf.Tensor, magnitude: float) -> tf.Tensor:
    """One operation of 14 on each image, drawn for each."""
    count, strength = tf.shape(images)[0], magnitude / STRONGEST
    drawn = tf.random.stateless_uniform(count[tf.newaxis], seed, 0, 2 * 14, dtype=tf.int32)
    operation, side = drawn // 2, tf.math.floormod(drawn, 2)
    amounts = strength * tf.cast(2 * side - 1, tf.float32)
    treatments = [
        lambda images, kinds, amounts: images,
        move,
        *(
            lambda images, kinds, amounts, change=change: change(images, 1 + MOST_BLENDED * amounts)
            for change in (brightness, contrast, colour, sharpness)
        ),
        lambda images, kinds, amounts: posterize(images, magnitude),
        lambda images, kinds, amounts: solarize(images, magnitude),
        lambda images, kinds, amounts: autocontrast(images),
        lambda images, kinds, amounts: equalize(images),
    ]
    # Operations 1 to 5 are the five moves, done together.
    group = tf.maximum(operation - 4, tf.minimum(operation, 1))
    return by_group(images, group, treatments, operation - 1, amounts)


def rand_augment(images: tf.Tensor, seed: tf.Tensor, number: int, magnitude: float) -> tf.Tensor:
    """Do `number` operations to each image, one after the other, each drawn for each.

    Nothing, turn, shear along either axis, move along either, brightness,
    contrast, colour, sharpness, posterize, solarize, autocontrast and equalize
    are equally likely; what can go two ways goes either way equally often.

    Args:
        images: uint8 `(batch, height, width, channels)`, 1 or 3 channels, known
            when the graph is made. Colour does nothing to grey images.
        seed: two integers; the same seed gives the same operations.
        number: of operations on each image.
        magnitude: strength of each, 0 (most do nothing) to 10.
    """
    for each in tf.unstack(tf.random.split(tf.cast(seed, tf.int64), number)):
        images = vary_once(images, each, magnitude)
    return images
