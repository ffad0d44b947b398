"""The network that learns small images in the fewest epochs.

Its first layer is not learned: it whitens patches of 2x2 pixels. Maps are pooled before they are
normalized, so that three quarters of the work after a convolution falls away, and convolutions
begin as the identity. Here without the paper's biases, and on ReLUs, which are cheap everywhere.

Reference: Jordan, 2024. https://arxiv.org/abs/2404.00498 (airbench94)
"""

import keras
import numpy as np
from keras import layers

from models.classifier import classifier, image_input
from models.layers import Conv2D, GlobalMaxPool2D, MaxPool2D
from models.layers.arguments import fraction, positive_int
from models.norm_relu import norm_relu

# The channels of the three blocks, in units of `width`.
BLOCKS = (1, 4, 4)
# Side of the patches that the first layer whitens, and its name, by which training finds it.
PATCH, WHITENING = 2, "whitening"
# Of the averages of batch norms: a short training has no time for longer ones.
MOMENTUM = 0.6


@keras.saving.register_keras_serializable(package="models")
class Dirac(keras.initializers.Initializer):
    """Begins a kernel of odd windows as the identity: a filter for each channel passes it on.

    Filters beyond the channels are drawn uniformly, with a variance of a third of one over the
    values that they sum.

    Args:
        seed: int, or `None` for another kernel each time.

    Reference:
        Zagoruyko and Komodakis, 2017. https://arxiv.org/abs/1706.00388
    """

    def __init__(self, seed=None):
        self.seed = seed

    def __call__(self, shape, dtype=None):
        *window, channels, filters = shape
        uniform = keras.initializers.VarianceScaling(1 / 3, "fan_in", "uniform", seed=self.seed)
        kernel = keras.ops.convert_to_numpy(uniform(shape)).copy()
        same = range(min(channels, filters))
        kernel[..., same] = 0
        kernel[(*(size // 2 for size in window), same, same)] = 1
        return keras.ops.convert_to_tensor(kernel, dtype)

    def get_config(self):
        return {"seed": self.seed}


def whitening_kernel(images):
    """Return filters that make the pixels of a patch uncorrelated, each with both its signs.

    Args:
        images: uint8 `(count, height, width, channels)`.

    Returns:
        float32 `(PATCH, PATCH, channels, 2 * PATCH * PATCH * channels)`, most variance first.
    """
    windows = np.lib.stride_tricks.sliding_window_view(images / 255, (PATCH, PATCH), axis=(1, 2))
    # Pixels of a patch in the order of a kernel's: rows, columns, channels.
    patches = np.moveaxis(windows, 3, -1).reshape(-1, PATCH * PATCH * images.shape[-1])
    variances, directions = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (directions / np.sqrt(variances + 5e-4))[:, ::-1]
    kernel = np.concatenate([filters, -filters], axis=1).astype("float32")
    return kernel.reshape(PATCH, PATCH, images.shape[-1], -1)


def block(x, filters, name):
    """Apply two convolutions; the first one's map is halved before it is normalized."""
    for index in (1, 2):
        conv = Conv2D(
            filters, 3, use_bias=False, kernel_initializer=Dirac(), name=f"{name}_conv{index}"
        )
        x = conv(x)
        if index == 1:
            x = MaxPool2D(name=f"{name}_pool")(x)
        x = norm_relu(x, f"{name}_{index}", momentum=MOMENTUM)
    return x


def airbench(input_shape, num_classes, width=32, dropout_rate=0.0):
    """Build the network that maps 0-255 images to logits.

    Training sets the first kernel by `whitening_kernel` from its images; until then it is random.

    Args:
        input_shape: 3 ints. Height and width, both at least 9, and channels.
        num_classes: int. Number of logits.
        width: int. Filters of the first block; the others have four times as many.
        dropout_rate: float. Share of the pooled features dropped in training.

    Example:

    >>> airbench((28, 28, 1), num_classes=10).output["logits"].shape
    (None, 10)
    """
    width, dropout_rate = positive_int(width, "width"), fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, smallest=9)
    x = Conv2D(
        2 * PATCH**2 * input_shape[-1],
        PATCH,
        padding="valid",
        use_bias=False,
        trainable=False,
        name=WHITENING,
    )(x)
    x = layers.ReLU(name="whitening_relu")(x)
    for index, times in enumerate(BLOCKS, start=1):
        x = block(x, times * width, f"block{index}")
    features = GlobalMaxPool2D(name="pool")(x)
    features = layers.Dropout(dropout_rate, name="dropout")(features)
    # Small logits at first, as in the paper.
    features = layers.Rescaling(1 / 9, name="temperature")(features)
    return classifier(image, features, num_classes, name="airbench")
