"""The two ends that networks share: raw pixels or tokens in, named logits out."""

import keras
from keras import layers

from models.layers import GlobalAveragePool2D
from models.layers.arguments import positive_int, positive_ints

# Height and width from which networks begin with the steps that photographs need.
LARGE = 64
# What the sizes of an input are called.
SIZES = {"image": "a height and a width", "volume": "a depth, a height and a width"}


def image_input(input_shape, smallest):
    """Return the input `image`, float32 pixels of 0-255, and those pixels rescaled to 0-1.

    Args:
        input_shape: 3 ints. Height, width and channels.
        smallest: int. Least height and width that the network can work on.
    """
    return rescaled_input("image", positive_ints(input_shape, 3, "input_shape"), smallest)


def volume_input(input_shape, smallest):
    """Return the input `volume`, float32 voxels of 0-255, and those voxels rescaled to 0-1.

    Args:
        input_shape: 4 ints. Depth, height, width and channels.
        smallest: int. Least depth, height and width that the network can work on.
    """
    return rescaled_input("volume", positive_ints(input_shape, 4, "input_shape"), smallest)


def rescaled_input(name, input_shape, smallest):
    """Return the input called `name`, of 0-255, and the same rescaled to 0-1."""
    if min(input_shape[:-1]) < smallest:
        raise ValueError(
            f"`input_shape` must have {SIZES[name]} of at least {smallest}. "
            f"Received: input_shape={input_shape}"
        )
    inputs = keras.Input(input_shape, dtype="float32", name=name)
    # In float32 under every policy: bfloat16 would round 1 / 255 by 0.4 %.
    return inputs, layers.Rescaling(1 / 255, dtype="float32", name="rescale")(inputs)


def is_large(input_shape):
    """Return whether images, or the images of a volume, are as large as photographs."""
    return min(input_shape[-3:-1]) >= LARGE


def embedded_tokens(input_shape, vocabulary_size, dimensions):
    """Return the input `tokens`, ints of which 0 is padding, and a learned vector for each.

    Args:
        input_shape: 1 int. Length of every sequence, or `None` where batches differ.
        vocabulary_size: int. Number of tokens, the padding among them.
        dimensions: int. Length of the vectors.
    """
    if input_shape not in ((None,), [None]):
        input_shape = positive_ints(input_shape, 1, "input_shape")
    tokens = keras.Input(input_shape, dtype="int32", name="tokens")
    embedding = layers.Embedding(
        positive_int(vocabulary_size, "vocabulary_size"),
        positive_int(dimensions, "dimensions"),
        # As Kim's code does it; Keras's own start, five times smaller, is slow to leave.
        embeddings_initializer=keras.initializers.RandomUniform(-0.25, 0.25),
        mask_zero=True,
        name="embedding",
    )
    return tokens, embedding(tokens)


def classifier(inputs, features, num_classes, name):
    """Return the model that answers `{"logits": ...}`, float32 under every policy."""
    units = positive_int(num_classes, "num_classes")
    logits = layers.Dense(units, dtype="float32", name="logits")(features)
    return keras.Model(inputs, {"logits": logits}, name=name)


def pooled_classifier(image, maps, num_classes, dropout_rate, name):
    """Return the `classifier` that averages each channel over the last maps, then drops some."""
    features = GlobalAveragePool2D(name="pool")(maps)
    features = layers.Dropout(dropout_rate, name="dropout")(features)
    return classifier(image, features, num_classes, name)


def dense_classifier(image, maps, num_classes, units, dropout_rate, name):
    """Return the `classifier` that sees the last maps through two hidden dense layers."""
    features = layers.Flatten(name="flatten")(maps)
    for index in (1, 2):
        dense = layers.Dense(units, kernel_initializer="he_normal", name=f"dense{index}")
        features = layers.ReLU(name=f"dense{index}_relu")(dense(features))
        features = layers.Dropout(dropout_rate, name=f"dense{index}_dropout")(features)
    return classifier(image, features, num_classes, name)
