"""Max pooling: the largest value of each window."""

from keras import ops, saving

from models import kernels
from models.layers.masking import sink, visible
from models.layers.pool import Pool


class MaxPool(Pool):
    """Base of the max pools. A subclass sets `rank`."""

    def slide_masked(self, inputs, mask):
        sees = self.slide(visible(inputs, mask)) > 0
        return ops.where(sees, self.slide(sink(inputs, mask)), 0)

    def slide(self, inputs):
        inputs, padding = self.padded(inputs)
        return kernels.pool(ops.max_pool, inputs, self.window, self.strides, padding)

    def padded_by_pairs(self, inputs):
        # By copies of both ends: a window that sees a copy sees its original. The lowest number
        # there is would stretch the ranges of an int8 network until nothing else is left.
        for axis, (before, after) in enumerate(self.pairs(inputs), start=1):
            inputs = with_ends_repeated(inputs, axis, before, after)
        return inputs


def with_ends_repeated(x, axis, before, after):
    """Return `x` with copies of the first and of the last position of `axis` around it."""
    if not before and not after:
        return x
    whole = (slice(None),) * axis
    first, last = x[(*whole, slice(0, 1))], x[(*whole, slice(-1, None))]
    return ops.concatenate([first] * before + [x] + [last] * after, axis)


@saving.register_keras_serializable(package="models")
class MaxPool1D(MaxPool):
    """Keeps the largest value of each window of a sequence.

    Args:
        pool_size: int. Length of the window.
        strides: int. Step of the window; by default its size, so windows do not overlap.
        padding: as in `MaxPool2D`, for one axis. What a mask hides is padding too.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, channels)`

    Example:

    >>> MaxPool1D()(np.ones((1, 24, 20))).shape
    (1, 12, 20)

    Reference:
        Ranzato et al., 2007.
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class MaxPool2D(MaxPool):
    """Keeps the largest value of each window, so that small shifts do not change the answer.

    The gradient goes to the position of that value alone.

    Args:
        pool_size: int or 2 ints. Height and width of the window.
        strides: int or 2 ints. Step of the window; by default its size, so windows do not overlap.
        padding: `"valid"` or `"narrow"` (the default; no padding), `"same"` (output size is
            `ceil(size / stride)`), `"wide"` (every partial overlap), an int, or for each axis an
            int or a pair: the positions before and after. They never count.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, channels)`

    Example:

    >>> MaxPool2D()(np.ones((1, 24, 24, 20))).shape
    (1, 12, 12, 20)

    Reference:
        Ranzato et al., 2007.
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class MaxPool3D(MaxPool):
    """Keeps the largest value of each window of a volume.

    Args:
        pool_size: int or 3 ints. Depth, height and width of the window.
        strides: int or 3 ints. Step of the window; by default its size, so windows do not overlap.
        padding: as in `MaxPool2D`, for three axes.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, channels)`

    Example:

    >>> MaxPool3D()(np.ones((1, 8, 24, 24, 20))).shape
    (1, 4, 12, 12, 20)

    Reference:
        Ranzato et al., 2007.
    """

    rank = 3
