"""A network without blocks: each replaced by the layers it is made of."""

import keras

from models.layers.block import Block


def expand(network):
    """Return `network` with the parts of every block as layers of its own, on the same weights.

    Args:
        network: functional `keras.Model`.

    Example:

    >>> network = build("resnet8", (28, 28, 1), num_classes=10)
    >>> len(network.layers), len(expand(network).layers)
    (10, 28)
    """
    return keras.models.clone_model(network, clone_function=same, call_function=call)


def same(layer):
    """Return `layer` itself, so that its weights are shared."""
    return layer


def call(layer, *args, **kwargs):
    """Call a layer; a block's parts one by one."""
    return layer.call(*args) if isinstance(layer, Block) else layer(*args, **kwargs)
