"""GoogLeNet: Inception blocks, which look through windows of several sizes side by side.

Modern in two ways: every convolution is followed by batch normalization (Ioffe and Szegedy, 2015),
in place of the paper's two normalizations over neighbouring channels; and that also makes its two
auxiliary classifiers needless, so there are none.

Reference: Szegedy et al., 2014. Going deeper with convolutions. https://arxiv.org/abs/1409.4842
"""

from models.classifier import image_input, is_large, pooled_classifier
from models.layers import Conv2D, InceptionBlock, MaxPool2D
from models.layers.arguments import fraction, positive_int
from models.norm_relu import norm_relu
from models.width import scaled

# Table 1 of the paper: the stem's convolutions (#3x3 reduce, #3x3 of the second), then for each
# block #1x1, #3x3 reduce and #3x3, #5x5 reduce and #5x5, pool proj. A pool stands between stages.
WIDTH = 64
STEM = (64, 64, 192)
STAGES = {
    3: {
        "a": (64, (96, 128), (16, 32), 32),
        "b": (128, (128, 192), (32, 96), 64),
    },
    4: {
        "a": (192, (96, 208), (16, 48), 64),
        "b": (160, (112, 224), (24, 64), 64),
        "c": (128, (128, 256), (24, 64), 64),
        "d": (112, (144, 288), (32, 64), 64),
        "e": (256, (160, 320), (32, 128), 128),
    },
    5: {
        "a": (256, (160, 320), (32, 128), 128),
        "b": (384, (192, 384), (48, 128), 128),
    },
}


def conv_relu(x, filters, kernel_size, strides, batch_norm, name):
    """Apply a convolution, batch normalization where asked for, and ReLU."""
    x = Conv2D(filters, kernel_size, strides, use_bias=not batch_norm, name=name)(x)
    return norm_relu(x, name, batch_norm)


def halve(x, name):
    """Apply a pool whose windows of 3x3 overlap."""
    return MaxPool2D(3, strides=2, padding="same", name=name)(x)


def stem(x, width, batch_norm):
    """Apply the convolutions before the first block, and their pools on large images."""
    first, reduced, second = (scaled(filters, width, WIDTH) for filters in STEM)
    halves = is_large(x.shape[1:])
    kernel_size, strides = (7, 2) if halves else (3, 1)
    x = conv_relu(x, first, kernel_size, strides, batch_norm, name="conv1")
    x = halve(x, name="pool1") if halves else x
    x = conv_relu(x, reduced, 1, 1, batch_norm, name="conv2_reduce")
    x = conv_relu(x, second, 3, 1, batch_norm, name="conv2")
    return halve(x, name="pool2")


def inception(x, filters, width, batch_norm, name):
    """Apply an Inception block whose `filters` are those of table 1 at the paper's width."""
    filters1, filters3, filters5, filters_pool = filters
    block = InceptionBlock(
        scaled(filters1, width, WIDTH),
        tuple(scaled(each, width, WIDTH) for each in filters3),
        tuple(scaled(each, width, WIDTH) for each in filters5),
        scaled(filters_pool, width, WIDTH),
        batch_norm,
        name=name,
    )
    return block(x)


def googlenet(input_shape, num_classes, width=64, batch_norm=True, dropout_rate=0.4):
    """Build a GoogLeNet that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height and width, both at least 8, and channels. Below 64 the first
            convolution is 3x3 with stride 1, without a pool, in place of 7x7 with stride 2.
        num_classes: int. Number of logits.
        width: int. Filters of the first convolution; the other layers grow with it. 64 gives the
            sizes of the paper.
        batch_norm: bool. Whether each convolution normalizes before its ReLU.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> googlenet((224, 224, 3), num_classes=1000, batch_norm=False).count_params()
    6998552
    """
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    # Three pools halve a small image.
    image, x = image_input(input_shape, smallest=8)
    x = stem(x, width, batch_norm)
    for stage, blocks in STAGES.items():
        if stage > 3:
            x = halve(x, name=f"pool{stage - 1}")
        for letter, filters in blocks.items():
            x = inception(x, filters, width, batch_norm, name=f"inception{stage}{letter}")
    return pooled_classifier(image, x, num_classes, dropout_rate, name="googlenet")
