"""Encoder and decoder: strided convolutions shrink an image, transposed ones make it grow again.

It answers for every pixel: with its own values, to reconstruct or to denoise, or with classes, to
segment.

Reference: Masci et al., 2011. Stacked convolutional auto-encoders for hierarchical feature
extraction. Segmentation: Noh et al., 2015. https://arxiv.org/abs/1505.04366
"""

import keras
from keras import layers

from models.classifier import image_input
from models.layers import Conv2D, ConvTranspose2D
from models.layers.arguments import positive_int
from models.norm_relu import norm_relu


def cut_to(x, sizes, name):
    """Return the first rows and columns of maps that may be one larger than `sizes`."""
    rows, columns = (size - kept for size, kept in zip(x.shape[1:3], sizes, strict=True))
    if rows or columns:
        return layers.Cropping2D(((0, rows), (0, columns)), name=f"{name}_cut")(x)
    return x


def autoencoder(input_shape, num_classes, width=32, depth=2):
    """Build an encoder and decoder that maps 0-255 images to logits for each pixel.

    Args:
        input_shape: 3 ints. Height and width, both at least `2 ** depth`, and channels.
        num_classes: int. Number of logits for each pixel; or `None`, to reconstruct: as many as
            the image has channels, whose sigmoid is the pixel rescaled to 0-1.
        width: int. Filters of the first convolution; they double from one to the next.
        depth: int. How often the encoder halves the image, and the decoder doubles it.

    Example:

    >>> autoencoder((28, 28, 1), num_classes=None).output["logits"].shape
    (None, 28, 28, 1)
    """
    width, depth = positive_int(width, "width"), positive_int(depth, "depth")
    image, x = image_input(input_shape, smallest=2**depth)
    channels = image.shape[-1] if num_classes is None else positive_int(num_classes, "num_classes")
    sizes = []
    for index in range(depth):
        sizes.append(x.shape[1:3])
        name = f"encoder{index + 1}"
        x = Conv2D(width * 2**index, 3, strides=2, use_bias=False, name=f"{name}_conv")(x)
        x = norm_relu(x, name)
    for index in reversed(range(depth)):
        name = f"decoder{index + 1}"
        x = ConvTranspose2D(width * 2**index, 3, 2, use_bias=False, name=f"{name}_conv")(x)
        x = cut_to(norm_relu(x, name), sizes[index], name)
    logits = Conv2D(channels, 1, dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name="autoencoder")
