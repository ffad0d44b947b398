"""Kinds of layers, ours and Keras's, that conversions and inspection treat alike."""

from keras import layers

from models.layers import BatchNorm, MaxPool2D, MaxPool3D
from models.layers.filtered import Filtered

# Layers whose output is a kernel's and a bias's, channel by channel.
WITH_KERNEL = (Filtered, layers.Dense)
# Those of Keras itself, and what is among all of them transposed.
STOCK_TRANSPOSED = (layers.Conv1DTranspose, layers.Conv2DTranspose, layers.Conv3DTranspose)
STOCK_CONVOLUTIONS = (
    layers.Conv1D,
    layers.Conv2D,
    layers.Conv3D,
    layers.DepthwiseConv1D,
    layers.DepthwiseConv2D,
    *STOCK_TRANSPOSED,
)
NORMS = (BatchNorm, layers.BatchNormalization)
# Of maps, which have no masks: every window sees something.
MAX_POOLS = (MaxPool2D, MaxPool3D, layers.MaxPooling2D, layers.MaxPooling3D)
# Functions that look at all channels of a position at once.
OF_ALL_CHANNELS = ("glu", "log_softmax", "softmax", "sparsemax")


def is_relu(layer):
    """Return whether a layer is ReLU or ReLU6, which integers apply as part of the one before."""
    if isinstance(layer, layers.ReLU):
        plain = not (layer.negative_slope or layer.threshold)
        return plain and layer.max_value in (None, 6)
    return isinstance(layer, layers.Activation) and function_of(layer) in ("relu", "relu6")


def function_of(layer):
    """Return the name of the activation that a layer applies, `None` where it applies none."""
    if isinstance(layer, layers.ELU):
        return "elu"
    if isinstance(layer, layers.ReLU) and layer.max_value == 6:
        return "relu6"
    return getattr(getattr(layer, "activation", None), "__name__", None)
