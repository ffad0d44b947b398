"""Global pooling: one number for the whole of each channel, so that any size gives as many."""

import keras
from keras import layers, ops, saving

from models.layers.l2_pool import root, square
from models.layers.masking import hide, of_positions, sink, visible


class GlobalPool(layers.Layer):
    """Base of the global pools. A subclass sets `rank`, and `pool(inputs, mask)`.

    What a mask hides never counts; where it hides everything, the answer is 0.
    """

    rank: int

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.axes = tuple(range(1, self.rank + 1))
        self.input_spec = layers.InputSpec(ndim=self.rank + 2)

    def call(self, inputs, mask=None):
        return self.pool(inputs, of_positions(mask, inputs))

    def pool(self, inputs, mask):
        raise NotImplementedError

    def compute_mask(self, inputs, previous_mask=None):
        return None

    def compute_output_shape(self, input_shape):
        return (input_shape[0], input_shape[-1])


class GlobalMaxPool(GlobalPool):
    """Base of the global max pools. A subclass sets `rank`."""

    def pool(self, inputs, mask):
        if mask is None:
            return ops.max(inputs, self.axes)
        sees = ops.any(mask, self.axes)[:, None]
        return ops.where(sees, ops.max(sink(inputs, mask), self.axes), 0)


class GlobalAveragePool(GlobalPool):
    """Base of the global average pools. A subclass sets `rank`."""

    def pool(self, inputs, mask):
        if mask is None:
            return ops.mean(inputs, self.axes)
        whole = ops.cast(inputs, keras.backend.result_type(inputs.dtype, "float32"))
        count = ops.maximum(ops.sum(visible(whole, mask), self.axes), 1)
        return ops.cast(ops.sum(hide(whole, mask), self.axes) / count, inputs.dtype)


class GlobalL2Pool(GlobalPool):
    """Base of the global L2 pools. A subclass sets `rank`."""

    def pool(self, inputs, mask):
        shown = inputs if mask is None else hide(inputs, mask)
        return ops.cast(root(ops.sum(square(shown), self.axes)), inputs.dtype)


@saving.register_keras_serializable(package="models")
class GlobalMaxPool1D(GlobalMaxPool):
    """Keeps the largest value of each channel, whenever it comes: max over time.

    So a sequence of any length becomes a vector of one length.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalMaxPool1D()(np.ones((1, 50, 64))).shape
    (1, 64)

    Reference:
        Collobert et al., 2011. https://arxiv.org/abs/1103.0398
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class GlobalMaxPool2D(GlobalMaxPool):
    """Keeps the largest value of each channel, wherever in the image it is.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalMaxPool2D()(np.ones((1, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Oquab et al., 2015.
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class GlobalMaxPool3D(GlobalMaxPool):
    """Keeps the largest value of each channel, wherever in the volume it is.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalMaxPool3D()(np.ones((1, 4, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Oquab et al., 2015.
    """

    rank = 3


@saving.register_keras_serializable(package="models")
class GlobalAveragePool1D(GlobalAveragePool):
    """Averages each channel over the visible steps of a sequence.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalAveragePool1D()(np.ones((1, 50, 64))).shape
    (1, 64)

    Reference:
        Lin et al., 2013. https://arxiv.org/abs/1312.4400
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class GlobalAveragePool2D(GlobalAveragePool):
    """Averages each channel over the whole image, in place of a flatten and a dense layer.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalAveragePool2D()(np.ones((1, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Lin et al., 2013. https://arxiv.org/abs/1312.4400
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class GlobalAveragePool3D(GlobalAveragePool):
    """Averages each channel over the whole volume.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalAveragePool3D()(np.ones((1, 4, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Lin et al., 2013. https://arxiv.org/abs/1312.4400
    """

    rank = 3


@saving.register_keras_serializable(package="models")
class GlobalL2Pool1D(GlobalL2Pool):
    """Takes the root of the sum of squares of each channel over a sequence.

    Input shape:
        `(batch, steps, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalL2Pool1D()(np.ones((1, 50, 64))).shape
    (1, 64)

    Reference:
        Sermanet et al., 2012. https://arxiv.org/abs/1204.3968
    """

    rank = 1


@saving.register_keras_serializable(package="models")
class GlobalL2Pool2D(GlobalL2Pool):
    """Takes the root of the sum of squares of each channel over an image.

    Input shape:
        `(batch, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalL2Pool2D()(np.ones((1, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Sermanet et al., 2012. https://arxiv.org/abs/1204.3968
    """

    rank = 2


@saving.register_keras_serializable(package="models")
class GlobalL2Pool3D(GlobalL2Pool):
    """Takes the root of the sum of squares of each channel over a volume.

    Input shape:
        `(batch, depth, height, width, channels)`

    Output shape:
        `(batch, channels)`

    Example:

    >>> GlobalL2Pool3D()(np.ones((1, 4, 7, 7, 64))).shape
    (1, 64)

    Reference:
        Sermanet et al., 2012. https://arxiv.org/abs/1204.3968
    """

    rank = 3
