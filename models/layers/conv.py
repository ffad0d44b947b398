"""Convolution: one bank of learned filters, the same at every position."""

from typing import Any

from keras import initializers, layers, ops, saving

from models.geometry import output_sizes
from models.layers.arguments import one_of, per_axis, positive_int


class Conv(layers.Layer):
    """Base of the convolutions. A subclass sets `rank`, the number of axes to slide over."""

    rank: int

    def __init__(
        self,
        filters,
        kernel_size,
        strides: int | tuple = 1,  # Typed, for a checker reads `1` as an int alone.
        padding="same",
        use_bias=True,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = positive_int(filters, "filters")
        self.kernel_size = per_axis(kernel_size, self.rank, "kernel_size")
        self.strides = per_axis(strides, self.rank, "strides")
        self.padding = one_of(padding, ("same", "valid"), "padding")
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)
        self.input_spec = layers.InputSpec(ndim=self.rank + 2)

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # Fails early where the filter does not fit.
        channels = input_shape[-1]
        self.input_spec = layers.InputSpec(ndim=self.rank + 2, axes={-1: channels})
        self.kernel = self.add_weight(
            name="kernel",
            shape=(*self.kernel_size, channels, self.filters),
            initializer=self.kernel_initializer,
        )
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=(self.filters,), initializer="zeros")

    def call(self, inputs):
        # Keras declares `strides` an int, and documents it as an int or a tuple.
        strides: Any = self.strides
        outputs = ops.conv(inputs, self.kernel, strides, self.padding, data_format="channels_last")
        return ops.add(outputs, self.bias) if self.use_bias else outputs

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        sizes = output_sizes(sizes, self.kernel_size, self.strides, self.padding)
        return (batch, *sizes, self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }


@saving.register_keras_serializable(package="models")
class Conv2D(Conv):
    """Slides learned filters over the height and width of an image.

    Each output is the cross-correlation of a filter with the window under it, over all input
    channels, plus the filter's bias. Kernels start from a normal distribution of variance
    `2 / inputs`, which keeps the signal's size through layers with ReLU.

    Args:
        filters: int. Number of filters, which is the number of output channels.
        kernel_size: int or 2 ints. Height and width of each filter.
        strides: int or 2 ints. Step of the filter along height and width.
        padding: `"same"` (output size is `ceil(size / stride)`) or `"valid"` (no padding).
        use_bias: bool. Whether to add one learned offset per filter. Set to `False` when a
            normalization layer follows.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Example:

    >>> Conv2D(8, kernel_size=3, strides=2)(np.ones((1, 28, 28, 1))).shape
    (1, 14, 14, 8)

    Reference:
        LeCun et al., 1998. Kernels: He et al., 2015. https://arxiv.org/abs/1502.01852
    """

    rank = 2
