"""Residual blocks: layers that learn what to add to their input."""

from typing import Any

from keras import activations, layers, ops, saving

from models import kernels
from models.geometry import output_sizes
from models.layers.arguments import one_of, per_axis, positive_int
from models.layers.block import Block
from models.layers.conv import Conv2D, Conv3D
from models.layers.norm import BatchNorm

SHORTCUTS = ("projection", "convolution", "padding", "none")


@saving.register_keras_serializable(package="models")
class PaddedShortcut(layers.Layer):
    """Changes an image's shape without parameters: skips positions, and appends empty channels.

    Args:
        filters: int. Number of output channels, not less than the input's.
        strides: int or 2 ints. Step along height and width.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`, each size `ceil(size / stride)`

    Example:

    >>> PaddedShortcut(32, strides=2)(np.ones((1, 28, 28, 16))).shape
    (1, 14, 14, 32)

    Reference:
        He et al., 2015, option A of section 3.3. https://arxiv.org/abs/1512.03385
    """

    rank = 2

    def __init__(self, filters, strides: int | tuple = 1, **kwargs):
        super().__init__(**kwargs)
        self.filters = positive_int(filters, "filters")
        self.strides = per_axis(strides, self.rank, "strides")
        self.input_spec = layers.InputSpec(ndim=self.rank + 2)

    def build(self, input_shape):
        if input_shape[-1] > self.filters:
            raise ValueError(
                "`filters` must not be less than the input's channels. "
                f"Received: filters={self.filters}, input_shape={tuple(input_shape)}"
            )

    def call(self, inputs, training=False):
        steps = (slice(None), *(slice(None, None, step) for step in self.strides))
        # Inference is exported, and a slice is what everything that runs it knows best.
        kept = kernels.stepped(inputs, self.strides) if training else inputs[steps]
        widths: Any = [(0, 0)] * (self.rank + 1) + [(0, self.filters - inputs.shape[-1])]
        return ops.pad(kept, widths)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *output_sizes(sizes, (1,) * self.rank, self.strides), self.filters)

    def get_config(self):
        return {**super().get_config(), "filters": self.filters, "strides": self.strides}


@saving.register_keras_serializable(package="models")
class PaddedShortcut3D(PaddedShortcut):
    """Changes a volume's shape without parameters: skips positions, and appends empty channels.

    Args:
        filters: int. Number of output channels, not less than the input's.
        strides: int or 3 ints. Step along each axis.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`, each size `ceil(size / stride)`

    Example:

    >>> PaddedShortcut3D(32, strides=2)(np.ones((1, 8, 14, 14, 16))).shape
    (1, 4, 7, 7, 32)

    Reference:
        He et al., 2015, option A of section 3.3. https://arxiv.org/abs/1512.03385
    """

    rank = 3


class Residual(Block):
    """Base of the residual blocks: `activation(F(x) + x)`.

    A subclass makes the parts of its branch `F` in `make_branch`, the last of which has
    `self.channels` channels, and applies them in `branch`; for other than images it sets `conv` and
    `padded_shortcut`.
    """

    conv: type = Conv2D
    padded_shortcut: type = PaddedShortcut

    def __init__(
        self, filters, strides: int | tuple = 1, activation="relu", shortcut="projection", **kwargs
    ):
        super().__init__(**kwargs)
        self.filters = positive_int(filters, "filters")
        self.strides = per_axis(strides, self.conv.rank, "strides")
        self.activation = activations.get(activation)
        self.shortcut = one_of(shortcut, SHORTCUTS, "shortcut")
        self.input_spec = layers.InputSpec(ndim=self.conv.rank + 2)
        self.make_branch()
        self.activate = self.part(layers.Activation, self.activation, name="activation")
        if shortcut != "none":
            self.sum = self.part(layers.Add, name="sum")
        self.projection = None
        self.projection_norm = None

    @property
    def channels(self):
        """Number of output channels."""
        return self.filters

    def make_branch(self):
        raise NotImplementedError

    def branch(self, inputs):
        raise NotImplementedError

    def build(self, input_shape):
        reshapes = max(self.strides) > 1 or input_shape[-1] != self.channels
        if reshapes and self.shortcut != "none":
            self.make_projection()
        super().build(input_shape)

    def make_projection(self):
        """Make what brings the input into the output's shape."""
        size = (self.channels, self.strides)
        if self.shortcut == "padding":
            self.projection = self.part(self.padded_shortcut, *size, name="shortcut")
            return
        normalized = self.shortcut == "projection"
        filters, strides = size
        self.projection = self.part(
            self.conv, filters, 1, strides, use_bias=not normalized, name="projection"
        )
        if normalized:
            self.projection_norm = self.part(BatchNorm, name="projection_norm")

    def call(self, inputs):
        x = self.branch(inputs)
        if self.shortcut != "none":
            shortcut = inputs if self.projection is None else self.projection(inputs)
            if self.projection_norm is not None:
                shortcut = self.projection_norm(shortcut)
            x = self.sum([x, shortcut])
        return self.activate(x)

    def compute_output_shape(self, input_shape):
        batch, *sizes, _ = input_shape
        return (batch, *output_sizes(sizes, (1,) * len(sizes), self.strides), self.channels)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "strides": self.strides,
            "activation": activations.serialize(self.activation),
            "shortcut": self.shortcut,
        }


