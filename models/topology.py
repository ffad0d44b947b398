"""The common topology of convolutional networks, a formula whose numbers are options.

    ((convolution -> activation) x m -> pool) x n -> dense x k

With `m = n = k = 1` this is the first convolutional network that texts show: 20 fields of 5x5 over
a digit, a pool, and the answer. LeNet has `m = 1`, `n = 2` and `k = 3`.

Reference: LeCun et al., 1998. Gradient-based learning applied to document recognition.
"""

from keras import layers

from models.classifier import classifier, image_input
from models.geometry import PADDINGS, padding_pair
from models.layers import BatchNorm, Conv2D, MaxPool2D
from models.layers.arguments import fraction, one_of, positive_int


def smallest_size(m, n, kernel_size, padding, pool):
    """Return the least height and width that leave a position after the last block."""
    lost = kernel_size - 1 - sum(padding_pair(None, kernel_size, padding=padding))
    size = 1
    for _ in range(n):
        size = max(1, (2 * size if pool else size) + m * lost)
    return size


def activate(x, activation, batch_norm, name):
    """Apply batch normalization, where asked for, and the activation."""
    if batch_norm:
        x = BatchNorm(name=f"{name}_norm")(x)
    return layers.Activation(activation, name=f"{name}_activation")(x)


def conv_block(x, m, filters, activation, batch_norm, pool, name, **window):
    """Apply `m` convolutions over a `window`, then halve height and width where asked to."""
    for index in range(1, m + 1):
        conv = Conv2D(filters, use_bias=not batch_norm, name=f"{name}_conv{index}", **window)
        x = activate(conv(x), activation, batch_norm, conv.name)
    return MaxPool2D(name=f"{name}_pool")(x) if pool else x


def topology(
    input_shape,
    num_classes,
    m=1,
    n=1,
    k=1,
    width=20,
    kernel_size=5,
    padding="valid",
    pool=True,
    units=100,
    activation="relu",
    batch_norm=False,
    dropout_rate=0.0,
):
    """Build a network of the common topology that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height, width and channels.
        num_classes: int. Number of logits.
        m: int. Convolutions in each block.
        n: int. Blocks.
        k: int. Dense layers; the last is the logits.
        width: int. Filters of the first block; they double from block to block.
        kernel_size: int. Height and width of each filter.
        padding: str. `"valid"`, `"same"` or another name that `Conv2D` knows.
        pool: bool. Whether each block ends in a 2x2 max pool.
        units: int. Units of each dense layer but the last.
        activation: str. Function of all units but the logits, as in `mlp`.
        batch_norm: bool. Whether each layer but the last normalizes before its activation.
        dropout_rate: float. Share of the hidden dense layers' activations dropped in training.

    Example:

    >>> topology((28, 28, 1), num_classes=10).get_layer("block1_conv1").count_params()
    520
    """
    m, n, k = positive_int(m, "m"), positive_int(n, "n"), positive_int(k, "k")
    width, units = positive_int(width, "width"), positive_int(units, "units")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    window = {
        "kernel_size": positive_int(kernel_size, "kernel_size"),
        "padding": one_of(padding, PADDINGS, "padding"),
    }
    image, x = image_input(input_shape, smallest_size(m, n, pool=pool, **window))
    for index in range(n):
        filters, name = width * 2**index, f"block{index + 1}"
        x = conv_block(x, m, filters, activation, batch_norm, pool, name, **window)
    x = layers.Flatten(name="flatten")(x)
    for index in range(1, k):
        dense = layers.Dense(units, use_bias=not batch_norm, name=f"dense{index}")
        x = activate(dense(x), activation, batch_norm, dense.name)
        x = layers.Dropout(dropout_rate, name=f"{dense.name}_dropout")(x)
    return classifier(image, x, num_classes, name="topology")
