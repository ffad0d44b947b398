"""What follows a convolution in most networks."""

from keras import layers

from models.layers import BatchNorm


def norm_relu(x, name, batch_norm=True, momentum=0.9):
    """Apply batch normalization, where asked for, and ReLU.

    Args:
        x: tensor.
        name: str. What the layers' names begin with.
        batch_norm: bool. Whether to normalize.
        momentum: float. Of the norm's moving statistics.
    """
    if batch_norm:
        x = BatchNorm(momentum=momentum, name=f"{name}_norm")(x)
    return layers.ReLU(name=f"{name}_relu")(x)
