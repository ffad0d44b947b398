"""Which backend runs, and cutting tensors in the way that suits it."""

import functools

import keras
from keras import ops


def on_tensorflow():
    """Return whether TensorFlow runs what Keras says."""
    return keras.backend.backend() == "tensorflow"


@functools.cache
def has_gpu():
    """Return whether TensorFlow has a GPU to run on."""
    import tensorflow as tf

    return bool(tf.config.list_physical_devices("GPU"))


def cut(x, bounds):
    """Return the part of `x` from a start to an end, or `None`, on each of the first axes.

    On TensorFlow the gradient of `x[start:end]` is several times slower.
    """
    if not on_tensorflow():
        return x[tuple(slice(*each) for each in bounds)]
    import tensorflow as tf

    bounds = [*bounds, *[(0, None)] * (len(x.shape) - len(bounds))]
    sizes = [-1 if end is None else end - start for start, end in bounds]
    part = tf.slice(x, [start for start, _ in bounds], sizes)
    # Where one size is a tensor, TensorFlow forgets the others.
    axes = zip(x.shape, bounds, strict=True)
    part.set_shape([size if bound == (0, None) else None for size, bound in axes])
    return part


def every(x, axis, start, step, count):
    """Return `count` positions of an `axis` of `x`: `start`, and on by `step`."""
    if step == 1:
        return cut(x, [*[(0, None)] * axis, (start, start + count)])
    return ops.take(x, ops.arange(start, start + step * count, step), axis)
