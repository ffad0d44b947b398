"""Layers that round as eight bits do, so that a network in floats answers as its int8 file will.

TensorFlow's converter recognizes the rounding, and takes the ranges of its integers from it.
"""

import math

import keras
import numpy as np
from keras import layers, ops, quantizers, saving

from models.layers.arguments import fraction, one_of


@saving.register_keras_serializable(package="models")
class FakeQuant(layers.Layer):
    """Rounds values to 256 steps from a low to a high end, and cuts off what lies beyond.

    Gradients pass as if nothing were rounded, but not where something is cut off. In training the
    ends follow the values of each batch. Zero is always one of the steps.

    Args:
        low: float. The low end at first, at most 0.
        high: float. The high end at first, at least 0.
        momentum: float. Share of both ends that a batch leaves as it was; 1 fixes them.

    Input shape:
        Any.

    Output shape:
        That of the input.

    Example:

    >>> FakeQuant(0, 255)(np.array([-3.0, 7.4, 300.0])).numpy().tolist()
    [0.0, 7.0, 255.0]

    Reference:
        Jacob et al., 2017. https://arxiv.org/abs/1712.05877
    """

    def __init__(self, low=-1.0, high=1.0, momentum=0.99, **kwargs):
        super().__init__(**kwargs)
        if not low <= 0 <= high or low == high:
            raise ValueError(
                "`low` and `high` must differ, and have 0 between them. "
                f"Received: low={low!r}, high={high!r}"
            )
        self.first_low, self.first_high = float(low), float(high)
        self.momentum = 1.0 if momentum == 1 else fraction(momentum, "momentum")

    def build(self, input_shape):
        self.low = self._end("low", self.first_low)
        self.high = self._end("high", self.first_high)

    def call(self, inputs, training=False):
        if training and self.trainable and self.momentum < 1:
            self._follow(self.low, ops.minimum(ops.min(inputs), 0))
            self._follow(self.high, ops.maximum(ops.max(inputs), 0))
        return quantizers.fake_quant_with_min_max_vars(inputs, self.low, self.high)

    @property
    def step(self):
        """How far two of the values lie apart."""
        return (float(self.high) - float(self.low)) / 255

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "low": self.first_low,
            "high": self.first_high,
            "momentum": self.momentum,
        }

    def _end(self, name, value):
        return self.add_weight(
            name=name,
            shape=(),
            initializer=keras.initializers.Constant(value),
            dtype="float32",
            trainable=False,
            autocast=False,
        )

    def _follow(self, end, value):
        end.assign(end * self.momentum + ops.cast(value, end.dtype) * (1 - self.momentum))


@saving.register_keras_serializable(package="models")
class FakeQuantKernel(layers.Wrapper):
    """Applies a layer with its kernel rounded to 255 steps, zero in their middle.

    The kernel itself stays as fine as it was, and learns as if nothing were rounded.

    Args:
        layer: a layer with a `kernel`.
        channel_axes: int. How many of the kernel's last axes are channels of the output, for each
            of which steps have a size of their own: 0, 1 or 2. One size for all where 0.
        gain: float. What the kernel is multiplied by before it is rounded. It lets a kernel that
            reads large values, such as pixels, learn in steps of the usual size.

    Input shape, output shape:
        Those of the layer.

    Example:

    >>> FakeQuantKernel(Conv2D(8, 3), channel_axes=1)(np.ones((1, 28, 28, 1))).shape
    (1, 28, 28, 8)

    Reference:
        Jacob et al., 2017. https://arxiv.org/abs/1712.05877
    """

    def __init__(self, layer, channel_axes=1, gain=1.0, **kwargs):
        super().__init__(layer, **kwargs)
        self.channel_axes = one_of(channel_axes, (0, 1, 2), "channel_axes")
        self.gain = float(gain)

    def call(self, inputs):
        return self.applied(self.rounded, inputs)

    def exact(self, inputs):
        """Return what the layer makes of `inputs` where nothing is rounded."""
        return self.applied(lambda kernel: kernel, inputs)

    def applied(self, change, inputs):
        """Return what the layer makes of `inputs` with a kernel that `change` has made."""
        kernel = self.layer.kernel
        if isinstance(self.layer, layers.Dense) and self.channel_axes:
            return self.applied_as_conv(change, inputs)
        changed = change(ops.convert_to_tensor(kernel) * self.gain)
        # Whoever reads the kernel in here finds the changed one.
        with keras.StatelessScope([(kernel, changed)]):
            return self.layer(inputs)

    def applied_as_conv(self, change, inputs):
        """Return what a dense layer makes of `inputs`, by a convolution that sees one position.

        Of that the converter takes a size of step for each channel; of a product of matrices, one.
        """
        layer = self.layer
        kernel = ops.convert_to_tensor(layer.kernel) * self.gain
        kernel = change(ops.reshape(kernel, (1, 1, *kernel.shape)))
        pixels = ops.reshape(inputs, (-1, 1, 1, inputs.shape[-1]))
        outputs = ops.conv(pixels, kernel, padding="valid", data_format="channels_last")
        if layer.use_bias:
            outputs = outputs + layer.bias
        outputs = layer.activation(outputs)
        return ops.reshape(outputs, (-1, *inputs.shape[1:-1], layer.units))

    def rounded(self, kernel):
        """Return `kernel` on its steps."""
        flat = self.by_channel(kernel)
        largest = self.largest(flat)
        coarse = quantizers.fake_quant_with_min_max_vars(
            flat, -largest, largest, narrow_range=True, axis=-1 if self.channel_axes else None
        )
        return ops.reshape(coarse, kernel.shape)

    def by_channel(self, kernel):
        """Return `kernel` with its channels in one axis, the last, as the converter wants them."""
        if self.channel_axes < 2:
            return kernel
        return ops.reshape(kernel, (*kernel.shape[:-2], 1, math.prod(kernel.shape[-2:])))

    def largest(self, kernel):
        """Return the largest magnitude in each of the channels."""
        others = range(len(kernel.shape) - min(self.channel_axes, 1))
        # What is all zero needs a range too.
        return ops.stop_gradient(ops.maximum(ops.max(ops.abs(kernel), list(others)), 1e-30))

    def round_bias(self, step):
        """Put the bias on the steps of the sums it joins, as its 32 bits do in the file.

        Args:
            step: how far two values of the input lie apart.
        """
        if not self.layer.use_bias:
            return
        kernel = self.by_channel(ops.convert_to_tensor(self.layer.kernel) * self.gain)
        steps = np.float64(step) * np.asarray(self.largest(kernel), np.float64) / 127
        bias = np.asarray(ops.convert_to_numpy(self.layer.bias), np.float64)
        self.layer.bias.assign(np.round(bias / steps) * steps)

    def compute_output_shape(self, input_shape):
        return self.layer.compute_output_shape(input_shape)

    def get_config(self):
        return {**super().get_config(), "channel_axes": self.channel_axes, "gain": self.gain}
