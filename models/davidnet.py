"""Few wide stages that train fast, after David Page's entries to DAWNBench.

Each stage halves the maps right after its first convolution, before batch norm and ReLU: as good
as halving after them, for a quarter of their work. Shortcuts lead past one convolution each.

Reference: Page, 2018. How to train your ResNet. https://github.com/davidcpage/cifar10-fast
"""

from keras import layers

from models.classifier import image_input, pooled_classifier
from models.layers import Conv2D, MaxPool2D
from models.layers.arguments import fraction, positive_int, positive_number
from models.norm_relu import norm_relu


def conv_norm_relu(x, filters, name, pool=False):
    """Apply a 3x3 convolution, a pool where asked for, batch normalization and ReLU."""
    x = Conv2D(filters, 3, use_bias=False, name=f"{name}_conv")(x)
    if pool:
        x = MaxPool2D(name=f"{name}_pool")(x)
    return norm_relu(x, name)


def stage(x, filters, depth, shortcut, name):
    """Halve the maps by one convolution, then apply `depth` more, each past a shortcut or not."""
    x = conv_norm_relu(x, filters, f"{name}_down", pool=True)
    for index in range(1, depth + 1):
        y = conv_norm_relu(x, filters, f"{name}_{index}")
        x = layers.Add(name=f"{name}_{index}_add")([x, y]) if shortcut else y
    return x


def davidnet(
    input_shape,
    num_classes,
    width=64,
    growth=2.0,
    stages=3,
    depth=1,
    stem=False,
    shortcut=True,
    dropout_rate=0.0,
):
    """Build the network that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height and width, which each stage halves, and channels.
        num_classes: int. Number of logits.
        width: int. Filters of the first stage.
        growth: float. How many times as many filters a stage has as the one before, rounded.
        stages: int. How often the maps are halved.
        depth: int. Convolutions of each stage after the one that halves.
        stem: bool. Whether a convolution of `width` filters sees the image at its full size first.
        shortcut: bool. Whether each of the `depth` convolutions adds to its input.
        dropout_rate: float. Share of the averaged features dropped in training.

    Example:

    >>> davidnet((28, 28, 1), num_classes=10).count_params()
    1149514
    """
    width, growth = positive_int(width, "width"), positive_number(growth, "growth")
    stages, depth = positive_int(stages, "stages"), positive_int(depth, "depth")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, smallest=2**stages)
    if stem:
        x = conv_norm_relu(x, width, "stem")
    for index in range(stages):
        filters = max(1, round(width * growth**index))
        x = stage(x, filters, depth, shortcut, f"stage{index + 1}")
    return pooled_classifier(image, x, num_classes, dropout_rate, name="davidnet")
