"""A network in the form in which integers compute it best."""

import collections

import keras
import numpy as np
from keras import activations, layers

from models.fold import affine, fold_batch_norm
from models.kinds import MAX_POOLS, NORMS, STOCK_CONVOLUTIONS, WITH_KERNEL, is_relu
from models.layers import Conv2D, DepthwiseConv1D, DepthwiseConv2D, PaddedShortcut
from models.rewrite import copy_of, only_reader, readers_of, record, rewrite

PER_CHANNEL = {3: DepthwiseConv1D, 4: DepthwiseConv2D}


def integer_form(network):
    """Return a copy of a network that does more in each operation, and rounds less between them.

    Batch normalizations fold into the layers before them, or become convolutions of one weight per
    channel where nothing can take them; a rescaling of pixels folds into the kernels that read it;
    a ReLU goes before a max pool, which changes nothing, so that it joins the layer before; and
    activations other than ReLU leave dense layers, so that what goes into them can be rounded too.

    The copy answers as the network does in inference, exact to rounding.

    Args:
        network: functional `keras.Model`, each of its layers applied once.
    """
    require_known(network)
    return with_plain_kernels(relu_first(without_rescaling(fold_batch_norm(network))))


def require_known(network):
    """Refuse a network with a layer that is applied twice, or a convolution that is not ours."""
    _, calls = record(network)
    times = collections.Counter(call.layer.name for call in calls)
    for call in calls:
        # A network within it stays whole where it is called with `training`.
        if isinstance(call.layer, (*STOCK_CONVOLUTIONS, keras.Model)):
            raise ValueError(
                "`network` must be made of layers, its convolutions those of `models.layers`. "
                f"Received: `{call.layer.name}`, a {type(call.layer).__name__} of Keras"
            )
        if times[call.layer.name] > 1:
            raise ValueError(
                "`network` must apply each layer once. "
                f"Received: `{call.layer.name}`, applied {times[call.layer.name]} times"
            )


def without_rescaling(network):
    """Return a copy with each factor on pixels inside the kernels that read them."""
    flat, calls = record(network)
    readers = readers_of(calls, flat.output)
    factors, gone = {}, set()

    def behind_flattening(call):
        """Return the calls that read an output, those of what flattens it in its place."""
        reader = only_reader(readers, call)
        flat_call = reader if reader and isinstance(reader.layer, layers.Flatten) else call
        return readers[id(flat_call.output)]

    for call in calls:
        after = behind_flattening(call)
        if is_a_factor(call.layer) and all(each and has_kernel(each.layer) for each in after):
            gone.add(call.layer.name)
            factors |= {each.layer.name: call.layer.scale for each in after}

    def change(call, args):
        if call.layer.name in gone:
            return args[0]
        if call.layer.name not in factors:
            return None
        copy = copy_of(call.layer)
        copy.kernel.assign(copy.kernel * factors[call.layer.name])
        return copy(*args)

    return rewrite(network, change)


def is_a_factor(layer):
    """Return whether a layer multiplies by one number."""
    return isinstance(layer, layers.Rescaling) and np.ndim(layer.scale) == 0 and not layer.offset


def has_kernel(layer):
    """Return whether a layer multiplies its input by a kernel."""
    return isinstance(layer, WITH_KERNEL)


def relu_first(network):
    """Return a copy with the ReLU that alone reads a max pool before that pool."""
    flat, calls = record(network)
    readers = readers_of(calls, flat.output)
    relus = {}
    for call in calls:
        reader = only_reader(readers, call)
        if isinstance(call.layer, MAX_POOLS) and reader and is_relu(reader.layer):
            relus[call.layer.name] = reader.layer
    moved = {relu.name for relu in relus.values()}

    def change(call, args):
        if call.layer.name in moved:
            return args[0]
        if call.layer.name in relus:
            return copy_of(call.layer)(copy_of(relus[call.layer.name])(*args))
        return None

    return rewrite(network, change)


def with_plain_kernels(network):
    """Return a copy whose norms are convolutions, and whose dense layers apply ReLU or nothing.

    Convolutions of one position that step over others follow what leaves those out.
    """

    def change(call, args):
        if skips_positions(call.layer):
            return on_kept_positions(call.layer, args[0])
        if isinstance(call.layer, NORMS) and len(call.output_shape) + 1 in PER_CHANNEL:
            return per_channel(call.layer, args[0])
        function = getattr(call.layer, "activation", None)
        if not isinstance(call.layer, WITH_KERNEL) or function in (
            None,
            activations.linear,
            activations.relu,
        ):
            return None
        config = {**call.layer.get_config(), "activation": None}
        linear = type(call.layer).from_config(config)
        outputs = linear(args[0])
        linear.set_weights(call.layer.get_weights())
        return layers.Activation(function, name=f"{call.layer.name}_{function.__name__}")(outputs)

    return rewrite(network, change)


def skips_positions(layer):
    """Return whether a convolution of images sees but some of the positions, one at a time."""
    one = isinstance(layer, Conv2D) and max(layer.kernel_size) == 1 < max(layer.strides)
    return one and layer.padding in ("same", "valid", "narrow")


def on_kept_positions(conv, x):
    """Return what a convolution that skips positions makes of `x`, without one that skips."""
    kept = PaddedShortcut(x.shape[-1], conv.strides, name=f"{conv.name}_positions")(x)
    dense = Conv2D.from_config({**conv.get_config(), "strides": 1})
    outputs = dense(kept)
    dense.set_weights(conv.get_weights())
    return outputs


def per_channel(norm, x):
    """Return what a normalization makes of `x`, by a convolution that sees one position."""
    scale, offset = affine(norm)
    kind = PER_CHANNEL[len(x.shape)]
    conv = kind(1, name=norm.name, trainable=norm.trainable)
    outputs = conv(x)
    conv.set_weights([scale.reshape(conv.kernel.shape), offset])
    return outputs
