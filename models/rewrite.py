"""A network as a list of calls: to read, or to make again with changes."""

import collections
import functools
from typing import Any, NamedTuple

import keras
from keras import layers, tree

from models.expand import expand, same


class Call(NamedTuple):
    """One layer applied once, to symbolic tensors."""

    layer: Any
    args: tuple
    kwargs: dict
    outputs: Any

    @property
    def inputs(self):
        """The tensors that the layer was called with, those by keyword too, but not its masks."""
        named = [value for name, value in self.kwargs.items() if not name.endswith("mask")]
        given = tree.flatten((self.args, named))
        return [each for each in given if isinstance(each, keras.KerasTensor)]

    @property
    def input_shape(self):
        """Shape of the first input, the batch left out."""
        return tuple(self.inputs[0].shape[1:])

    @property
    def output(self):
        """The first output."""
        return tree.flatten(self.outputs)[0]

    @property
    def output_shape(self):
        """Shape of the first output, the batch left out."""
        return tuple(self.output.shape[1:])


def record(network):
    """Return the flat view of a network, and its calls in the order in which they run.

    Args:
        network: functional `keras.Model`.

    Example:

    >>> _, calls = record(build("lenet", (28, 28, 1), num_classes=10))
    >>> calls[1].layer.name, calls[1].output_shape
    ('conv1', (28, 28, 18))
    """
    calls = []

    def note(layer, *args, **kwargs):
        outputs = layer(*args, **kwargs)
        calls.append(Call(layer, args, kwargs, outputs))
        return outputs

    flat = keras.models.clone_model(expand(network), clone_function=same, call_function=note)
    return flat, calls


def readers_of(calls, outputs=()):
    """Return a dict from the id of each tensor to the calls that read it, empty for one unread.

    Args:
        calls: what `record` gave.
        outputs: those of the network; `None` stands for whoever reads them.
    """
    readers = collections.defaultdict(list)
    for each in tree.flatten(outputs):
        readers[id(each)].append(None)
    for call in calls:
        for each in call.inputs:
            readers[id(each)].append(call)
    return readers


def only_reader(readers, call):
    """Return the one call that reads an output; `None` where others do too, or who asks for it.

    Args:
        readers: what `readers_of` gave.
        call: the call whose output is read.
    """
    found = readers[id(call.output)]
    return found[0] if len(found) == 1 else None


def rewrite(network, change, inputs=None):
    """Return a copy of a network, blocks opened, with other layers where `change` says so.

    The copy has weights of its own.

    Args:
        network: functional `keras.Model`.
        change: function of a `Call` in the network, and of its arguments in the copy. It returns
            what takes the place of the output, or `None` where the layer is to stay.
        inputs: `keras.Input` of the copy; by default like the network's.
    """
    flat, calls = record(network)
    copy = functools.cache(copy_of)
    targets = [like(each) for each in flat.inputs] if inputs is None else [inputs]
    tensors = {id(old): new for old, new in zip(flat.inputs, targets, strict=True)}

    def here(there):
        return tree.map_structure(lambda each: tensors.get(id(each), each), there)

    for call in calls:
        args = here(call.args)
        outputs = change(call, args)
        if outputs is None:
            outputs = copy(call.layer)(*args, **here(call.kwargs))
        pairs = zip(tree.flatten(call.outputs), tree.flatten(outputs), strict=True)
        tensors.update((id(old), new) for old, new in pairs)
    return keras.Model(here(flat.input), here(flat.output), name=network.name)


def once():
    """Return a function of `make` and arguments that gives the same for the same arguments.

    So a layer that is applied twice becomes one layer that is applied twice.
    """
    return functools.cache(lambda make, *args: make(*args))


def like(tensor):
    """Return an input like `tensor`."""
    return keras.Input(batch_shape=tensor.shape, dtype=tensor.dtype, name=tensor.name)


def copy_of(layer):
    """Return a layer like `layer`, with the same weights of its own."""
    if not isinstance(layer, layers.Layer):
        return layer
    copy = type(layer).from_config(layer.get_config())
    if layer.weights:
        copy.build_from_config(layer.get_build_config())
        copy.set_weights(layer.get_weights())
    return copy
