"""A network without blocks: each replaced by the layers it is made of."""

import keras

from models.layers.block import Block


def expand(network):
    """Return `network` with the parts of every block as layers of its own, on the same weights.

    Networks within the network are opened too. What is called with `training` set stays whole, for
    its parts would not know of it.

    Args:
        network: functional `keras.Model`. No two of its layers, parts included, share a name.

    Example:

    >>> image = keras.Input((28, 28, 1))
    >>> network = keras.Model(image, VGGBlock(8, depth=2)(image))
    >>> len(network.layers), len(expand(network).layers)
    (2, 8)
    """
    opened = []

    def call(layer, *args, **kwargs):
        if not can_open(layer) or kwargs.get("training") is not None:
            return layer(*args, **kwargs)
        opened.append(layer)
        return layer.call(*args) if isinstance(layer, Block) else replay(layer, args[0], call)

    flat = keras.models.clone_model(network, clone_function=same, call_function=call)
    # What was opened may hold more to open.
    return expand(flat) if opened else flat


def same(layer):
    """Return `layer` itself, so that its weights are shared."""
    return layer


def can_open(layer):
    """Whether `layer` is a block, a functional network or a sequence of layers."""
    return isinstance(layer, Block) or isinstance(getattr(layer, "inputs", None), list)


def replay(network, inputs, call):
    """Call the layers of `network`, one by one, on other `inputs`."""
    if isinstance(network, keras.Sequential):
        network = keras.Model(network.inputs[0], network.outputs[0])
    # Private, but all that `clone_model` itself does; calling the network adds layers of its own.
    return network._run_through_graph(inputs, operation_fn=same, call_fn=call)
