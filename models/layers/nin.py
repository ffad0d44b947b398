"""The NiN block: a convolution, and a small dense network at every position."""

from keras import saving

from models.layers.arguments import padding_of, per_axis
from models.layers.block import ConvBlock, shape_through, through


@saving.register_keras_serializable(package="models")
class NiNBlock(ConvBlock):
    """Applies a convolution, then two of 1x1: a dense network slid over the image.

    Each convolution is followed by ReLU.

    Args:
        filters: int or 3 ints. Number of filters of the three convolutions; the last is the number
            of output channels.
        kernel_size: int or 2 ints. Height and width of the first convolution's filters.
        strides: int or 2 ints. Step of the first convolution along height and width.
        padding: padding of the first convolution, as in `Conv2D`.
        batch_norm: bool. Whether batch norm, in place of a bias, stands before each ReLU.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Example:

    >>> NiNBlock(96, kernel_size=11, strides=4, padding="valid")(np.ones((1, 224, 224, 3))).shape
    (1, 54, 54, 96)

    Reference:
        Lin et al., 2013. https://arxiv.org/abs/1312.4400
    """

    def __init__(
        self,
        filters: int | tuple,
        kernel_size: int | tuple,
        strides: int | tuple = 1,
        padding="same",
        batch_norm=True,
        **kwargs,
    ):
        super().__init__(batch_norm, **kwargs)
        self.filters = per_axis(filters, 3, "filters")
        self.kernel_size = per_axis(kernel_size, 2, "kernel_size")
        self.strides = per_axis(strides, 2, "strides")
        self.padding = padding_of(padding, 2)
        first, second, third = self.filters
        window = {"strides": self.strides, "padding": self.padding}
        self.chain = [
            *self.conv_relu(first, self.kernel_size, name=1, **window),
            *self.conv_relu(second, 1, name=2),
            *self.conv_relu(third, 1, name=3),
        ]

    def call(self, inputs):
        return through(self.chain, inputs)

    def compute_output_shape(self, input_shape):
        return shape_through(self.chain, input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "strides": self.strides,
            "padding": self.padding,
        }
