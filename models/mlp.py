"""MLP: dense layers alone, the baseline that convolutional networks are measured against.

Every unit sees every pixel, each through a weight of its own: nothing is local and nothing shared.

Reference: Rumelhart, Hinton and Williams, 1986. Learning representations by back-propagating
errors.
"""

from keras import layers

from models.classifier import classifier, image_input
from models.layers.arguments import fraction, positive_int


def mlp(input_shape, num_classes, width=30, depth=1, activation="sigmoid", dropout_rate=0.0):
    """Build a fully connected network that maps 0-255 images to logits.

    Args:
        input_shape: 3 ints. Height, width and channels.
        num_classes: int. Number of logits.
        width: int. Units of each hidden layer.
        depth: int. Number of hidden layers.
        activation: str. Function of the hidden units: `"sigmoid"`, `"tanh"`, `"relu"` or any other
            that Keras knows.
        dropout_rate: float. Share of the hidden activations dropped in training.

    Example:

    >>> mlp((28, 28, 1), num_classes=10).count_params()
    23860
    """
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    image, x = image_input(input_shape, smallest=1)
    x = layers.Flatten(name="flatten")(x)
    for index in range(1, positive_int(depth, "depth") + 1):
        x = layers.Dense(width, name=f"dense{index}")(x)
        x = layers.Activation(activation, name=f"dense{index}_activation")(x)
        x = layers.Dropout(dropout_rate, name=f"dense{index}_dropout")(x)
    return classifier(image, x, num_classes, name="mlp")
