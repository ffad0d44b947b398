"""ResNet for volumes: residual blocks whose windows also reach through depth, or time.

The variant is R3D-18, the network of 18 layers that the paper measures others against. Modern in
one way: on small volumes it begins without steps.

Reference: Tran et al., 2018, table 1. https://arxiv.org/abs/1711.11248
"""

from keras import layers

from models.classifier import classifier, volume_input
from models.layers import BatchNorm, Conv3D, GlobalAveragePool3D
from models.layers.arguments import fraction, positive_int

# Residual blocks in each stage.
DEPTHS = (2, 2, 2, 2)


def conv_norm(x, filters, kernel_size, strides, name):
    """Apply a convolution and batch normalization."""
    conv = Conv3D(filters, kernel_size, strides, use_bias=False, name=f"{name}_conv")
    return BatchNorm(name=f"{name}_norm")(conv(x))


def residual_block(x, filters, strides, name):
    """Add to `x` what two convolutions make of it, in the shape that they give it."""
    branch = conv_norm(x, filters, 3, strides, f"{name}_1")
    branch = layers.ReLU(name=f"{name}_1_relu")(branch)
    branch = conv_norm(branch, filters, 3, 1, f"{name}_2")
    if x.shape != branch.shape:
        x = conv_norm(x, filters, 1, strides, f"{name}_projection")
    x = layers.Add(name=f"{name}_sum")([branch, x])
    return layers.ReLU(name=f"{name}_relu")(x)


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
    window = (3, 1) if min(input_shape[1:3]) < 64 else ((3, 7, 7), (1, 2, 2))
    x = layers.ReLU(name="stem_relu")(conv_norm(x, width, *window, name="stem"))
    for stage, depth in enumerate(DEPTHS, start=1):
        for index in range(1, depth + 1):
            strides = 2 if stage > 1 and index == 1 else 1
            x = residual_block(
                x, width * 2 ** (stage - 1), strides, name=f"stage{stage}_block{index}"
            )
    features = GlobalAveragePool3D(name="pool")(x)
    features = layers.Dropout(dropout_rate, name="dropout")(features)
    return classifier(volume, features, num_classes, name="resnet3d")
