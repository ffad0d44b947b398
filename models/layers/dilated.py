"""Iterated stacks of dilated convolutions."""

from keras import layers, saving

from models.layers.arguments import per_axis, positive_int, positive_ints
from models.layers.block import Block, through
from models.layers.conv import Conv1D, Conv2D


class DilatedStack(Block):
    """Base of the dilated stacks. A subclass sets `conv`, the class of the convolutions."""

    conv: type

    def __init__(
        self,
        filters,
        kernel_size: int | tuple = 3,
        dilation_rates: tuple = (1, 2, 4),
        iterations=4,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.filters = positive_int(filters, "filters")
        self.kernel_size = per_axis(kernel_size, self.conv.rank, "kernel_size")
        self.dilation_rates = positive_ints(dilation_rates, None, "dilation_rates")
        self.iterations = positive_int(iterations, "iterations")
        self.input_spec = layers.InputSpec(ndim=self.conv.rank + 2, axes={-1: self.filters})
        self.chain = []
        for index, rate in enumerate(self.dilation_rates, start=1):
            self.chain += self.conv_relu(rate, index)

    def conv_relu(self, rate, index):
        """Return a convolution of dilation `rate` and its ReLU, as a chain."""
        conv = self.part(
            self.conv, self.filters, self.kernel_size, dilation_rate=rate, name=f"conv{index}"
        )
        return [conv, self.part(layers.ReLU, name=f"relu{index}")]

    def call(self, inputs):
        return through(self.chain * self.iterations, inputs)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "kernel_size": self.kernel_size,
            "dilation_rates": self.dilation_rates,
            "iterations": self.iterations,
        }


@saving.register_keras_serializable(package="models")
class DilatedStack1D(DilatedStack):
    """Applies a block of dilated convolutions to a sequence again and again, with shared weights.

    Each convolution keeps the length and is followed by ReLU. With rates that double, what a
    position sees grows exponentially with the number of convolutions, and each of them has the
    same number of weights; iterations let it grow further at no weights at all.

    Args:
        filters: int. Number of filters of each convolution, and of channels of the input.
        kernel_size: int. Length of each filter.
        dilation_rates: ints. Distance between the positions that the filters of each convolution
            of the block look at.
        iterations: int. How many times the block is applied.

    Input shape:
        `(batch, steps, filters)`

    Output shape:
        That of the input.

    Example:

    >>> DilatedStack1D(64, dilation_rates=(1, 2, 4, 8))(np.ones((1, 100, 64))).shape
    (1, 100, 64)

    Reference:
        Strubell et al., 2017. https://arxiv.org/abs/1702.02098
    """

    conv = Conv1D


@saving.register_keras_serializable(package="models")
class DilatedStack2D(DilatedStack):
    """Applies a block of dilated convolutions to an image again and again, with shared weights.

    Args:
        filters: int. Number of filters of each convolution, and of channels of the input.
        kernel_size: int or 2 ints. Height and width of each filter.
        dilation_rates, iterations: as in `DilatedStack1D`.

    Input shape:
        `(batch, height, width, filters)`

    Output shape:
        That of the input.

    Example:

    >>> DilatedStack2D(16)(np.ones((1, 28, 28, 16))).shape
    (1, 28, 28, 16)

    Reference:
        Yu and Koltun, 2015. https://arxiv.org/abs/1511.07122
    """

    conv = Conv2D
