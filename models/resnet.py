"""ResNet: stages of residual blocks, each stage halving the image and doubling the channels.

There are two forms, `resnet` for photographs (table 1 of the paper) and `small_resnet` for images
of about 32x32 (section 4.2). Each has a plain twin, the same layers without shortcuts, which shows
the degradation problem: a deeper plain network fits even its training images worse.

`resnet8` is the image classification network of MLPerf Tiny. Its reference file has 78,666
parameters for 32x32x3 images and 10 classes, of which 240 are biases that the batch norm right
after them cancels; without those, this one has 78,426.

Reference: He et al., 2015. https://arxiv.org/abs/1512.03385
MLPerf Tiny: Banbury et al., 2021. https://arxiv.org/abs/2106.07597
"""

from typing import Any

from models.classifier import image_input, is_large, pooled_classifier
from models.layers import BottleneckBlock, Conv2D, MaxPool2D, ResidualBlock
from models.layers.arguments import fraction, one_of, positive_int
from models.norm_relu import norm_relu

# Number of layers -> the kind of block, and how many in each stage, from table 1 of He et al.
VARIANTS = {
    18: (ResidualBlock, (2, 2, 2, 2)),
    34: (ResidualBlock, (3, 4, 6, 3)),
    50: (BottleneckBlock, (3, 4, 6, 3)),
}
# The same from MLPerf Tiny, and from section 4.2 of He et al. with n = 3 and n = 9.
SMALL_VARIANTS = {
    8: (ResidualBlock, (1, 1, 1)),
    20: (ResidualBlock, (3, 3, 3)),
    56: (ResidualBlock, (9, 9, 9)),
}


# The first window and the pool after it for photographs; the window alone for small images.
STEM: dict[str, Any] = {"kernel_size": 7, "strides": 2, "padding": 3}
STEM_POOL: dict[str, Any] = {"pool_size": 3, "strides": 2, "padding": 1}
SMALL_STEM: dict[str, Any] = {"kernel_size": 3}


def stem(x, width, halves=False):
    """Apply the first convolution, and a pool if both are to halve the image."""
    window = STEM if halves else SMALL_STEM
    x = Conv2D(width, **window, use_bias=False, name="stem_conv")(x)
    x = norm_relu(x, "stem")
    return MaxPool2D(**STEM_POOL, name="stem_pool")(x) if halves else x


def stages(x, variant, width, shortcut):
    """Apply the stages of residual blocks; the first keeps the size."""
    block, depths = variant
    for stage, depth in enumerate(depths, start=1):
        for index in range(1, depth + 1):
            filters, strides = width * 2 ** (stage - 1), 2 if stage > 1 and index == 1 else 1
            x = block(filters, strides, shortcut=shortcut, name=f"stage{stage}_block{index}")(x)
    return x


def resnet(depth, input_shape, num_classes, width=64, shortcut="projection", dropout_rate=0.0):
    """Build a ResNet that maps 0-255 images to logits.

    Args:
        depth: int. A key of `VARIANTS`.
        input_shape: 3 ints. Height and width, both at least 8, and channels. Below 64 the first
            convolution is 3x3 with stride 1, without a pool, in place of 7x7 with stride 2.
        num_classes: int. Number of logits.
        width: int. Filters of the first stage; 64 in the paper.
        shortcut: str. How the input of a block joins where the block changes its shape, as in
            `ResidualBlock`.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> resnet(18, (32, 32, 3), num_classes=10, width=4).output["logits"].shape
    (None, 10)
    """
    blocks = VARIANTS[one_of(depth, VARIANTS, "depth")]
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    # Three of the four stages halve the image.
    image, x = image_input(input_shape, smallest=8)
    x = stem(x, width, halves=is_large(input_shape))
    x = stages(x, blocks, width, shortcut)
    return pooled_classifier(image, x, num_classes, dropout_rate, named(depth, shortcut))


def small_resnet(depth, input_shape, num_classes, width=16, shortcut="padding", dropout_rate=0.0):
    """Build a ResNet for small images that maps 0-255 images to logits.

    Args:
        depth: int. A key of `SMALL_VARIANTS`.
        input_shape: 3 ints. Height and width, both at least 4, and channels.
        num_classes: int. Number of logits.
        width: int. Filters of the first stage; 16 in the paper.
        shortcut: str. How the input of a block joins where the block changes its shape, as in
            `ResidualBlock`.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> small_resnet(20, (32, 32, 3), num_classes=10).output["logits"].shape
    (None, 10)
    """
    blocks = SMALL_VARIANTS[one_of(depth, SMALL_VARIANTS, "depth")]
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    # Two of the three stages halve the image.
    image, x = image_input(input_shape, smallest=4)
    x = stages(stem(x, width), blocks, width, shortcut)
    return pooled_classifier(image, x, num_classes, dropout_rate, named(depth, shortcut))


def plain(depth, input_shape, num_classes, width=64, dropout_rate=0.0):
    """Build the plain twin of a `resnet`: the same layers without shortcuts."""
    return resnet(depth, input_shape, num_classes, width, "none", dropout_rate)


def small_plain(depth, input_shape, num_classes, width=16, dropout_rate=0.0):
    """Build the plain twin of a `small_resnet`: the same layers without shortcuts."""
    return small_resnet(depth, input_shape, num_classes, width, "none", dropout_rate)


def named(depth, shortcut):
    """Return what the network of these layers is called."""
    return f"plain{depth}" if shortcut == "none" else f"resnet{depth}"
