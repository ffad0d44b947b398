"""Batch normalization folded into the layer before it, as inference allows."""

import collections

import numpy as np
from keras import activations

from models.kinds import MAX_POOLS, NORMS, WITH_KERNEL
from models.layers import ConvTranspose, DepthwiseConv
from models.rewrite import only_reader, readers_of, record, rewrite


def fold_batch_norm(network):
    """Return a copy of a network with each batch normalization folded into the layer before it.

    That layer is one of our convolutions, of any kind, or a dense layer, applied once, without
    activation, and nothing but the normalization reads it. A max pool of maps may stand between
    where no channel's scale is negative, for then the largest value stays the largest. Other
    normalizations stay. The copy answers as the network does in inference; training would find no
    statistics of batches in it.

    Args:
        network: functional `keras.Model`.

    Example:

    >>> network = build("resnet20", (32, 32, 3), num_classes=10)
    >>> fold_batch_norm(network).count_params() < network.count_params()
    True
    """
    pairs = foldable_pairs(network)
    norms = {norm.name for norm in pairs.values()}

    def change(call, args):
        if call.layer.name in norms:
            return args[0]
        norm = pairs.get(call.layer.name)
        return None if norm is None else folded(call.layer, norm)(*args)

    return rewrite(network, change)


def foldable_pairs(network):
    """Return a dict from the name of each layer that can take a normalization to that one."""
    flat, calls = record(network)
    readers = readers_of(calls, flat.output)
    times = collections.Counter(call.layer.name for call in calls)
    pairs = {}
    for call in calls:
        reader, is_pooled = only_reader(readers, call), False
        while reader and isinstance(reader.layer, MAX_POOLS):
            reader, is_pooled = only_reader(readers, reader), True
        if reader is None or not folds(call, reader.layer, is_pooled):
            continue
        if times[call.layer.name] == times[reader.layer.name] == 1:
            pairs[call.layer.name] = reader.layer
    return pairs


def folds(call, norm, is_pooled):
    """Return whether `norm` is a normalization per channel that the call's layer can take."""
    if not isinstance(norm, NORMS) or not isinstance(call.layer, WITH_KERNEL):
        return False
    linear = getattr(call.layer, "activation", None) in (None, activations.linear)
    last = getattr(norm, "axis", -1) in (-1, len(call.output_shape))
    return linear and last and not (is_pooled and (affine(norm)[0] < 0).any())


def folded(layer, norm):
    """Return a layer like `layer` that answers what `norm` makes of its answers."""
    copy = type(layer).from_config({**layer.get_config(), "use_bias": True})
    copy.build_from_config(layer.get_build_config())
    scale, offset = affine(norm)
    kernel, *bias = (np.float64(weight) for weight in layer.get_weights())
    kernel = kernel * scale_of_kernel(layer, scale)
    bias = (bias[0] if bias else 0.0) * scale + offset
    copy.set_weights([kernel, np.broadcast_to(bias, copy.bias.shape)])
    return copy


def affine(norm):
    """Return the scale and the offset that a normalization is in inference."""
    mean, variance = np.float64(norm.moving_mean), np.float64(norm.moving_variance)
    gamma, beta = (getattr(norm, name, None) for name in ("gamma", "beta"))
    scale = (1.0 if gamma is None else np.float64(gamma)) / np.sqrt(variance + norm.epsilon)
    return scale, (0.0 if beta is None else np.float64(beta)) - mean * scale


def scale_of_kernel(layer, scale):
    """Return `scale`, a number per output channel, in a shape that multiplies the kernel."""
    if isinstance(layer, ConvTranspose):
        return scale[:, np.newaxis]
    if isinstance(layer, DepthwiseConv):
        return scale.reshape(-1, layer.depth_multiplier)
    return scale
