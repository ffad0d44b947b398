"""Transposed convolution: a convolution's adjoint, which makes maps larger."""

from keras import ops, saving

from models import kernels
from models.geometry import transposed_padding_pairs, transposed_sizes
from models.layers.arguments import positive_int
from models.layers.filtered import Filtered


class ConvTranspose(Filtered):
    """Base of the transposed convolutions. A subclass sets `rank`."""

    def __init__(
        self,
        filters,
        kernel_size,
        strides: int | tuple = 1,
        padding: str | int | tuple = "same",
        use_bias=True,
        kernel_initializer="he_normal",
        **kwargs,
    ):
        super().__init__(kernel_size, strides, padding, use_bias, kernel_initializer, **kwargs)
        self.filters = positive_int(filters, "filters")

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # Fails early where nothing would be left.
        kernel = (*self.window, self.filters, self.channels_of(input_shape))
        self.make_weights(input_shape, kernel, bias=(self.filters,))

    def apply_filters(self, inputs):
        return kernels.conv_transpose(inputs, self.kernel, self.strides, self.padding)

    def compute_mask(self, inputs, previous_mask=None):
        if previous_mask is None or self.rank != 1:
            return None
        (window,), (stride,) = self.window, self.strides
        (cut,) = transposed_padding_pairs(self.window, self.strides, self.padding)
        spread = ops.repeat(previous_mask, stride, axis=1)
        # A sequence reaches this much further than `stride` outputs for each of its steps.
        further = 0 if self.padding == "same" else window - stride - sum(cut)
        ahead = ops.repeat(previous_mask[:, :1], max(further, 0), axis=1)
        return ops.concatenate([ahead, spread[:, max(-further, 0) :]], axis=1)

    def compute_output_sizes(self, sizes):
        return transposed_sizes(sizes, self.window, self.strides, self.padding)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *self.compute_output_sizes(sizes), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters}


@saving.register_keras_serializable(package="models")
class ConvTranspose1D(ConvTranspose):
    """Spreads each step of a sequence over a window: the adjoint of `Conv1D`.

    Args:
        filters: int. Number of output channels.
        kernel_size: int. Length of each filter.
        strides: int. Step of the window in the output, so how many times longer that is.
        padding: `"same"` (the default; output size is `size * stride`), or as in `Conv1D`: what the
            convolution pads is cut off here, so the output has
            `(size - 1) * stride + kernel_size - padding` steps.
        use_bias: bool. Whether to add one learned offset per output channel.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, new_steps, filters)`

    Example:

    >>> ConvTranspose1D(8, kernel_size=3, strides=2)(np.ones((1, 10, 4))).shape
    (1, 20, 8)

    Reference:
        Zeiler et al., 2010.
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class ConvTranspose2D(ConvTranspose):
    """Spreads each position of a map over a window: the adjoint of `Conv2D`.

    Args:
        filters: int. Number of output channels.
        kernel_size: int or 2 ints. Height and width of each filter.
        strides: int or 2 ints. Step of the window in the output, so how many times larger that is.
        padding: `"same"` (the default; output size is `size * stride`), or as in `Conv2D`: what the
            convolution pads is cut off here, so the output's size is
            `(size - 1) * stride + kernel_size - padding`.
        use_bias: bool. Whether to add one learned offset per output channel.
        kernel_initializer: initializer of the filters.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`

    Example:

    >>> ConvTranspose2D(8, kernel_size=3, strides=2)(np.ones((1, 7, 7, 4))).shape
    (1, 14, 14, 8)

    Reference:
        Zeiler et al., 2010. Zeiler and Fergus, 2013. https://arxiv.org/abs/1311.2901
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class ConvTranspose3D(ConvTranspose):
    """Spreads each position of a volume over a window: the adjoint of `Conv3D`.

    Args:
        filters: int. Number of output channels.
        kernel_size: int or 3 ints. Depth, height and width of each filter.
        strides: int or 3 ints. Step of the window in the output, so how many times larger that is.
        padding, use_bias, kernel_initializer: as in `ConvTranspose2D`.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`

    Example:

    >>> ConvTranspose3D(8, kernel_size=2, strides=2)(np.ones((1, 4, 7, 7, 4))).shape
    (1, 8, 14, 14, 8)

    Reference:
        Zeiler et al., 2010. In volumes: Çiçek et al., 2016. https://arxiv.org/abs/1606.06650
    """

    rank = 3
