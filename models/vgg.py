"""VGG: blocks of 3x3 convolutions, each block halving the image and doubling the channels.

Modern in two ways, and both are options: every convolution is followed by batch normalization, and
the channels are averaged over the last map (Lin et al., 2013) where the paper has two large hidden
dense layers.

Reference: Simonyan and Zisserman, 2014. https://arxiv.org/abs/1409.1556
"""

from models.classifier import dense_classifier, image_input, pooled_classifier
from models.layers import VGGBlock
from models.layers.arguments import fraction, one_of, positive_int
from models.width import scaled

# Convolutions in each block. `vgg7` is the paper's pattern cut to three blocks, for small images;
# the others are configurations A, B and D of its table 1.
DEPTHS = {
    "vgg7": (2, 2, 2),
    "vgg11": (1, 1, 2, 2, 2),
    "vgg13": (2, 2, 2, 2, 2),
    "vgg16": (2, 2, 3, 3, 3),
}
HEADS = ("average", "dense")
# Units of each hidden dense layer, at the paper's width of 64.
DENSE_UNITS, WIDTH = 4096, 64


def vgg(
    variant, input_shape, num_classes, width=64, head="average", batch_norm=True, dropout_rate=0.0
):
    """Build a VGG that maps 0-255 images to logits.

    Args:
        variant: str. A key of `DEPTHS`.
        input_shape: 3 ints. Height, width and channels. Each block halves the first two; the last
            keeps them where they are 1. All blocks before it must have something to halve.
        num_classes: int. Number of logits.
        width: int. Filters of the first block; 64 in the paper. They double from block to block,
            up to eight times as many.
        head: str. `"average"` of each channel over the last map, or the paper's two hidden
            `"dense"` layers.
        batch_norm: bool. Whether each convolution normalizes before its ReLU.
        dropout_rate: float. Share of the head's activations dropped in training; 0.5 in the paper.

    Example:

    >>> vgg("vgg7", (28, 28, 1), num_classes=10, width=32).count_params()
    289066
    """
    depths = DEPTHS[one_of(variant, DEPTHS, "variant")]
    width = positive_int(width, "width")
    head = one_of(head, HEADS, "head")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, smallest=2 ** (len(depths) - 1))
    for index, depth in enumerate(depths):
        filters, can_halve = width * min(2**index, 8), min(x.shape[1:3]) > 1
        x = VGGBlock(filters, depth, batch_norm, pool=can_halve, name=f"block{index + 1}")(x)
    if head == "average":
        return pooled_classifier(image, x, num_classes, dropout_rate, name=variant)
    units = scaled(DENSE_UNITS, width, WIDTH)
    return dense_classifier(image, x, num_classes, units, dropout_rate, name=variant)
