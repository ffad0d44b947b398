"""Pools; those of volumes plane by plane."""

import keras
from keras import ops

from models.kernels.backend import on_tensorflow


def pool(reduce, x, window, strides, padding):
    """Apply `reduce`, which is `ops.max_pool` or `ops.average_pool`, to each window.

    The other arguments are those of `conv`. `"same"` padding is no part of any maximum or mean.
    """
    if on_tensorflow():
        if len(window) == 3:
            return pool_planes(reduce, x, window, strides, padding)
        return reduce(x, window, strides, padding, "channels_last")
    # JAX adds up a window in the type of `x`, and bfloat16 cannot count beyond 256.
    whole = ops.cast(x, keras.backend.result_type(x.dtype, "float32"))
    return ops.cast(reduce(whole, window, strides, padding, "channels_last"), x.dtype)


def stepped(x, strides):
    """Return every `stride`th position, from the first, of each axis between batch and channels.

    TensorFlow's slice with steps takes ten times as long as a pool that sees one position, and so
    does its gradient.
    """
    if not on_tensorflow() or max(strides) == 1:
        return x[(slice(None), *(slice(None, None, stride) for stride in strides))]
    return pool(ops.average_pool, x, (1,) * len(strides), tuple(strides), "valid")


def pool_planes(reduce, x, window, strides, padding):
    """Pool a volume's planes, then across them.

    TensorFlow's kernels for volumes send a maximum's gradient to all that equal it, take no
    float16, and have no likes in TFLite.
    """
    _, depth, height, width, channels = ops.shape(x)
    planes = ops.reshape(x, (-1, height, width, channels))
    planes = reduce(planes, window[1:], strides[1:], padding, "channels_last")
    _, height, width, _ = ops.shape(planes)
    columns = ops.reshape(planes, (-1, depth, height * width, channels))
    columns = reduce(columns, (window[0], 1), (strides[0], 1), padding, "channels_last")
    return ops.reshape(columns, (-1, ops.shape(columns)[1], height, width, channels))
