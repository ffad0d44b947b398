"""Residual block: layers that learn what to add to their input."""

from keras import activations, layers, ops, saving

from models.layers.arguments import per_axis, positive_int
from models.layers.conv import Conv2D
from models.layers.norm import BatchNorm


@saving.register_keras_serializable(package="models")
class ResidualBlock(layers.Layer):
    """Adds to its input what two 3x3 convolutions make of it: `activation(F(x) + x)`.

    `F` is convolution, batch norm, ReLU, convolution, batch norm. Where the block changes the
    shape, `x` goes through a 1x1 convolution first. With `F = 0` and the shape kept, the sum is
    the input itself, so a deeper network can always do as well as a shallower one.

    Args:
        filters: int. Number of filters of both convolutions, and of output channels.
        strides: int or 2 ints. Step of the first convolution along height and width.
        activation: function of the sum, or its name. `"linear"` leaves the sum as it is.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`, each size `ceil(size / stride)`

    Example:

    >>> ResidualBlock(32, strides=2)(np.ones((1, 28, 28, 16))).shape
    (1, 14, 14, 32)

    Reference:
        He et al., 2015. https://arxiv.org/abs/1512.03385
    """

    def __init__(self, filters, strides=1, activation="relu", **kwargs):
        super().__init__(**kwargs)
        self.filters = positive_int(filters, "filters")
        self.strides = per_axis(strides, 2, "strides")
        self.activation = activations.get(activation)
        self.input_spec = layers.InputSpec(ndim=4)
        dtype = self.dtype_policy
        self.conv1 = Conv2D(filters, 3, self.strides, use_bias=False, dtype=dtype, name="conv1")
        self.norm1 = BatchNorm(dtype=dtype, name="norm1")
        self.conv2 = Conv2D(filters, 3, use_bias=False, dtype=dtype, name="conv2")
        self.norm2 = BatchNorm(dtype=dtype, name="norm2")
        self.projection = None

    def build(self, input_shape):
        output_shape = self.compute_output_shape(input_shape)
        self.conv1.build(input_shape)
        for layer in (self.norm1, self.conv2, self.norm2):
            layer.build(output_shape)
        if self.strides != (1, 1) or input_shape[-1] != self.filters:
            # No batch norm follows the projection, so it keeps its bias.
            self.projection = Conv2D(
                self.filters, 1, self.strides, dtype=self.dtype_policy, name="projection"
            )
            self.projection.build(input_shape)

    def call(self, inputs, training=False):
        x = self.norm1(self.conv1(inputs), training=training)
        x = self.norm2(self.conv2(ops.relu(x)), training=training)
        shortcut = inputs if self.projection is None else self.projection(inputs)
        return self.activation(ops.add(x, shortcut))

    def compute_output_shape(self, input_shape):
        return self.conv1.compute_output_shape(input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "activation": activations.serialize(self.activation),
        }
