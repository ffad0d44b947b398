"""NiN: convolutions with small dense networks in them, and at the end one map for each class.

Modern in one way: every convolution is followed by batch normalization. Both pools take the
maximum, as the text of the paper says; the model that its authors released averages in the second.

Reference: Lin, Chen and Yan, 2013. Network in network. https://arxiv.org/abs/1312.4400
"""

import keras
from keras import layers

from models.classifier import image_input
from models.layers import GlobalAveragePool2D, MaxPool2D, NiNBlock
from models.layers.arguments import fraction, positive_int
from models.width import scaled

# Filters of the three convolutions of each block, and the window of the first: the network that
# the authors trained on CIFAR-10. The last block ends in one map per class.
WIDTH = 192
BLOCKS = (((192, 160, 96), 5), ((192, 192, 192), 5), ((192, 192, None), 3))


def nin(input_shape, num_classes, width=192, batch_norm=True, dropout_rate=0.5):
    """Build a NiN that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height and width, both at least 4, and channels.
        num_classes: int. Number of logits.
        width: int. Filters of the first convolution; the other layers grow with it. 192 gives the
            sizes of the paper.
        batch_norm: bool. Whether each convolution normalizes before its ReLU.
        dropout_rate: float. Share of the activations between two blocks dropped in training.

    Example:

    >>> nin((32, 32, 3), num_classes=10, batch_norm=False).count_params()
    966986
    """
    num_classes, width = positive_int(num_classes, "num_classes"), positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    # Two pools halve the image.
    image, x = image_input(input_shape, smallest=4)
    for index, (sizes, kernel_size) in enumerate(BLOCKS, start=1):
        if index > 1:
            x = MaxPool2D(3, strides=2, padding="same", name=f"pool{index - 1}")(x)
            x = layers.Dropout(dropout_rate, name=f"dropout{index - 1}")(x)
        filters = tuple(scaled(size, width, WIDTH) if size else num_classes for size in sizes)
        x = NiNBlock(filters, kernel_size, batch_norm=batch_norm, name=f"block{index}")(x)
    logits = GlobalAveragePool2D(dtype="float32", name="logits")(x)
    return keras.Model(image, {"logits": logits}, name="nin")
