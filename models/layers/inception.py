"""The Inception block: windows of several sizes side by side."""

from keras import layers, saving

from models.layers.arguments import positive_int, positive_ints
from models.layers.block import ConvBlock, shape_through, through
from models.layers.max_pool import MaxPool2D


@saving.register_keras_serializable(package="models")
class InceptionBlock(ConvBlock):
    """Looks at each position through four branches of different windows, and joins their channels.

    The branches are a 1x1 convolution; a 1x1, then a 3x3; a 1x1, then a 5x5; and a 3x3 max pool,
    then a 1x1. Each convolution is followed by ReLU. The first 1x1 of a branch reduces the channels
    so that the larger window stays cheap.

    Args:
        filters1: int. Number of filters of the 1x1 branch.
        filters3: 2 ints. Number of filters of the 1x1 and of the 3x3 convolution of their branch.
        filters5: 2 ints. Number of filters of the 1x1 and of the 5x5 convolution of their branch.
        filters_pool: int. Number of filters of the 1x1 convolution after the pool.
        batch_norm: bool. Whether batch norm, in place of a bias, stands before each ReLU.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, height, width, filters1 + filters3[1] + filters5[1] + filters_pool)`

    Example:

    >>> InceptionBlock(64, (96, 128), (16, 32), 32)(np.ones((1, 28, 28, 192))).shape
    (1, 28, 28, 256)

    Reference:
        Szegedy et al., 2014, figure 2b. https://arxiv.org/abs/1409.4842
    """

    def __init__(
        self, filters1, filters3: tuple, filters5: tuple, filters_pool, batch_norm=True, **kwargs
    ):
        super().__init__(batch_norm, **kwargs)
        self.filters1 = positive_int(filters1, "filters1")
        self.filters3 = positive_ints(filters3, 2, "filters3")
        self.filters5 = positive_ints(filters5, 2, "filters5")
        self.filters_pool = positive_int(filters_pool, "filters_pool")
        self.branch1 = self.conv_relu(self.filters1, 1, name="1x1")
        self.branch3 = self.reduced(self.filters3, 3)
        self.branch5 = self.reduced(self.filters5, 5)
        pool = self.part(MaxPool2D, 3, strides=1, padding="same", name="pool")
        self.branch_pool = [pool, *self.conv_relu(self.filters_pool, 1, name="_pool")]
        self.join = self.part(layers.Concatenate, name="join")

    @property
    def branches(self):
        """The four chains, in the order of their output channels."""
        return self.branch1, self.branch3, self.branch5, self.branch_pool

    def reduced(self, filters, size):
        """Return a 1x1 convolution, then one of `size`, as a chain."""
        fewer, filters = filters
        name = f"{size}x{size}"
        return [
            *self.conv_relu(fewer, 1, name=f"{name}_reduce"),
            *self.conv_relu(filters, size, name=name),
        ]

    def call(self, inputs):
        return self.join([through(branch, inputs) for branch in self.branches])

    def compute_output_shape(self, input_shape):
        shapes = [shape_through(branch, input_shape) for branch in self.branches]
        return self.join.compute_output_shape(shapes)

    def get_config(self):
        return {
            **super().get_config(),
            "filters1": self.filters1,
            "filters3": self.filters3,
            "filters5": self.filters5,
            "filters_pool": self.filters_pool,
        }
