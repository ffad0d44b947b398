"""Pooling: one number for each window of a map, or for the whole map."""

from collections.abc import Callable

from keras import layers, ops, saving

from models.layers.window import Window


class Pool(Window):
    """Base of the pools. A subclass sets `rank` and how it reduces a window: `slide`."""

    window_name = "pool_size"

    def __init__(self, pool_size=2, strides=None, padding="valid", **kwargs):
        super().__init__(pool_size, pool_size if strides is None else strides, padding, **kwargs)

    @property
    def pool_size(self):
        """Size of the window, by its usual name."""
        return self.window

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # Fails early where the window does not fit.

    def slide(self, inputs):
        inputs, padding = self.padded(inputs)
        return self.pool(inputs, self.window, self.strides, padding, data_format="channels_last")

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *self.compute_output_sizes(sizes), channels)


@saving.register_keras_serializable(package="models")
class MaxPool2D(Pool):
    """Keeps the largest value of each window, so that small shifts do not change the answer.

    The gradient goes to the position of that value alone.

    Args:
        pool_size: int or 2 ints. Height and width of the window.
        strides: int or 2 ints. Step of the window; by default its size, so windows do not overlap.
        padding: `"same"` (output size is `ceil(size / stride)`) or `"valid"` (no padding).

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
    pool = staticmethod(ops.max_pool)


@saving.register_keras_serializable(package="models")
class AveragePool2D(Pool):
    """Averages each window. The gradient is shared equally among the window's positions.

    Args:
        pool_size: int or 2 ints. Height and width of the window.
        strides: int or 2 ints. Step of the window; by default its size, so windows do not overlap.
        padding: `"same"` (output size is `ceil(size / stride)`; padding is not averaged) or
            `"valid"` (no padding).

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
    pool = staticmethod(ops.average_pool)


class GlobalPool(layers.Layer):
    """Base of the global pools. A subclass sets `rank` and `reduce`, the op over a whole map."""

    rank: int
    reduce: Callable

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.input_spec = layers.InputSpec(ndim=self.rank + 2)

    def call(self, inputs):
        return self.reduce(inputs, axis=tuple(range(1, self.rank + 1)))

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])


@saving.register_keras_serializable(package="models")
class GlobalMaxPool2D(GlobalPool):
    """Keeps the largest value of each channel, wherever in the image it is.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalMaxPool2D()(np.ones((1, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Oquab et al., 2015.
    """

    rank = 2
    reduce = staticmethod(ops.max)


@saving.register_keras_serializable(package="models")
class GlobalAveragePool2D(GlobalPool):
    """Averages each channel over the whole image, in place of a flatten and a dense layer.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalAveragePool2D()(np.ones((1, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Lin et al., 2013. https://arxiv.org/abs/1312.4400
    """

    rank = 2
    reduce = staticmethod(ops.mean)
