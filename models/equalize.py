"""Channels of one size: what one layer makes of a channel, the next one undoes."""

import numpy as np
from keras import layers

from models.integer_form import integer_form
from models.kinds import MAX_POOLS, function_of
from models.layers import Conv, DepthwiseConv
from models.layers.average_pool import AveragePool
from models.layers.global_pool import GlobalAveragePool, GlobalMaxPool
from models.rewrite import copy_of, only_reader, readers_of, record, rewrite

# What makes of values twice as large, channel by channel, values twice as large.
KEEPS_FACTORS = (
    *MAX_POOLS,
    AveragePool,
    GlobalAveragePool,
    GlobalMaxPool,
    layers.Activation,
    layers.AveragePooling2D,
    layers.Dropout,
    layers.Flatten,
    layers.GlobalAveragePooling2D,
    layers.GlobalMaxPooling2D,
    layers.ReLU,
)
# Sweeps over all pairs after which nothing changes any more in the deepest of our networks.
SWEEPS = 20
# What a channel may grow or shrink by in one sweep: an unused one has no size to go by.
MOST = 1e4


def equalized(network):
    """Return a copy of a network, in its integer form, whose channels are of like sizes.

    Integers have one size of step for all channels of a layer's values. Where one channel is much
    larger than the others, those are lost. Between two layers with nothing but ReLU, pools and
    moves of values, a channel can be made smaller by the first and larger by the second, and the
    answers stay what they were, exact to rounding.

    Args:
        network: functional `keras.Model`.

    Reference:
        Nagel et al., 2019, section 4.1. https://arxiv.org/abs/1906.04721
    """
    form = integer_form(network)
    found = pairs(form)
    names = {name for pair in found for name in pair}
    weights = {
        layer.name: [np.float64(weight) for weight in layer.get_weights()]
        for layer in form.layers
        if layer.name in names
    }
    for _ in range(SWEEPS):
        for first, second in found:
            balance(weights[first], weights[second])

    def change(call, args):
        if call.layer.name not in names:
            return None
        copy = copy_of(call.layer)
        copy.set_weights(weights[call.layer.name])
        return copy(*args)

    return rewrite(form, change)


def balance(first, second):
    """Make each channel between two layers as large in the one's kernel as in the other's.

    Args:
        first: weights of the layer that makes the channels; they are changed.
        second: weights of the layer that reads them; they are changed.
    """
    channels = first[0].shape[-1] if len(first) == 1 else len(first[1])
    made = first[0].reshape(-1, channels)
    # Whatever positions there are, a flattened map's too, channels are the last but one axis.
    read = second[0].reshape(-1, channels, second[0].shape[-1])
    sizes = np.abs(made).max(0), np.abs(read).max((0, 2))
    used = (sizes[0] > 0) & (sizes[1] > 0)
    factor = np.where(used, np.sqrt(sizes[0] / np.where(used, sizes[1], 1)), 1)
    factor = np.clip(factor, 1 / MOST, MOST)
    first[0] = (made / factor).reshape(first[0].shape)
    second[0] = (read * factor[:, np.newaxis]).reshape(second[0].shape)
    if len(first) > 1:
        first[1] = first[1] / factor


def pairs(network):
    """Return the names of layers, two and two, that can share out the size of channels."""
    flat, calls = record(network)
    readers = readers_of(calls, flat.output)

    def next_kernel(call):
        reader = only_reader(readers, call)
        while reader and isinstance(reader.layer, KEEPS_FACTORS) and not is_capped(reader.layer):
            reader = only_reader(readers, reader)
        return reader

    chains = [(call, next_kernel(call)) for call in calls]
    return [
        (first.layer.name, second.layer.name)
        for first, second in chains
        if second and can_make(first.layer) and can_read(second.layer)
    ]


def is_capped(layer):
    """Return whether a ReLU ends at a value, or something other than a ReLU is applied."""
    if isinstance(layer, layers.Activation):
        return function_of(layer) != "relu"
    return isinstance(layer, layers.ReLU) and (layer.max_value is not None or layer.threshold > 0)


def can_make(layer):
    """Return whether the channels of a layer's values are those of its kernel."""
    if isinstance(layer, layers.Dense):
        return function_of(layer) in ("linear", "relu")
    return isinstance(layer, (Conv, DepthwiseConv))


def can_read(layer):
    """Return whether a layer has weights for each channel that it reads."""
    reads_all = isinstance(layer, Conv) and layer.groups == 1
    return reads_all or isinstance(layer, (layers.Dense, DepthwiseConv))