@saving.register_keras_serializable(package="models")
class ResidualBlock(Residual):
    """Adds to its input what two 3x3 convolutions make of it: `activation(F(x) + x)`.

    `F` is convolution, batch norm, ReLU, convolution, batch norm. With `F = 0` and the shape kept,
    the sum is the input itself, so a deeper network can always do as well as a shallower one.

    Args:
        filters: int. Number of filters of both convolutions, and of output channels.
        strides: int or 2 ints. Step of the first convolution along height and width.
        activation: function of the sum, or its name. `"linear"` leaves the sum as it is.
        shortcut: how the input joins where the block changes its shape: `"projection"`, by a 1x1
            convolution and batch norm; `"convolution"`, by a 1x1 convolution with bias;
            `"padding"`, without parameters. `"none"` never adds the input: the plain twin.

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

    def make_branch(self):
        conv = {"use_bias": False}
        self.conv1 = self.part(self.conv, self.filters, 3, self.strides, name="conv1", **conv)
        self.norm1 = self.part(BatchNorm, name="norm1")
        self.relu1 = self.part(layers.ReLU, name="relu1")
        self.conv2 = self.part(self.conv, self.filters, 3, name="conv2", **conv)
        self.norm2 = self.part(BatchNorm, name="norm2")

    def branch(self, inputs):
        x = self.relu1(self.norm1(self.conv1(inputs)))
        return self.norm2(self.conv2(x))


@saving.register_keras_serializable(package="models")
class ResidualBlock3D(ResidualBlock):
    """Adds to a volume what two 3x3x3 convolutions make of it: `activation(F(x) + x)`.

    Args:
        filters: int. Number of filters of both convolutions, and of output channels.
        strides: int or 3 ints. Step of the first convolution along each axis.
        activation, shortcut: as in `ResidualBlock`.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, new_depth, new_height, new_width, filters)`, each size `ceil(size / stride)`

    Example:

    >>> ResidualBlock3D(32, strides=2)(np.ones((1, 8, 14, 14, 16))).shape
    (1, 4, 7, 7, 32)

    Reference:
        Tran et al., 2018. https://arxiv.org/abs/1711.11248
    """

    conv = Conv3D
    padded_shortcut = PaddedShortcut3D


@saving.register_keras_serializable(package="models")
class BottleneckBlock(Residual):
    """A residual block that works on a quarter of its channels: `activation(F(x) + x)`.

    `F` is a 1x1, a 3x3 and a 1x1 convolution, each followed by batch norm and all but the last by
    ReLU.

    Args:
        filters: int. Number of filters of the first two convolutions; the last has 4 times as many.
        strides: int or 2 ints. Step of the 3x3 convolution along height and width.
        activation: function of the sum, or its name. `"linear"` leaves the sum as it is.
        shortcut: as in `ResidualBlock`.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, 4 * filters)`, each size `ceil(size / stride)`

    Example:

    >>> BottleneckBlock(16, strides=2)(np.ones((1, 28, 28, 16))).shape
    (1, 14, 14, 64)

    Reference:
        He et al., 2015, figure 5. The step stands in the 3x3 convolution, as in
        Goyal et al., 2017, and not in the first. https://arxiv.org/abs/1512.03385
    """

    @property
    def channels(self):
        """Number of output channels."""
        return 4 * self.filters

    def make_branch(self):
        conv = {"use_bias": False}
        self.conv1 = self.part(self.conv, self.filters, 1, name="conv1", **conv)
        self.norm1 = self.part(BatchNorm, name="norm1")
        self.relu1 = self.part(layers.ReLU, name="relu1")
        self.conv2 = self.part(self.conv, self.filters, 3, self.strides, name="conv2", **conv)
        self.norm2 = self.part(BatchNorm, name="norm2")
        self.relu2 = self.part(layers.ReLU, name="relu2")
        self.conv3 = self.part(self.conv, self.channels, 1, name="conv3", **conv)
        self.norm3 = self.part(BatchNorm, name="norm3")

    def branch(self, inputs):
        x = self.relu1(self.norm1(self.conv1(inputs)))
        x = self.relu2(self.norm2(self.conv2(x)))
        return self.norm3(self.conv3(x))
