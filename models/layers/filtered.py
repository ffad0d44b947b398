"""Filters: what all layers share whose window holds learned weights."""

from keras import initializers, layers

from models import kernels
from models.layers.window import Window


class Filtered(Window):
    """Base of the layers that slide learned filters.

    A subclass makes its weights in `build` by `make_weights`, and applies `self.kernel` in
    `apply_filters(inputs)`; the bias joins here.
    """

    window_name = "kernel_size"

    def __init__(self, kernel_size, strides, padding, use_bias, kernel_initializer, **kwargs):
        super().__init__(kernel_size, strides, padding, **kwargs)
        self.use_bias = use_bias
        self.kernel_initializer = initializers.get(kernel_initializer)

    @property
    def kernel_size(self):
        """Size of each filter, another name for the window's."""
        return self.window

    def channels_of(self, input_shape):
        """Return the channels of the input, which must be known."""
        if input_shape[-1] is None:
            raise ValueError(
                "`input_shape` must have known channels, the last axis. "
                f"Received: input_shape={tuple(input_shape)}"
            )
        return input_shape[-1]

    def make_weights(self, input_shape, kernel, bias, initializer=None):
        """Make a kernel and a bias of these shapes, and hold the input to its channels."""
        self.input_spec = layers.InputSpec(ndim=self.rank + 2, axes={-1: input_shape[-1]})
        initializer = initializer or self.kernel_initializer
        self.kernel = self.add_weight(name="kernel", shape=kernel, initializer=initializer)
        if self.use_bias:
            self.bias = self.add_weight(name="bias", shape=bias, initializer="zeros")

    def slide(self, inputs):
        outputs = self.apply_filters(inputs)
        return kernels.add_bias(outputs, self.bias) if self.use_bias else outputs

    def apply_filters(self, inputs):
        raise NotImplementedError

    def get_config(self):
        return {
            **super().get_config(),
            "use_bias": self.use_bias,
            "kernel_initializer": initializers.serialize(self.kernel_initializer),
        }
