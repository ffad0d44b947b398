"""ResNet: stages of residual blocks, each stage halving the image and doubling the channels.

`resnet8` is the image classification network of MLPerf Tiny. Its reference file has 78,666
parameters for 32x32x3 images and 10 classes, of which 240 are biases that the batch norm right
after them cancels; without those, this one has 78,426.

Reference: He et al., 2015. https://arxiv.org/abs/1512.03385
MLPerf Tiny: Banbury et al., 2021. https://arxiv.org/abs/2106.07597
"""

from keras import layers

from models.classifier import image_input, pooled_classifier
from models.layers import BatchNorm, Conv2D, ResidualBlock
from models.layers.arguments import fraction, one_of, positive_int

# Residual blocks in each stage: MLPerf Tiny, and section 4.2 of He et al. with n = 3.
DEPTHS = {"resnet8": (1, 1, 1), "resnet20": (3, 3, 3)}


def stage(x, filters, depth, strides, name):
    """Apply `depth` residual blocks, the first with `strides`."""
    for index in range(depth):
        steps = 1 if index else strides
        block = ResidualBlock(
            filters, steps, shortcut="convolution", name=f"{name}_block{index + 1}"
        )
        x = block(x)
    return x


def resnet(input_shape, num_classes, variant="resnet8", width=16, dropout_rate=0.0):
    """Build a ResNet for small images that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height and width, both at least 4, and channels.
        num_classes: int. Number of logits.
        variant: str. A key of `DEPTHS`.
        width: int. Filters of the first stage.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> resnet((32, 32, 3), num_classes=10).count_params()
    78426
    """
    depths = DEPTHS[one_of(variant, DEPTHS, "variant")]
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    # Two of the three stages halve the image.
    image, x = image_input(input_shape, smallest=4)
    x = Conv2D(width, 3, use_bias=False, name="stem_conv")(x)
    x = BatchNorm(name="stem_norm")(x)
    x = layers.ReLU(name="stem_relu")(x)
    for index, depth in enumerate(depths):
        strides = 2 if index else 1
        x = stage(x, width * 2**index, depth, strides, name=f"stage{index + 1}")
    return pooled_classifier(image, x, num_classes, dropout_rate, name=variant)
