"""Locally connected layers: a convolution whose every position has filters of its own."""

import math

from keras import initializers, layers, saving

from models import kernels
from models.layers.arguments import positive_int
from models.layers.window import Window


class LocallyConnected(Window):
    """Base of the locally connected layers. A subclass sets `rank`."""

    window_name = "kernel_size"

    def __init__(
        self,
        filters,
        kernel_size,
        strides: int | tuple = 1,
        padding="valid",
        use_bias=True,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(kernel_size, strides, padding, **kwargs)
        self.filters = positive_int(filters, "filters")
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)

    @property
    def kernel_size(self):
        """Size of each filter, another name for the window's."""
        return self.window

    def build(self, input_shape):
        if None in input_shape[1:]:
            raise ValueError(
                "`input_shape` must have known sizes, for each position has filters of its own. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        _, *positions, filters = self.compute_output_shape(input_shape)
        sizes = dict(enumerate(input_shape[1:], start=1))
        self.input_spec = layers.InputSpec(ndim=self.rank + 2, axes=sizes)
        fan_in = math.prod(self.window) * input_shape[-1]
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*positions, fan_in, filters),
            initializer=self.kernel_initializer,
        )
        if self.use_bias:
            shape = (*positions, filters)
            self.bias = self.add_weight(name="bias", shape=shape, initializer="zeros")

    def slide(self, inputs):
        outputs = kernels.local_conv(
            self.padded_by_pairs(inputs), self.kernel, self.window, self.strides
        )
        return outputs + self.bias if self.use_bias else outputs

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *self.compute_output_sizes(sizes), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@saving.register_keras_serializable(package="models")
class LocallyConnected1D(LocallyConnected):
    """Looks at each place of a sequence through filters of its own.

    Args:
        filters: int. Number of filters at each position, which is the number of output channels.
        kernel_size: int. Length of each filter.
        strides, padding: as in `Conv1D`.
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
        strides, padding: as in `Conv2D`.
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
