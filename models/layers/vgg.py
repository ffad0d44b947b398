"""The VGG block: small convolutions in a row, then a pool."""

from keras import saving

from models.layers.arguments import positive_int
from models.layers.block import ConvBlock, shape_through, through
from models.layers.max_pool import MaxPool2D


@saving.register_keras_serializable(package="models")
class VGGBlock(ConvBlock):
    """Applies 3x3 convolutions that keep the size, then a pool that halves height and width.

    Two 3x3 convolutions see as far as one of 5x5, three as far as one of 7x7, with fewer weights
    and more ReLUs.

    Args:
        filters: int. Number of filters of each convolution, and of output channels.
        depth: int. Number of convolutions.
        batch_norm: bool. Whether batch norm, in place of a bias, stands before each ReLU.
        pool: bool. Whether the largest value of each 2x2 window is kept at the end.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, new_height, new_width, filters)`, each size half the input's, rounded down, or
        the input's where `pool` is `False`

    Example:

    >>> VGGBlock(64, depth=2)(np.ones((1, 28, 28, 3))).shape
    (1, 14, 14, 64)

    Reference:
        Simonyan and Zisserman, 2014. https://arxiv.org/abs/1409.1556
    """

    def __init__(self, filters, depth, batch_norm=True, pool=True, **kwargs):
        super().__init__(batch_norm, **kwargs)
        self.filters = positive_int(filters, "filters")
        self.depth = positive_int(depth, "depth")
        self.pool = pool
        self.chain = []
        for index in range(1, self.depth + 1):
            self.chain += self.conv_relu(self.filters, 3, name=index)
        if pool:
            self.chain += [self.part(MaxPool2D, name="pool")]

    def call(self, inputs):
        return through(self.chain, inputs)

    def compute_output_shape(self, input_shape):
        return shape_through(self.chain, input_shape)

    def get_config(self):
        return {
            **super().get_config(),
            "filters": self.filters,
            "depth": self.depth,
            "pool": self.pool,
        }
