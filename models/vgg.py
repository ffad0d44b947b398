"""VGG: blocks of 3x3 convolutions, each block halving the image and doubling the channels.

Modern in two ways: every convolution is followed by batch normalization, and the channels are
averaged over the last map (Lin et al., 2013) where the paper has three large dense layers.

Reference: Simonyan and Zisserman, 2014. https://arxiv.org/abs/1409.1556
"""

from keras import layers

from models.classifier import image_input, pooled_classifier
from models.layers import BatchNorm, Conv2D, MaxPool2D
from models.layers.arguments import fraction, one_of, positive_int

# Convolutions in each block. `vgg7` is the paper's pattern cut to three blocks, for small images;
# the others are configurations A, B and D of its table 1, each with one dense layer in place of
# three.
DEPTHS = {
    "vgg7": (2, 2, 2),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
}


def block(x, filters, depth, name):
    """Apply `depth` convolutions, then halve height and width."""
    for index in range(1, depth + 1):
        x = Conv2D(filters, 3, use_bias=False, name=f"{name}_conv{index}")(x)
        x = BatchNorm(name=f"{name}_norm{index}")(x)
        x = layers.ReLU(name=f"{name}_relu{index}")(x)
    return MaxPool2D(name=f"{name}_pool")(x)


def vgg(input_shape, num_classes, variant="vgg7", width=32, dropout_rate=0.0):
    """Build a VGG that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height, width and channels; each block halves the first two.
        num_classes: int. Number of logits.
        variant: str. A key of `DEPTHS`.
        width: int. Filters of the first block; 64 in the paper. They double from block to block,
            up to eight times as many.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> vgg((28, 28, 1), num_classes=10).count_params()
    289066
    """
    depths = DEPTHS[one_of(variant, DEPTHS, "variant")]
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, smallest=2 ** len(depths))
    for index, depth in enumerate(depths):
        x = block(x, width * min(2**index, 8), depth, name=f"block{index + 1}")
    return pooled_classifier(image, x, num_classes, dropout_rate, name=variant)
