"""Depthwise convolution: each channel has filters of its own."""

from keras import ops, saving

from models import kernels
from models.layers.arguments import per_axis, positive_int
from models.layers.filtered import Filtered


class DepthwiseConv(Filtered):
    """Base of the depthwise convolutions. A subclass sets `rank`."""

    def __init__(
        self,
        kernel_size,
        strides: int | tuple = 1,
        padding: str | int | tuple = "same",
        depth_multiplier=1,
        dilation_rate: int | tuple = 1,
        use_bias=True,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(kernel_size, strides, padding, use_bias, kernel_initializer, **kwargs)
        self.dilation_rate = per_axis(dilation_rate, self.rank, "dilation_rate")
        self.depth_multiplier = positive_int(depth_multiplier, "depth_multiplier")

    def build(self, input_shape):
        channels = self.channels_of(input_shape)
        *_, filters = self.compute_output_shape(input_shape)  # Fails early where nothing fits.
        kernel = (*self.window, channels, self.depth_multiplier)
        self.make_weights(input_shape, kernel, bias=(filters,), initializer=self.first_kernel)

    def first_kernel(self, shape, dtype=None):
        """Return the initializer's kernel for one input channel, for a filter sees no more."""
        *window, channels, multiplier = shape
        kernel = self.kernel_initializer((*window, 1, channels * multiplier), dtype)
        return ops.reshape(kernel, shape)

    def apply_filters(self, inputs):
        inputs, padding = self.padded(inputs)
        return kernels.depthwise_conv(
            inputs, self.kernel, self.strides, padding, self.dilation_rate
        )

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *self.compute_output_sizes(sizes), channels * self.depth_multiplier)

    def get_config(self):
        return {
            **super().get_config(),
            "dilation_rate": self.dilation_rate,
            "depth_multiplier": self.depth_multiplier,
        }


@saving.register_keras_serializable(package="models")
class DepthwiseConv1D(DepthwiseConv):
    """Slides filters along a sequence, each over one channel alone.

    Args:
        kernel_size: int. Length of each filter.
        strides, padding, dilation_rate: as in `Conv1D`.
        depth_multiplier: int. Number of filters, and of output channels, per input channel.
        use_bias: bool. Whether to add one learned offset per output channel.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, channels * depth_multiplier)`

    Example:

    >>> DepthwiseConv1D(3, depth_multiplier=2)(np.ones((1, 10, 4))).shape
    (1, 10, 8)

    Reference:
        Sifre, 2014. Chollet, 2016. https://arxiv.org/abs/1610.02357
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class DepthwiseConv2D(DepthwiseConv):
    """Slides filters over an image, each over one channel alone.

    Args:
        kernel_size: int or 2 ints. Height and width of each filter.
        strides, padding, dilation_rate: as in `Conv2D`.
        depth_multiplier: int. Number of filters, and of output channels, per input channel.
        use_bias: bool. Whether to add one learned offset per output channel.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, channels * depth_multiplier)`

    Example:

    >>> DepthwiseConv2D(3, strides=2)(np.ones((1, 28, 28, 16))).shape
    (1, 14, 14, 16)

    Reference:
        Sifre, 2014. Howard et al., 2017. https://arxiv.org/abs/1704.04861
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class DepthwiseConv3D(DepthwiseConv):
    """Slides filters over a volume, each over one channel alone.

    Args:
        kernel_size: int or 3 ints. Depth, height and width of each filter.
        strides, padding, dilation_rate: as in `Conv3D`.
        depth_multiplier: int. Number of filters, and of output channels, per input channel.
        use_bias: bool. Whether to add one learned offset per output channel.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, channels * depth_multiplier)`

    Example:

    >>> DepthwiseConv3D(3, strides=2)(np.ones((1, 8, 16, 16, 4))).shape
    (1, 4, 8, 8, 4)

    Reference:
        Sifre, 2014. In volumes: Tran et al., 2019. https://arxiv.org/abs/1904.02811
    """

    rank = 3
