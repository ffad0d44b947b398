"""Classifiers whose dense layers are convolutions, so that they slide over larger images; and back.

Reference: Sermanet et al., 2013, OverFeat. https://arxiv.org/abs/1312.6229
Long et al., 2014. https://arxiv.org/abs/1411.4038
"""

import keras
from keras import activations, layers, tree

from models import layers as ours
from models.geometry import padding_pairs
from models.layers.window import Window
from models.receptive_field import is_pointwise
from models.rewrite import rewrite

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
NORMS = (ours.BatchNorm, layers.BatchNormalization)
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

    Example:

    >>> network = to_convolutional(build("topology", (28, 28, 1), num_classes=10))
    >>> network(np.zeros((1, 112, 112, 1)))["logits"].shape
    (1, 43, 43, 10)
    """
    (source,) = network.inputs
    *sizes, channels = source.shape[1:]
    rank = len(sizes)
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
    (source,) = network.inputs
    inputs = keras.Input(input_shape, dtype=source.dtype, name=source.name)
    return rewrite(network, densely, inputs)


class Sliding:
    """The changes that let a network slide, for `rewrite`."""

    def __init__(self, rank):
        self.rank = rank
        # Sizes of the map that a vector of the network is, flattened, by the vector's `id`.
        self.sizes = {}

    def __call__(self, call, args):
        layer = call.layer
        if isinstance(layer, layers.Flatten):
            self.sizes[id(call.output)] = call.input_shape[:-1] or self.sizes_of(call)
            return args[0]
        if type(layer) in LOCAL:
            return LOCAL[type(layer)](call.input_shape[:-1], 1, name=layer.name)(args[0])
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
            return as_convolution(layer, sizes, args[0])
        require(is_pointwise(layer, call.input_shape), layer)
        require(max(sizes) == 1 or not isinstance(layer, OVER_CHANNELS), layer)
        self.sizes[id(call.output)] = sizes
        return norm_over(args[0], layer)(args[0]) if isinstance(layer, NORMS) else None


def slides(call):
    """Return whether a layer over maps does the same at every place."""
    layer = call.layer
    if isinstance(layer, Window):
        return not isinstance(layer, ours.LocallyConnected)
    return isinstance(layer, ours.PaddedShortcut) or is_pointwise(layer, call.input_shape)


def require(condition, layer):
    """Refuse a network with a layer that cannot follow."""
    if not condition:
        raise ValueError(
            "`network` must be made of layers that do the same at every place, then of flatten, "
            "dense layers and functions of single numbers. "
            f"Received: layer={layer.name}, a {type(layer).__name__}"
        )


def as_convolution(dense, sizes, x):
    """Return what a dense layer makes of maps `x`, each window of these sizes flattened."""
    kernel, *bias = dense.get_weights()
    conv = CONVOLUTIONS[len(sizes)](
        dense.units, sizes, padding="valid", use_bias=dense.use_bias, **identity(dense)
    )
    conv.build(x.shape)
    conv.set_weights([kernel.reshape(conv.kernel.shape), *bias])
    if dense.activation is activations.linear:
        return conv(x)
    return layers.Activation(dense.activation, name=f"{dense.name}_activation")(conv(x))


def as_dense(conv, x):
    """Return what a convolution that covers the whole map `x`, or a vector, makes of it."""
    if len(x.shape) > 2:
        x = layers.Flatten(name=f"{conv.name}_flatten")(x)
    kernel, *bias = conv.get_weights()
    dense = layers.Dense(conv.filters, use_bias=conv.use_bias, **identity(conv))
    dense.build(x.shape)
    dense.set_weights([kernel.reshape(dense.kernel.shape), *bias])
    return dense(x)


def identity(layer):
    """Return what a layer that takes another's place has from it."""
    return {"name": layer.name, "dtype": layer.dtype_policy, "trainable": layer.trainable}


def norm_over(x, norm):
    """Return a normalization with the weights of `norm`, for tensors like `x`."""
    copy = type(norm).from_config(norm.get_config())
    copy.build(x.shape)
    copy.set_weights(norm.get_weights())
    return copy


def densely(call, args):
    """Return what a dense layer or a global pool makes of a map, where it can; for `rewrite`."""
    layer, x = call.layer, args[0]
    if isinstance(layer, NORMS):
        return norm_over(x, layer)(x)
    if isinstance(layer, Window) and covers(layer, x.shape[1:-1]):
        if isinstance(layer, ours.Conv) and layer.groups == 1:
            return as_dense(layer, x)
        if type(layer) in GLOBAL:
            return GLOBAL[type(layer)](name=layer.name)(x)
    ranks = {len(each.shape) for each in tree.flatten(x)}
    require(len(ranks) == 1, layer)
    return None


def covers(layer, sizes):
    """Return whether the window of a layer covers a map of these sizes, no sizes being 1x1."""
    sizes = tuple(sizes) or (1,) * layer.rank
    pairs = padding_pairs(sizes, layer.extents, layer.strides, layer.padding)
    return layer.window == layer.extents == sizes and not any(map(any, pairs))
