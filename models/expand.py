"""A network without blocks: each replaced by the layers it is made of."""

import keras

from models.layers.block import Block


def expand(network):
    """Return `network` with the parts of every block as layers of its own, on the same weights.

    Networks within the network are opened too, and inputs given by name come first. What is called
    with `training` set stays whole, for its parts would not know of it.

    Args:
        network: functional `keras.Model`, or a built `keras.Sequential`. No two of its layers,
            parts included, share a name.

    Raises:
        ValueError: the network does not say how its layers are connected.

    Example:

    >>> image = keras.Input((28, 28, 1))
    >>> network = keras.Model(image, VGGBlock(8, depth=2)(image))
    >>> len(network.layers), len(expand(network).layers)
    (2, 8)
    """
    opened = []

    def call(layer, *args, **kwargs):
        args, kwargs = inputs_first(args, kwargs)
        if not can_open(layer) or kwargs.get("training") is not None:
            return layer(*args, **kwargs)
        opened.append(layer)
        return layer.call(*args) if isinstance(layer, Block) else replay(layer, args[0], call)

    flat = keras.models.clone_model(functional(network), clone_function=same, call_function=call)
    # What was opened may hold more to open.
    return expand(flat) if opened else flat


def functional(network):
    """Return `network` as a functional model, on the same layers."""
    if not isinstance(getattr(network, "inputs", None), list):
        raise ValueError(
            "`network` must be a functional `keras.Model`, made from inputs and outputs, or a "
            f"`keras.Sequential` that knows its input. Received: a {type(network).__name__}"
        )
    if isinstance(network, keras.Sequential):
        return keras.Model(network.inputs[0], network.outputs[0], name=network.name)
    return network


def inputs_first(args, kwargs):
    """Return the arguments of a call with `inputs`, if it stands among the named, first."""
    if "inputs" not in kwargs:
        return args, kwargs
    others = {name: value for name, value in kwargs.items() if name != "inputs"}
    return (kwargs["inputs"], *args), others


def same(layer):
    """Return `layer` itself, so that its weights are shared."""
    return layer


def can_open(layer):
    """Whether `layer` is a block, a functional network or a sequence of layers."""
    return isinstance(layer, Block) or isinstance(getattr(layer, "inputs", None), list)


def replay(network, inputs, call):
    """Call the layers of `network`, one by one, on other `inputs`."""
    # Private, but all that `clone_model` itself does; calling the network adds layers of its own.
    return functional(network)._run_through_graph(inputs, operation_fn=same, call_fn=call)
