"""TextCNN: windows of several widths slide over a text; of each filter only its maximum counts.

So a text of any length becomes a vector of one length. Windows reach over both ends ("wide"
padding), so that texts shorter than a window have an answer too. The paper also holds the norm of
the last layer's weights to 3; here weight decay is a matter of training.

Reference: Kim, 2014. Convolutional neural networks for sentence classification.
https://arxiv.org/abs/1408.5882
Padding: Kalchbrenner et al., 2014. https://arxiv.org/abs/1404.2188
"""

from keras import layers

from models.classifier import classifier, embedded_tokens
from models.layers import Conv1D, GlobalMaxPool1D
from models.layers.arguments import fraction, positive_int

# Lengths of the windows, from section 3.1 of the paper.
WINDOWS = (3, 4, 5)


def strongest(x, filters, window):
    """Return for each filter over `window` tokens the largest of its outputs."""
    name = f"window{window}"
    x = Conv1D(filters, window, padding="wide", name=f"{name}_conv")(x)
    x = layers.ReLU(name=f"{name}_relu")(x)
    return GlobalMaxPool1D(name=f"{name}_pool")(x)


def textcnn(
    input_shape, num_classes, width=100, vocabulary_size=20_000, dimensions=300, dropout_rate=0.5
):
    """Build a text classifier that maps tokens to logits.

    Tokens are ints from 1 to `vocabulary_size - 1`, words or characters alike; zeros at the end
    are padding and never change the answer.

    Args:
        input_shape: 1 int. Length of every text, or `None` where batches differ.
        num_classes: int. Number of logits.
        width: int. Filters for each length of window; 100 in the paper.
        vocabulary_size: int. Number of tokens, the padding among them.
        dimensions: int. Length of the vector that stands for a token; 300 in the paper.
        dropout_rate: float. Share of the maxima dropped in training.

    Example:

    >>> textcnn((None,), num_classes=2).output["logits"].shape
    (None, 2)
    """
    width = positive_int(width, "width")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    tokens, x = embedded_tokens(input_shape, vocabulary_size, dimensions)
    maxima = [strongest(x, width, window) for window in WINDOWS]
    features = layers.Concatenate(name="join")(maxima)
    features = layers.Dropout(dropout_rate, name="dropout")(features)
    return classifier(tokens, features, num_classes, name="textcnn")
