"""What each layer of a network costs and sees: sums on shapes, without computing."""

import math
from dataclasses import dataclass

from keras import layers

from models.kinds import NORMS, STOCK_CONVOLUTIONS, STOCK_TRANSPOSED, WITH_KERNEL
from models.layers import ConvTranspose, LocallyConnected
from models.receptive_field import fields_of
from models.rewrite import record
from models.routes import refusals_of

BYTES_PER_NUMBER = 4


@dataclass(frozen=True)
class Row:
    """One call of a layer.

    Attributes:
        layer: str. Name of the layer.
        kind: str. Name of its class.
        output_shape: ints, the batch left out; `None` for a size that is not known.
        fields: a `Field` for each axis of the input.
        parameters: int. Weights, biases and statistics; 0 where an earlier call has counted them.
        unshared: int. Weights if every position had its own, without biases.
        dense: int. Weights if every output saw every input, without biases.
        multiply_adds: int. Products with a kernel for one example, padding included.
        activation_bytes: int. Memory of the output for one example in float32.
        refusals: dict from each route on which the layer cannot ship to the reason.

    `None` stands for what depends on a size that is not known, and for what is not known here of a
    layer of another kind, with weights, than networks of this project have. A layer without a
    kernel has 0 weights and products of each kind.
    """

    layer: str
    kind: str
    output_shape: tuple
    fields: tuple
    parameters: int
    unshared: int | None
    dense: int | None
    multiply_adds: int | None
    activation_bytes: int | None
    refusals: dict


def inspect_network(network):
    """Return a `Row` for each call of a layer, in the order in which they run.

    Args:
        network: functional `keras.Model`; its blocks are opened.

    Example:

    >>> network = build("lenet", (28, 28, 1), num_classes=10)
    >>> inspect_network(network)[1].fields[0]
    Field(size=5, stride=1, offset=-2)
    """
    flat, calls = record(network)
    fields, counted = fields_of(flat.inputs, calls), set()
    rows = []
    for call in calls:
        if isinstance(call.layer, layers.Layer):
            rows.append(row(call, fields[id(call.output)], call.layer.name in counted))
            counted.add(call.layer.name)
    return rows


def row(call, fields, counted):
    """Return the `Row` of a call; `counted` where its weights already are."""
    layer, outputs = call.layer, product(call.output_shape)
    unshared = unshared_weights(call)
    return Row(
        layer=layer.name,
        kind=type(layer).__name__,
        output_shape=call.output_shape,
        fields=fields,
        parameters=0 if counted else layer.count_params(),
        unshared=unshared,
        dense=dense_weights(call),
        multiply_adds=unshared,  # Each weight of the unshared layer is used once.
        activation_bytes=None if outputs is None else outputs * BYTES_PER_NUMBER,
        refusals=refusals_of(layer),
    )


def has_kernel(layer):
    """Return whether a layer is known to multiply its input by a kernel."""
    return isinstance(layer, (*WITH_KERNEL, *STOCK_CONVOLUTIONS))


def without_kernel(layer):
    """Return what each figure of a layer without a known kernel is: 0, or `None` for unknown."""
    is_free = not layer.weights or isinstance(layer, (*NORMS, layers.Embedding))
    return 0 if is_free else None


def unshared_weights(call):
    """Return how many weights the call's layer would have if every position had its own."""
    layer = call.layer
    if not has_kernel(layer):
        return without_kernel(layer)
    if isinstance(layer, LocallyConnected):
        return math.prod(layer.kernel.shape)
    is_transposed = isinstance(layer, (ConvTranspose, *STOCK_TRANSPOSED))
    positions = product((call.input_shape if is_transposed else call.output_shape)[:-1])
    return None if positions is None else positions * math.prod(layer.kernel.shape)


def dense_weights(call):
    """Return how many weights a dense layer between the same input and output would have."""
    if not has_kernel(call.layer):
        return without_kernel(call.layer)
    return product((*call.input_shape, *call.output_shape))


def product(sizes):
    """Return the product of `sizes`, or `None` where one is not known."""
    return None if None in sizes else math.prod(sizes)
