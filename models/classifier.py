"""The two ends that every image classifier shares: raw pixels in, named logits out."""

import keras
from keras import layers

from models.layers import GlobalAveragePool2D
from models.layers.arguments import positive_int, positive_ints


def image_input(input_shape, smallest):
    """Return the input `image`, float32 pixels of 0-255, and those pixels rescaled to 0-1.

    Args:
        input_shape: 3 ints. Height, width and channels.
        smallest: int. Least height and width that the network can work on.
    """
    height, width, channels = positive_ints(input_shape, 3, "input_shape")
    if min(height, width) < smallest:
        raise ValueError(
            f"`input_shape` must have a height and a width of at least {smallest}. "
            f"Received: input_shape={input_shape}"
        )
    image = keras.Input((height, width, channels), dtype="float32", name="image")
    # In float32 under every policy: bfloat16 would round 1 / 255 by 0.4 %.
    return image, layers.Rescaling(1 / 255, dtype="float32", name="rescale")(image)


def classifier(image, features, num_classes, name):
    """Return the model that answers `{"logits": ...}`, float32 under every policy."""
    units = positive_int(num_classes, "num_classes")
    logits = layers.Dense(units, dtype="float32", name="logits")(features)
    return keras.Model(image, {"logits": logits}, name=name)


def pooled_classifier(image, maps, num_classes, dropout_rate, name):
    """Return the `classifier` that averages each channel over the last maps, then drops some."""
    features = GlobalAveragePool2D(name="pool")(maps)
    features = layers.Dropout(dropout_rate, name="dropout")(features)
    return classifier(image, features, num_classes, name)
