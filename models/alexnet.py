"""AlexNet: five convolutions, then two hidden dense layers and the logits.

Modern in two ways: the two halves that the paper spread over two GPUs are groups of one layer, and
batch normalization stands after every convolution where the paper has local response normalization
after two.

Reference: Krizhevsky, Sutskever and Hinton, 2012. ImageNet classification with deep convolutional
neural networks.
"""

from typing import NamedTuple

from models.classifier import dense_classifier, image_input, is_large
from models.layers import Conv2D, MaxPool2D
from models.layers.arguments import fraction, positive_int
from models.norm_relu import norm_relu
from models.width import scaled


class Convolution(NamedTuple):
    """A convolution of figure 2 of the paper."""

    filters: int
    kernel_size: int
    grouped: bool
    pooled: bool


WIDTH = 96
CONVOLUTIONS = (
    Convolution(96, 11, grouped=False, pooled=True),
    Convolution(256, 5, grouped=True, pooled=True),
    Convolution(384, 3, grouped=False, pooled=False),
    Convolution(384, 3, grouped=True, pooled=False),
    Convolution(256, 3, grouped=True, pooled=True),
)
DENSE_UNITS = 4096

# The first window from 64 pixels on: with these zeros an image of 224 gives the paper's 55x55.
LARGE = {"kernel_size": 11, "strides": 4, "padding": ((1, 2), (1, 2))}
# On smaller images every position counts.
SMALL = {"kernel_size": 5}
# Three pools of 3 positions, 2 apart: 15 -> 7 -> 3 -> 1.
SMALLEST = 15


def conv_block(x, convolution, window, width, groups, batch_norm, name):
    """Apply a convolution, batch normalization where asked for, ReLU, and a pool where one is."""
    filters = scaled(convolution.filters, width, WIDTH)
    filters += -filters % groups
    groups = groups if convolution.grouped else 1
    x = Conv2D(filters, **window, groups=groups, use_bias=not batch_norm, name=name)(x)
    x = norm_relu(x, name, batch_norm)
    return MaxPool2D(3, strides=2, name=f"{name}_pool")(x) if convolution.pooled else x


def alexnet(input_shape, num_classes, width=96, groups=2, batch_norm=True, dropout_rate=0.5):
    """Build an AlexNet that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height and width, both at least 15, and channels. Below 64 the first
            convolution has windows of 5x5, one apart, in place of 11x11, four apart.
        num_classes: int. Number of logits.
        width: int. Filters of the first convolution; the other layers grow with it, rounded up to
            a multiple of `groups`. 96 gives the sizes of the paper.
        groups: int. Parts that the second, fourth and fifth convolution cut the channels into;
            each filter sees one of them. 2 in the paper.
        batch_norm: bool. Whether each convolution normalizes before its ReLU.
        dropout_rate: float. Share of the dense layers' activations dropped in training.

    Example:

    >>> alexnet((224, 224, 3), num_classes=1000, batch_norm=False).count_params()
    60965224
    """
    width, groups = positive_int(width, "width"), positive_int(groups, "groups")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, SMALLEST)
    windows = [{"kernel_size": each.kernel_size} for each in CONVOLUTIONS]
    windows[0] = LARGE if is_large(input_shape) else SMALL
    for index, (convolution, window) in enumerate(zip(CONVOLUTIONS, windows, strict=True), start=1):
        x = conv_block(x, convolution, window, width, groups, batch_norm, name=f"conv{index}")
    units = scaled(DENSE_UNITS, width, WIDTH)
    return dense_classifier(image, x, num_classes, units, dropout_rate, name="alexnet")
