"""ID-CNN: one block of dilated convolutions, applied again and again, labels every token of a text.

Each of the block's convolutions reaches twice as far as the one before, but for a last one that
looks at neighbours, and their weights are shared by all iterations, so the field of view grows
without a parameter more. Modern in one way: kernels start as He et al. draw them, not as the
identity.

Reference: Strubell et al., 2017. Fast and accurate entity recognition with iterated dilated
convolutions. https://arxiv.org/abs/1702.02098
"""

from keras import layers

from models.classifier import classifier, embedded_tokens
from models.layers import Conv1D, DilatedStack1D
from models.layers.arguments import fraction, positive_int


def idcnn(
    input_shape,
    num_classes,
    width=300,
    vocabulary_size=20_000,
    dimensions=100,
    depth=3,
    iterations=4,
    dropout_rate=0.15,
):
    """Build a sequence labeller that maps tokens to logits for each of them.

    Tokens are ints from 1 to `vocabulary_size - 1`; zeros at the end are padding, which has no
    label, and never changes the answer of another position.

    Args:
        input_shape: 1 int. Length of every text, or `None` where batches differ.
        num_classes: int. Number of logits for each position.
        width: int. Filters of every convolution; 300 in the paper.
        vocabulary_size: int. Number of tokens, the padding among them.
        dimensions: int. Length of the vector that stands for a token; 100 in the paper.
        depth: int. Convolutions in the block whose dilations are 1, 2, 4 and so on; one of
            dilation 1 follows them.
        iterations: int. How often the block is applied.
        dropout_rate: float. Share of the first and last activations dropped in training.

    Example:

    >>> idcnn((None,), num_classes=9).output["logits"].shape
    (None, None, 9)
    """
    width, depth = positive_int(width, "width"), positive_int(depth, "depth")
    iterations = positive_int(iterations, "iterations")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    tokens, x = embedded_tokens(input_shape, vocabulary_size, dimensions)
    x = layers.Dropout(dropout_rate, name="embedding_dropout")(x)
    x = Conv1D(width, 3, name="conv")(x)
    x = layers.ReLU(name="relu")(x)
    dilation_rates = (*(2**index for index in range(depth)), 1)
    x = DilatedStack1D(width, dilation_rates=dilation_rates, iterations=iterations, name="stack")(x)
    x = layers.Dropout(dropout_rate, name="dropout")(x)
    return classifier(tokens, x, num_classes, name="idcnn")
