"""The twin of `serving.image` as TensorFlow operations, to be exported inside the graph."""

import tensorflow as tf

from serving.image import Shape


def read_pixels(encoded: tf.Tensor, shape: Shape) -> tf.Tensor:
    """Turn one PNG or JPEG into the float32 pixels 0-255 a network takes.

    Equal to `serving.image.read_pixels` where no resizing is needed, and within
    one grey level where it is. Orientation tags are not read: the file's pixels
    count as they are stored.

    Args:
        encoded: scalar string, the bytes of the file.
        shape: height, width and channels (1 or 3) of the result.
    """
    height, width, channels = shape
    # The exact transform, as Pillow uses it; the fast one differs by a few levels.
    decoded = tf.io.decode_jpeg(encoded, channels=0, dct_method="INTEGER_ACCURATE")
    colour, alpha = split_alpha(tf.cast(decoded, tf.int32))
    pixels = to_channels(on_white(colour, alpha), channels)
    pixels = tf.cond(
        tf.reduce_any(tf.shape(pixels)[:2] != [height, width]),
        lambda: tf.round(tf.image.resize(pixels, [height, width], "bilinear", antialias=True)),
        lambda: tf.cast(pixels, tf.float32),
    )
    return tf.ensure_shape(tf.clip_by_value(pixels, 0, 255), shape)


def split_alpha(image: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Colour or grey channels, and opacity 0-255 (255 everywhere where the file has none)."""
    channels = tf.shape(image)[2]
    has_alpha = tf.math.floormod(channels, 2) == 0
    colour = tf.cond(has_alpha, lambda: image[:, :, :-1], lambda: image)
    alpha = tf.cond(has_alpha, lambda: image[:, :, -1:], lambda: 255 + 0 * image[:, :, :1])
    return colour, alpha


def on_white(colour: tf.Tensor, alpha: tf.Tensor) -> tf.Tensor:
    """Lay transparent pixels over white, in integers, rounded."""
    return (colour * alpha + 255 * (255 - alpha) + 127) // 255


def to_channels(pixels: tf.Tensor, channels: int) -> tf.Tensor:
    """Grey by Pillow's weights of red, green and blue; colour by repeating grey."""
    is_grey = tf.shape(pixels)[2] == 1
    if channels == 3:
        return tf.cond(is_grey, lambda: tf.repeat(pixels, 3, axis=2), lambda: pixels)
    weights = tf.constant([19595, 38470, 7471])
    return tf.cond(
        is_grey,
        lambda: pixels,
        lambda: (tf.reduce_sum(pixels * weights, axis=2, keepdims=True) + 32768) // 65536,
    )
