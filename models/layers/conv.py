"""Convolution: one bank of learned filters, the same at every position."""

from keras import saving

from models import kernels
from models.layers.arguments import per_axis, positive_int
from models.layers.filtered import Filtered


class Conv(Filtered):
    """Base of the convolutions. A subclass sets `rank`, the number of axes to slide over."""

    def __init__(
        self,
        filters,
        kernel_size,
        strides: int | tuple = 1,  # Typed, for a checker reads `1` as an int alone.
        padding: str | int | tuple = "same",
        dilation_rate: int | tuple = 1,
        groups=1,
        use_bias=True,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(kernel_size, strides, padding, use_bias, kernel_initializer, **kwargs)
        self.dilation_rate = per_axis(dilation_rate, self.rank, "dilation_rate")
        self.filters = positive_int(filters, "filters")
        self.groups = positive_int(groups, "groups")
        if self.filters % self.groups:
            raise ValueError(
                "`filters` must be a multiple of `groups`. "
                f"Received: filters={filters}, groups={groups}"
            )

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # Fails early where the filter does not fit.
        channels = self.channels_of(input_shape)
        if channels % self.groups:
            raise ValueError(
                "`groups` must divide the input's channels. "
                f"Received: groups={self.groups}, input_shape={tuple(input_shape)}"
            )
        kernel = (*self.window, channels // self.groups, self.filters)
        self.make_weights(input_shape, kernel, bias=(self.filters,))

    def apply_filters(self, inputs):
        inputs, padding = self.padded(inputs)
        return kernels.conv(inputs, self.kernel, self.strides, padding, self.dilation_rate)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *self.compute_output_sizes(sizes), self.filters)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "dilation_rate": self.dilation_rate,
            "groups": self.groups,
        }


@saving.register_keras_serializable(package="models")
class Conv1D(Conv):
    """Slides learned filters along a sequence.

    Each output is the cross-correlation of a filter with the window under it, over all input
    channels, plus the filter's bias. What a mask hides counts as padding.

    Args:
        filters: int. Number of filters, which is the number of output channels.
        kernel_size: int. Length of each filter.
        strides: int. Step of the filter.
        padding: `"same"` (the default; output size is `ceil(size / stride)`), `"valid"` or
            `"narrow"` (no padding), `"wide"` (every partial overlap), an int, or a pair in a tuple,
            such as `((0, 1),)`: the zeros before and after.
        dilation_rate: int. Distance between the positions that a filter looks at.
        groups, use_bias, kernel_initializer: as in `Conv2D`.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, filters)`

    Example:

    >>> Conv1D(8, kernel_size=3, padding="wide")(np.ones((1, 10, 4))).shape
    (1, 12, 8)

    Reference:
        Waibel et al., 1989. Padding names: Kalchbrenner et al., 2014.
        https://arxiv.org/abs/1404.2188
    """

    rank = 1


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
        padding: `"same"` (the default; output size is `ceil(size / stride)`), `"valid"` or
            `"narrow"` (no padding), `"wide"` (every partial overlap), an int, or for each axis an
            int or a pair: the zeros before and after.
        dilation_rate: int or 2 ints. Distance between the positions that a filter looks at.
        groups: int. Parts that the channels are cut into; each filter sees one part alone.
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


@saving.register_keras_serializable(package="models")
class Conv3D(Conv):
    """Slides learned filters over the depth, height and width of a volume, or of a film.

    Args:
        filters: int. Number of filters, which is the number of output channels.
        kernel_size: int or 3 ints. Depth, height and width of each filter.
        strides: int or 3 ints. Step of the filter along each axis.
        padding: as in `Conv2D`, for three axes.
        dilation_rate: int or 3 ints. Distance between the positions that a filter looks at.
        groups, use_bias, kernel_initializer: as in `Conv2D`.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`

    Example:

    >>> Conv3D(8, kernel_size=3, strides=2)(np.ones((1, 8, 16, 16, 1))).shape
    (1, 4, 8, 8, 8)

    Reference:
        Ji et al., 2013. Tran et al., 2014. https://arxiv.org/abs/1412.0767
    """

    rank = 3
