"""How maps move with the image, and how little the answer does: measured, not assumed.

A convolution is equivariant: of a moved image it makes the moved map. Pools, and whatever looks at
a map as a whole, make the answer invariant: a small move does not change it.
"""

import itertools
import math
from typing import NamedTuple

import keras
import numpy as np
from keras import tree

from models.receptive_field import fields_of
from models.rewrite import record

BATCH_SIZE = 100


class Invariance(NamedTuple):
    """What is left of the answers when images move by 0, 1, 2, ... pixels.

    Attributes:
        agreement: array. Share of answers whose most probable class stays.
        overlap: array. What the probabilities before and after have in common, 1 where equal.
    """

    agreement: np.ndarray
    overlap: np.ndarray


def shifted(x, axis, distance):
    """Return `x` moved along an axis by `distance` positions; zeros fill the edge.

    Example:

    >>> shifted(np.array([1, 2, 3]), axis=0, distance=1)
    array([0, 1, 2])
    """
    size = x.shape[axis]
    distance = min(max(distance, -size), size)
    kept = np.arange(max(-distance, 0), size - max(distance, 0))
    filled = np.zeros_like(x)
    np.moveaxis(filled, axis, 0)[kept + distance] = np.moveaxis(x, axis, 0)[kept]
    return filled


def moves(rank, distance):
    """Return each axis of `rank` with each step of `distance` along it, as pairs.

    Example:

    >>> moves(rank=2, distance=3)
    [(1, -3), (1, 3), (2, -3), (2, 3)]
    """
    return list(itertools.product(range(1, rank + 1), sorted({-distance, distance})))


def invariance(network, images, most):
    """Return the `Invariance` of a classifier for moves of up to `most` pixels.

    Each distance is the mean over all images, axes and directions.

    Args:
        network: functional `keras.Model` that answers `{"logits": (batch, classes)}`.
        images: array `(batch, *sizes, channels)`.
        most: int. Largest distance.
    """
    before = probabilities(network, images)
    same, common = [], []
    for distance in range(most + 1):
        ways = [shifted(images, axis, step) for axis, step in moves(images.ndim - 2, distance)]
        after = probabilities(network, np.concatenate(ways)).reshape(-1, *before.shape)
        same.append(float(np.mean(after.argmax(axis=-1) == before.argmax(axis=-1))))
        common.append(float(np.mean(np.minimum(after, before).sum(axis=-1))))
    return Invariance(np.array(same), np.array(common))


def probabilities(network, images):
    """Return the softmax of a network's logits."""
    logits = answers(network, images)["logits"]
    powers = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return powers / powers.sum(axis=-1, keepdims=True)


def answers(network, images):
    """Return what a network makes of images in inference, batch by batch."""
    starts = range(0, len(images), BATCH_SIZE)
    parts = [network(images[start : start + BATCH_SIZE], training=False) for start in starts]
    return tree.map_structure(lambda *each: np.concatenate([*map(np.asarray, each)]), *parts)


def equivariance(layer, images, most):
    """Return how far maps are from moving as the images do, by 0, 1, 2, ... pixels.

    Each number is the mean difference between the maps of moved images and the moved maps, as a
    share of the maps' mean size: 0 where they are equal. Images that move by `distance` move a map
    by `distance / stride` positions, here by the nearest whole number. Positions that only one of
    the two maps has are left out; those that see an edge of the image are not.

    Args:
        layer: layer, or functional `keras.Model`, that makes maps of images, one for each; a dict
            of one output, such as `{"logits": ...}`, will do.
        images: array `(batch, *sizes, channels)`; or tokens `(batch, length)`.
        most: int. Largest distance.
    """
    network = as_network(layer, images.shape[1:])
    strides = strides_of(network)
    before = maps(network, images)
    errors = []
    for distance in range(most + 1):
        difference = size = 0.0
        for axis, step in moves(len(strides), distance):
            after = maps(network, shifted(images, axis, step))
            nearest = math.floor(distance / strides[axis - 1] + 0.5)
            steps = nearest if step > 0 else -nearest
            moved = inside(shifted(before, axis, steps), axis, steps)
            found = inside(after, axis, steps)
            difference += np.abs(found - moved).sum()
            size += np.abs(moved).sum()
        errors.append(difference / size)
    return np.array(errors)


def maps(network, images):
    """Return the one output of a network, whatever it is called."""
    (found,) = tree.flatten(answers(network, images))
    return found


def as_network(layer, input_shape):
    """Return a layer as a network; a network as it is."""
    if isinstance(layer, keras.Model):
        return layer
    inputs = keras.Input(input_shape)
    return keras.Model(inputs, layer(inputs))


def strides_of(network):
    """Return how many pixels lie between the positions of a network's maps, for each axis."""
    flat, calls = record(network)
    fields = fields_of(flat.inputs, calls)
    strides = [field.stride for output in flat.outputs for field in fields[id(output)]]
    if 0 in strides or len(flat.outputs) > 1:
        raise ValueError(
            "`layer` must make one output, maps whose positions see different places. "
            f"Received: layer={network.name}, with {len(flat.outputs)} outputs, strides={strides}"
        )
    return strides


def inside(x, axis, steps):
    """Return `x` without the edge that a move by `steps` fills."""
    size = x.shape[axis]
    return x.take(range(max(steps, 0), size + min(steps, 0)), axis)
