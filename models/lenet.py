"""LeNet: convolutions and pools in turn, then dense layers.

Modern in these ways: ReLU, max pooling and batch normalization stand where the paper has a scaled
tanh, trained subsampling and none; each filter of the second convolution sees all maps, where the
paper's see some; a dense layer answers, where the paper measures distances; and there is dropout.

Reference: LeCun et al., 1998. Gradient-based learning applied to document recognition.
"""

from keras import layers

from models.classifier import classifier, image_input
from models.layers import Conv2D, MaxPool2D
from models.layers.arguments import fraction, positive_int
from models.norm_relu import norm_relu
from models.width import scaled

# Layers C1, C3, C5 and F6 of the paper's figure 2, whose width is 6. It pads its 28x28 digits to
# 32x32 for C1 alone, which is the same as padding there and nowhere else.
WIDTH = 6
CONVOLUTIONS = ((6, "same"), (16, "valid"))
DENSE_UNITS = (120, 84)


def lenet(input_shape, num_classes, width=18, batch_norm=True, dropout_rate=0.4):
    """Build a LeNet that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height and width, both at least 12, and channels.
        num_classes: int. Number of logits.
        width: int. Filters of the first convolution; the other layers grow with it. 6 gives the
            sizes of the paper.
        batch_norm: bool. Whether each layer but the last normalizes before its ReLU.
        dropout_rate: float. Share of the dense layers' activations dropped in training.

    Example:

    >>> lenet((28, 28, 1), num_classes=10, width=6, batch_norm=False).count_params()
    61706
    """
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, smallest=12)
    for index, (filters, padding) in enumerate(CONVOLUTIONS, start=1):
        conv = Conv2D(
            scaled(filters, width, WIDTH),
            5,
            padding=padding,
            use_bias=not batch_norm,
            name=f"conv{index}",
        )
        x = norm_relu(conv(x), f"conv{index}", batch_norm)
        x = MaxPool2D(name=f"pool{index}")(x)
    x = layers.Flatten(name="flatten")(x)
    for index, units in enumerate(DENSE_UNITS, start=1):
        dense = layers.Dense(
            scaled(units, width, WIDTH),
            use_bias=not batch_norm,
            kernel_initializer="he_normal",
            name=f"dense{index}",
        )
        x = norm_relu(dense(x), f"dense{index}", batch_norm)
        x = layers.Dropout(dropout_rate, name=f"dense{index}_dropout")(x)
    return classifier(image, x, num_classes, name="lenet")
