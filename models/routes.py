"""On which routes a network can ship, known before it is trained.

The table holds what was found by converting every layer with TensorFlow 2.21 and by running the
files in LiteRT 2.3 and in TFLite Micro; `docs/support.md` shows it layer by layer. Whoever adds a
layer that cannot ship on a route adds a line. A layer that is not known here counts as one that can
ship: the export finds out.
"""

from collections.abc import Callable
from typing import NamedTuple

from keras import layers

from models.kinds import function_of
from models.layers import (
    Conv3D,
    ConvTranspose3D,
    DepthwiseConv3D,
    GlobalL2Pool1D,
    GlobalL2Pool2D,
    GlobalL2Pool3D,
    L2Pool1D,
    L2Pool2D,
    L2Pool3D,
    MaxPool3D,
    PaddedShortcut3D,
)
from models.rewrite import record

# A route needs whatever those before it need: the int8 file is made from the float one, and the
# int8 file is what a microcontroller runs.
ROUTES = ("tflite-fp32", "tflite-int8", "tflite-micro")


def is_any(*kinds):
    """Return a function that says whether a layer is of one of these classes."""
    return lambda layer: isinstance(layer, kinds)


def applies(*names):
    """Return a function that says whether a layer applies one of these functions of Keras."""
    return lambda layer: function_of(layer) in names


def convolves_volumes(layer):
    """Return whether a layer needs TensorFlow's convolution over three axes."""
    if isinstance(layer, DepthwiseConv3D):
        # Else it is a sum of convolutions over two axes.
        spread = max(layer.dilation_rate) > 1 and max(layer.strides) > 1
        return spread or len(set(layer.strides)) > 1
    return isinstance(layer, (Conv3D, ConvTranspose3D, layers.Conv3D, layers.Conv3DTranspose))


def cuts_a_volume(layer):
    """Return whether a layer takes slices of a volume, as a max pool does that pads by itself."""
    pads = isinstance(layer, MaxPool3D) and layer.padding not in ("same", "valid", "narrow")
    return pads or isinstance(layer, PaddedShortcut3D)


class Refusal(NamedTuple):
    """Layers that cannot ship: which, the first route they cannot take, and why."""

    concerns: Callable
    route: str
    reason: str


REFUSALS = (
    Refusal(convolves_volumes, "tflite-int8", "TFLite convolves volumes in floats alone"),
    Refusal(
        is_any(L2Pool1D, L2Pool2D, L2Pool3D, GlobalL2Pool1D, GlobalL2Pool2D, GlobalL2Pool3D),
        "tflite-int8",
        "TFLite squares in floats alone",
    ),
    Refusal(
        applies("elu", "log_sigmoid", "sparsemax", "squareplus"),
        "tflite-int8",
        "TFLite computes this activation in floats alone",
    ),
    Refusal(
        applies("celu", "exponential", "mish", "selu", "softplus", "sparse_plus"),
        "tflite-int8",
        "eight bits are too coarse for the powers in this activation",
    ),
    Refusal(
        is_any(layers.Embedding),
        "tflite-micro",
        "TFLite Micro lacks the operation SELECT, with which Keras looks tokens up",
    ),
    Refusal(cuts_a_volume, "tflite-micro", "TFLite Micro cuts no slices from volumes"),
    Refusal(
        applies("gelu", "hard_tanh", "soft_shrink"),
        "tflite-micro",
        "TFLite Micro lacks an operation of this activation",
    ),
    Refusal(
        applies("relu6"),
        "tflite-micro",
        "TFLite Micro computes relu6 wrongly in int8, unless it is part of a convolution",
    ),
)


def refusals_of(layer):
    """Return the routes on which a layer cannot ship, each with the reason.

    Args:
        layer: a layer that is no block.

    Example:

    >>> refusals_of(Conv3D(8, 3))["tflite-int8"]
    'TFLite convolves volumes in floats alone'
    """
    found = {}
    for refusal in REFUSALS:
        if refusal.concerns(layer):
            for route in ROUTES[ROUTES.index(refusal.route) :]:
                found.setdefault(route, refusal.reason)
    return found


def refusals(network):
    """Return for each route the layers that cannot ship on it, with the reason.

    Args:
        network: functional `keras.Model`; its blocks are opened.

    Returns:
        A dict from each of `ROUTES` to a list of `(name of the layer, reason)`, empty where the
        network can ship.
    """
    _, calls = record(network)
    distinct = {call.layer.name: refusals_of(call.layer) for call in calls}
    return {
        route: [(name, found[route]) for name, found in distinct.items() if route in found]
        for route in ROUTES
    }
