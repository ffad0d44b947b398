"""Receptive fields: which part of the input each position of a map depends on.

Reference: Araujo et al., 2019. https://distill.pub/2019/computing-receptive-fields
"""

from fractions import Fraction
from typing import Any, NamedTuple

import numpy as np
from keras import layers, tree

from models.geometry import padding_pairs, transposed_padding_pairs
from models.kinds import NORMS
from models.layers import ConvTranspose, PaddedShortcut
from models.layers.window import Window

# Layers that see one position alone, or the same position of several maps.
POINTWISE = (
    *NORMS,
    layers.Activation,
    layers.Add,
    layers.Dropout,
    layers.ELU,
    layers.Embedding,
    layers.Identity,
    layers.LeakyReLU,
    layers.Maximum,
    layers.Multiply,
    layers.ReLU,
    layers.Rescaling,
    layers.Subtract,
)
CROPPINGS = (layers.Cropping1D, layers.Cropping2D, layers.Cropping3D)


class Field(NamedTuple):
    """What the positions along one axis see of the input.

    Position `p` sees no more than the pixels from `offset + p * stride` on, `size` of them. Padding
    counts, so a field can begin before the input and end behind it. A field of stride 0 is the
    whole axis, at every position; its size is `None` where the input's is not known. Behind a
    transposed convolution all three can be fractions; a pixel is an int between the two ends.
    """

    size: Any
    stride: Any = 0
    offset: Any = 0

    def pixels(self, position):
        """Return the first and the last pixel of a position, as they come out."""
        first = self.offset + position * self.stride
        return first, first + self.size - 1


PIXEL = Field(size=1, stride=1, offset=0)


def slid(field, window, stride, before):
    """Return the field of a window that slides over positions of `field`.

    Args:
        field: `Field`.
        window: int. Length that the window covers.
        stride: int. Step of the window.
        before: int. Zeros before the axis; `None` where they depend on a size that is not known.

    Example:

    >>> slid(PIXEL, window=5, stride=1, before=0)
    Field(size=5, stride=1, offset=0)
    """
    if not field.stride:
        return field
    if before is None:
        return Field(None)
    size = field.size + (window - 1) * field.stride
    return plain(Field(size, field.stride * stride, field.offset - before * field.stride))


def spread(field, window, stride, before):
    """Return the field of positions that a transposed convolution makes out of those of `field`.

    Args:
        field: `Field`.
        window: int. Length that each position is spread over.
        stride: int. Distance between the windows of neighbours.
        before: int. Positions cut off before the axis.

    Example:

    >>> spread(PIXEL, window=3, stride=1, before=1)
    Field(size=3, stride=1, offset=-1)
    """
    if not field.stride:
        return field
    step = Fraction(field.stride) / stride
    offset = field.offset - (window - 1 - before) * step
    return plain(Field(field.size + (window - 1) * step, step, offset))


def plain(field):
    """Return `field` with ints where its fractions are ints."""
    return Field(*(int(each) if each == int(each) else each for each in field))


def union(fields, whole):
    """Return the least field that holds all `fields`; the `whole` axis where they move apart."""
    if len({field.stride for field in fields}) > 1:
        return whole
    if not fields[0].stride:
        return fields[0]
    first = min(field.offset for field in fields)
    end = max(field.offset + field.size for field in fields)
    return plain(Field(end - first, fields[0].stride, first))


def axes_of(shape):
    """Return the sizes of the axes that positions have, from a shape without the batch."""
    return shape[:-1] if len(shape) > 1 else shape


def fields_of(inputs, calls):
    """Return the fields of every tensor, an axis of the input each, by the tensor's `id`.

    A layer that is not known here counts as seeing everything.

    Args:
        inputs: tensors that networks start from, alike in shape.
        calls: as from `models.rewrite.record`.
    """
    axes = axes_of(inputs[0].shape[1:])
    wholes = tuple(Field(size) for size in axes)
    fields = {id(each): (PIXEL,) * len(axes) for each in inputs}
    for call in calls:
        sources = [fields.get(id(each), wholes) for each in call.inputs]
        merged = tuple(map(union, zip(*sources, strict=True), wholes))
        found = through(call, merged) or wholes
        fields.update((id(each), found) for each in tree.flatten(call.outputs))
    return fields


def through(call, fields):
    """Return the fields behind a call, or `None` where each position sees everything."""
    layer, sizes = call.layer, axes_of(call.input_shape)
    if isinstance(layer, ConvTranspose):
        pairs = transposed_padding_pairs(layer.window, layer.strides, layer.padding)
        return along(spread, fields, layer.window, layer.strides, pairs)
    if isinstance(layer, Window):
        pairs = padding_pairs(sizes, layer.extents, layer.strides, layer.padding)
        return along(slid, fields, layer.extents, layer.strides, pairs)
    if isinstance(layer, PaddedShortcut):
        ones, nothing = (1,) * layer.rank, ((0, 0),) * layer.rank
        return along(slid, fields, ones, layer.strides, nothing)
    if isinstance(layer, CROPPINGS):
        # A crop is a window of one position, and less than no padding.
        ones = (1,) * len(sizes)
        cuts = np.reshape(layer.cropping, (-1, 2)).tolist()
        return along(slid, fields, ones, ones, [(-before, -after) for before, after in cuts])
    return fields if is_pointwise(layer, call.input_shape) else None


def along(step, fields, windows, strides, pairs):
    """Return `step` for each axis; `None` where the axes are no longer those of the input."""
    if len(fields) != len(windows):
        return None
    befores = [None if pair is None else pair[0] for pair in pairs]
    return tuple(map(step, fields, windows, strides, befores))


def is_pointwise(layer, input_shape):
    """Return whether a layer sees one position alone of an input of this shape."""
    if isinstance(layer, layers.Dense):
        return len(input_shape) > 1
    if isinstance(layer, layers.Concatenate | layers.Softmax):
        return layer.axis in (-1, len(input_shape))
    return isinstance(layer, POINTWISE)
