"""Classifiers whose dense layers are convolutions, so that they slide over larger images; and back.

Reference: Sermanet et al., 2013, OverFeat. https://arxiv.org/abs/1312.6229
Long et al., 2014. https://arxiv.org/abs/1411.4038
"""

import functools
import math

import keras
from keras import activations, layers, ops, tree

from models import layers as ours
from models.expand import functional
from models.geometry import padding_pairs
from models.kinds import NORMS, OF_ALL_CHANNELS, function_of
from models.layers.block import through
from models.layers.l2_pool import L2Pool
from models.layers.window import Window
from models.receptive_field import is_pointwise
from models.rewrite import once, rewrite

# By the number of axes that they slide over.
CONVOLUTIONS = {1: ours.Conv1D, 2: ours.Conv2D, 3: ours.Conv3D}
# Pools over a window, and the like over the whole map.
GLOBAL = {
    ours.MaxPool1D: ours.GlobalMaxPool1D,
    ours.MaxPool2D: ours.GlobalMaxPool2D,
    ours.MaxPool3D: ours.GlobalMaxPool3D,
    ours.AveragePool1D: ours.GlobalAveragePool1D,
    ours.AveragePool2D: ours.GlobalAveragePool2D,
    ours.AveragePool3D: ours.GlobalAveragePool3D,
    ours.L2Pool1D: ours.GlobalL2Pool1D,
    ours.L2Pool2D: ours.GlobalL2Pool2D,
    ours.L2Pool3D: ours.GlobalL2Pool3D,
}
LOCAL = {whole: pool for pool, whole in GLOBAL.items()}
# Over a flattened map these do something else than over the map.
OVER_CHANNELS = (*NORMS, layers.Concatenate, layers.Softmax)


def to_convolutional(network):
    """Return a copy of a classifier that takes images of any size and answers at every place.

    The first dense layer after a flatten becomes a convolution as large as the map it saw, later
    ones become 1x1 convolutions, and global pools become pools over windows of the map's size. On
    images of the network's own size the copy gives the same logits, of shape
    `(batch, 1, 1, classes)`; on larger ones `(batch, rows, columns, classes)`, as if the network
    had been moved over the image. That is exact where no layer pads; where one does, a place sees
    its neighbours instead of zeros.

    Args:
        network: functional `keras.Model` of one input, `(*sizes, channels)`.

    Raises:
        ValueError: the input is of another kind, or a layer cannot follow.

    Example:

    >>> network = to_convolutional(build("topology", (28, 28, 1), num_classes=10))
    >>> network(np.zeros((1, 112, 112, 1)))["logits"].shape
    (1, 43, 43, 10)
    """
    (source,) = functional(network).inputs
    *sizes, channels = source.shape[1:]
    rank = len(sizes)
    if rank not in CONVOLUTIONS or None in sizes:
        raise ValueError(
            "`network` must take images, volumes or sequences of vectors, of one known size. "
            f"Received: input shape {tuple(source.shape[1:])}"
        )
    inputs = keras.Input((None,) * rank + (channels,), dtype=source.dtype, name=source.name)
    return rewrite(network, Sliding(rank), inputs)


def to_dense(network, input_shape):
    """Return a copy of a network that slides, for images of one size: `to_convolutional` undone.

    Convolutions and pools that cover a whole map become dense layers and global pools, so that the
    answers are `(batch, classes)`.

    Args:
        network: functional `keras.Model` of one input.
        input_shape: ints. Shape of that input, sizes on which the network has one answer.

    Example:

    >>> network = to_convolutional(build("topology", (28, 28, 1), num_classes=10))
    >>> to_dense(network, (28, 28, 1))(np.zeros((1, 28, 28, 1)))["logits"].shape
    (1, 10)
    """
    (source,) = functional(network).inputs
    inputs = keras.Input(input_shape, dtype=source.dtype, name=source.name)
    return rewrite(network, functools.partial(densely, once()), inputs)


class Sliding:
    """The changes that let a network slide, for `rewrite`."""

    def __init__(self, rank):
        self.rank = rank
        self.once = once()
        # Sizes of the map that a vector of the network is, flattened, by the vector's `id`.
        self.sizes = {}

    def __call__(self, call, args):
        layer = call.layer
        if isinstance(layer, layers.Flatten):
            self.sizes[id(call.output)] = call.input_shape[:-1] or self.sizes_of(call)
            return args[0]
        if type(layer) in LOCAL:
            return self.once(local_pool, layer, call.input_shape[:-1])(args[0])
        if len(call.input_shape) == 1:
            return self.over_vectors(call, args)
        require(slides(call), layer)
        return None

    def sizes_of(self, call):
        """Return the sizes of the map that the call's first vector is."""
        return self.sizes.get(id(call.inputs[0]), (1,) * self.rank)

    def over_vectors(self, call, args):
        """Return what a layer over vectors makes of maps."""
        layer, sizes = call.layer, self.sizes_of(call)
        if isinstance(layer, layers.Dense):
            return through(self.once(convolutions_of, layer, sizes, args[0].shape[-1]), args[0])
        require(is_pointwise(layer, call.input_shape), layer)
        require(max(sizes) == 1 or not sees_all_channels(layer), layer)
        self.sizes[id(call.output)] = sizes
        if isinstance(layer, OVER_CHANNELS):
            return self.once(on_last_axis, layer, tree.flatten(args[0])[0].shape)(args[0])
        return None


