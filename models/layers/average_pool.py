"""Average pooling: the mean of each window."""

from keras import ops, saving

from models import kernels
from models.layers.masking import hide, visible
from models.layers.pool import Pool


class AveragePool(Pool):
    """Base of the average pools. A subclass sets `rank`."""

    def slide(self, inputs):
        if isinstance(self.padding, str) and self.padding != "wide":
            return self.mean(inputs)
        sizes = ops.shape(inputs)[1:-1]
        return self.average(inputs, ops.ones((1, *sizes, 1), inputs.dtype))

    def slide_masked(self, inputs, mask):
        return self.average(hide(inputs, mask), visible(inputs, mask))

    def average(self, inputs, real):
        """Average over the positions where `real` is 1. Where it is 0, so are `inputs`."""
        share = self.mean(real)
        return self.mean(inputs) / ops.where(share > 0, share, 1)

    def mean(self, inputs):
        """Average each window, with the zeros of explicit padding."""
        inputs, padding = self.padded(inputs)
        return kernels.pool(ops.average_pool, inputs, self.window, self.strides, padding)


@saving.register_keras_serializable(package="models")
class AveragePool1D(AveragePool):
    """Averages each window of a sequence.

    Args:
        pool_size: int. Length of the window.
        strides: int. Step of the window; by default its size, so windows do not overlap.
        padding: as in `AveragePool2D`, for one axis. What a mask hides is padding too.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, channels)`

    Example:

    >>> AveragePool1D()(np.ones((1, 24, 20))).shape
    (1, 12, 20)

    Reference:
        LeCun et al., 1998.
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class AveragePool2D(AveragePool):
    """Averages each window. The gradient is shared equally among the window's positions.

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

    >>> AveragePool2D()(np.ones((1, 24, 24, 20))).shape
    (1, 12, 12, 20)

    Reference:
        LeCun et al., 1998.
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class AveragePool3D(AveragePool):
    """Averages each window of a volume.

    Args:
        pool_size: int or 3 ints. Depth, height and width of the window.
        strides: int or 3 ints. Step of the window; by default its size, so windows do not overlap.
        padding: as in `AveragePool2D`, for three axes.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, channels)`

    Example:

    >>> AveragePool3D()(np.ones((1, 8, 24, 24, 20))).shape
    (1, 4, 12, 12, 20)

    Reference:
        LeCun et al., 1998.
    """

    rank = 3
