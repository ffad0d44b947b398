"""Locally connected layers: a convolution whose every position has filters of its own."""

import math

from keras import layers, ops, saving

from models import kernels
from models.layers.arguments import positive_int
from models.layers.filtered import Filtered


class LocallyConnected(Filtered):
    """Base of the locally connected layers. A subclass sets `rank`."""

    def __init__(
        self,
        filters,
        kernel_size,
        strides: int | tuple = 1,
        padding: str | int | tuple = "valid",
        use_bias=True,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(kernel_size, strides, padding, use_bias, kernel_initializer, **kwargs)
        self.filters = positive_int(filters, "filters")

    def build(self, input_shape):
        if None in input_shape[1:]:
            raise ValueError(
                "`input_shape` must have known sizes, for each position has filters of its own. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        _, *positions, filters = self.compute_output_shape(input_shape)
        kernel = (*positions, math.prod(self.window) * input_shape[-1], filters)
        bias = (*positions, filters)
        self.make_weights(input_shape, kernel, bias, initializer=self.first_kernel)
        sizes = dict(enumerate(input_shape[1:], start=1))
        self.input_spec = layers.InputSpec(ndim=self.rank + 2, axes=sizes)

    def first_kernel(self, shape, dtype=None):
        """Return the initializer's kernel for the inputs of one position."""
        *positions, inputs, filters = shape
        kernel = self.kernel_initializer((inputs, math.prod(positions) * filters), dtype)
        return ops.moveaxis(ops.reshape(kernel, (inputs, *positions, filters)), 0, -2)

    def apply_filters(self, inputs):
        inputs = self.padded_by_pairs(inputs)
        return kernels.local_conv(inputs, self.kernel, self.window, self.strides)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *self.compute_output_sizes(sizes), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@saving.register_keras_serializable(package="models")
class LocallyConnected1D(LocallyConnected):
    """Looks at each place of a sequence through filters of its own.

    Args:
        filters: int. Number of filters at each position, which is the number of output channels.
        kernel_size: int. Length of each filter.
        strides, padding: as in `Conv1D`, but `"valid"` by default.
        use_bias: bool. Whether to add one learned offset per position and filter.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, steps, channels)`, with known sizes

    Output shape:
        `(batch, new_steps, filters)`

    Example:

    >>> LocallyConnected1D(8, kernel_size=3)(np.ones((1, 10, 4))).shape
    (1, 8, 8)

    Reference:
        LeCun, 1989.
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class LocallyConnected2D(LocallyConnected):
    """Looks at each place of an image through filters of its own.

    Args:
        filters: int. Number of filters at each position, which is the number of output channels.
        kernel_size: int or 2 ints. Height and width of each filter.
        strides, padding: as in `Conv2D`, but `"valid"` by default.
        use_bias: bool. Whether to add one learned offset per position and filter.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, height, width, channels)`, with known sizes

    Output shape:
        `(batch, new_height, new_width, filters)`

    Example:

    >>> LocallyConnected2D(100, kernel_size=5)(np.ones((1, 32, 32, 3))).shape
    (1, 28, 28, 100)

    Reference:
        LeCun, 1989. Taigman et al., 2014, DeepFace.
    """

    rank = 2
