"""L2 pooling: the root of the sum of squares of each window."""

import math

import keras
from keras import ops, saving

from models import kernels
from models.layers.pool import Pool

# The least normal float32, and its root, which is exact.
TINY, ROOT_OF_TINY = 2.0**-126, 2.0**-63


class L2Pool(Pool):
    """Base of the L2 pools. A subclass sets `rank`."""

    def slide(self, inputs):
        squares = square(self.padded_by_pairs(inputs))
        mean = kernels.pool(ops.average_pool, squares, self.window, self.strides, "valid")
        return ops.cast(root(mean * math.prod(self.window)), inputs.dtype)


def square(x):
    """Return the squares of `x`, in float32 where those would not fit into a smaller type."""
    return ops.square(ops.cast(x, keras.backend.result_type(x.dtype, "float32")))


def root(x):
    """Return the square root of `x`, whose gradient is infinite at 0, but here finite."""
    # Two sums are half the price of two choices, and change nothing beyond the 19th decimal.
    return ops.sqrt(x + TINY) - ROOT_OF_TINY


@saving.register_keras_serializable(package="models")
class L2Pool1D(L2Pool):
    """Takes the root of the sum of squares of each window of a sequence.

    Args:
        pool_size: int. Length of the window.
        strides: int. Step of the window; by default its size, so windows do not overlap.
        padding: as in `L2Pool2D`, for one axis. What a mask hides is padding too.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, channels)`

    Example:

    >>> L2Pool1D()(np.ones((1, 24, 20))).shape
    (1, 12, 20)

    Reference:
        Hyvärinen and Köster, 2007. Sermanet et al., 2012. https://arxiv.org/abs/1204.3968
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class L2Pool2D(L2Pool):
    """Takes the root of the sum of squares of each window: its length as a vector.

    The sum grows with the window, as no mean would. The gradient of a window of zeros is 0.

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

    >>> L2Pool2D()(np.ones((1, 24, 24, 20))).shape
    (1, 12, 12, 20)

    Reference:
        Hyvärinen and Köster, 2007. Sermanet et al., 2012. https://arxiv.org/abs/1204.3968
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class L2Pool3D(L2Pool):
    """Takes the root of the sum of squares of each window of a volume.

    Args:
        pool_size: int or 3 ints. Depth, height and width of the window.
        strides: int or 3 ints. Step of the window; by default its size, so windows do not overlap.
        padding: as in `L2Pool2D`, for three axes.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, channels)`

    Example:

    >>> L2Pool3D()(np.ones((1, 8, 24, 24, 20))).shape
    (1, 4, 12, 12, 20)

    Reference:
        Hyvärinen and Köster, 2007. Sermanet et al., 2012. https://arxiv.org/abs/1204.3968
    """

    rank = 3
