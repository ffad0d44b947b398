"""ResNet for volumes: residual blocks whose windows also reach through depth, or time.

The variant is R3D-18, the network of 18 layers that the paper measures others against. Modern in
one way: on small volumes it begins without steps.

Reference: Tran et al., 2018, table 1. https://arxiv.org/abs/1711.11248
"""

from keras import layers

from models.classifier import classifier, is_large, volume_input
from models.layers import Conv3D, GlobalAveragePool3D, ResidualBlock3D
from models.layers.arguments import fraction, positive_int
from models.norm_relu import norm_relu

# Residual blocks in each stage.
DEPTHS = (2, 2, 2, 2)


def resnet3d(input_shape, num_classes, width=64, dropout_rate=0.0):
    """Build a residual network that maps volumes of 0-255 to logits.

    Args:
        input_shape: 4 ints. Depth (or frames), height and width, all at least 5, and channels.
            Where height or width is below 64, the first convolution is 3x3x3 with stride 1, in
            place of 3x7x7 with stride 2 along height and width.
        num_classes: int. Number of logits.
        width: int. Filters of the first stage; 64 in the paper. They double from stage to stage.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> resnet3d((8, 16, 16, 1), num_classes=10, width=4).output["logits"].shape
    (None, 10)
    """
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    # Three stages halve the volume: 5 -> 3 -> 2 -> 1.
    volume, x = volume_input(input_shape, smallest=5)
    kernel_size, strides = ((3, 7, 7), (1, 2, 2)) if is_large(input_shape) else (3, 1)
    x = Conv3D(width, kernel_size, strides, use_bias=False, name="stem_conv")(x)
    x = norm_relu(x, "stem")
    for stage, depth in enumerate(DEPTHS, start=1):
        for index in range(1, depth + 1):
            filters, strides = width * 2 ** (stage - 1), 2 if stage > 1 and index == 1 else 1
            x = ResidualBlock3D(filters, strides, name=f"stage{stage}_block{index}")(x)
    features = GlobalAveragePool3D(name="pool")(x)
    features = layers.Dropout(dropout_rate, name="dropout")(features)
    return classifier(volume, features, num_classes, name="resnet3d")