def slides(call):
    """Return whether a layer over maps does the same at every place."""
    layer = call.layer
    if isinstance(layer, Window):
        return not isinstance(layer, ours.LocallyConnected)
    return isinstance(layer, ours.PaddedShortcut) or is_pointwise(layer, call.input_shape)


def sees_all_channels(layer):
    """Return whether a function of vectors is not one of single numbers."""
    return isinstance(layer, OVER_CHANNELS) or function_of(layer) in OF_ALL_CHANNELS


def require(condition, layer):
    """Refuse a network with a layer that cannot follow."""
    if not condition:
        kind = type(layer)
        raise ValueError(
            "`network` must be made of layers of this package that do the same at every place, "
            "then of flatten, dense layers and functions of single numbers. "
            f"Received: layer={layer.name}, a {kind.__module__.partition('.')[0]} {kind.__name__}"
        )


def local_pool(pool, sizes):
    """Return a pool over windows as large as the map that a global pool saw."""
    return LOCAL[type(pool)](sizes, 1, **identity(pool))


def convolutions_of(dense, sizes, channels):
    """Return what a dense layer is to windows of these sizes: a convolution, an activation."""
    kernel, *bias = dense.get_weights()
    conv = CONVOLUTIONS[len(sizes)](
        dense.units, sizes, padding="valid", use_bias=dense.use_bias, **identity(dense)
    )
    conv.build((None, *[None] * len(sizes), channels))
    conv.set_weights([kernel.reshape(conv.kernel.shape), *bias])
    if dense.activation is activations.linear:
        return [conv]
    named = {**identity(dense), "name": f"{dense.name}_activation"}
    return [conv, layers.Activation(dense.activation, **named)]


def dense_of(conv, shape):
    """Return what a convolution is to maps of this shape, which it covers, or to vectors."""
    named = {**identity(conv), "name": f"{conv.name}_flatten"}
    flatten = [layers.Flatten(**named)] if len(shape) > 2 else []
    kernel, *bias = conv.get_weights()
    dense = layers.Dense(conv.filters, use_bias=conv.use_bias, **identity(conv))
    dense.build((None, math.prod(shape[1:])))
    dense.set_weights([kernel.reshape(dense.kernel.shape), *bias])
    return [*flatten, dense]


def identity(layer):
    """Return what a layer that takes another's place has from it."""
    return {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable}


def on_last_axis(layer, shape):
    """Return a layer over the channels of vectors or maps, for inputs of another rank."""
    config = layer.get_config()
    copy = type(layer).from_config({**config, "axis": -1} if "axis" in config else config)
    if layer.weights:
        copy.build(shape)
        copy.set_weights(layer.get_weights())
    return copy


def densely(once, call, args):
    """Return what a dense layer or a global pool makes of a map, where it can; for `rewrite`."""
    layer, x = call.layer, args[0]
    if isinstance(layer, NORMS):
        return once(on_last_axis, layer, x.shape)(x)
    if isinstance(layer, Window) and covers(layer, x.shape[1:-1]):
        if isinstance(layer, ours.Conv) and layer.groups == 1:
            return through(once(dense_of, layer, x.shape), x)
        if type(layer) in GLOBAL:
            return once(whole_pool, layer, len(x.shape))(x)
    ranks = {len(each.shape) for each in tree.flatten(x)}
    require(len(ranks) == 1, layer)
    return None


def whole_pool(pool, rank):
    """Return a pool over the whole of a map. A vector is a map of one position."""
    if rank > 2:
        return GLOBAL[type(pool)](**identity(pool))
    is_length = isinstance(pool, L2Pool)
    return layers.Activation(ops.absolute if is_length else "linear", **identity(pool))


def covers(layer, sizes):
    """Return whether the window of a layer covers a map of these sizes, no sizes being 1x1."""
    sizes = tuple(sizes) or (1,) * layer.rank
    pairs = padding_pairs(sizes, layer.extents, layer.strides, layer.padding)
    return layer.window == layer.extents == sizes and not any(map(any, pairs))
