"""Batch normalization, on the backend's fused kernel."""

from keras import layers, saving

from models import kernels
from models.layers.arguments import fraction
from models.layers.masking import of_positions


@saving.register_keras_serializable(package="models")
class BatchNorm(layers.Layer):
    """Gives each channel zero mean and unit variance, then a learned scale and offset.

    Training uses the statistics of the batch and keeps moving averages of them; inference uses
    those averages, and so does training once `trainable` is `False`. Statistics and weights are
    float32 under every dtype policy. Put it before the activation, and leave the bias of the
    layer before it out: the offset makes it redundant. What a mask hides is no part of the
    statistics.

    Args:
        momentum: float. Share of the moving averages that a batch leaves as it was.
        epsilon: float. Added to the variance, so that a constant channel does not divide by zero.

    Input shape:
        `(batch, ..., channels)`, of any rank from 2

    Output shape:
        That of the input.

    Example:

    >>> BatchNorm()(np.ones((8, 28, 28, 16)), training=True).shape
    (8, 28, 28, 16)

    Reference:
        Ioffe and Szegedy, 2015. https://arxiv.org/abs/1502.03167
    """

    def __init__(self, momentum=0.9, epsilon=1e-3, **kwargs):
        super().__init__(**kwargs)
        self.momentum = fraction(momentum, "momentum")
        if not epsilon > 0:
            raise ValueError(f"`epsilon` must be greater than 0. Received: epsilon={epsilon!r}")
        self.epsilon = float(epsilon)
        self.input_spec = layers.InputSpec(min_ndim=2)
        self.supports_masking = True

    def build(self, input_shape):
        channels = input_shape[-1]
        self.input_spec = layers.InputSpec(ndim=len(input_shape), axes={-1: channels})
        self.gamma = self._vector("gamma", channels, "ones")
        self.beta = self._vector("beta", channels, "zeros")
        self.moving_mean = self._vector("moving_mean", channels, "zeros", trainable=False)
        self.moving_variance = self._vector("moving_variance", channels, "ones", trainable=False)

    def call(self, inputs, training=False, mask=None):
        if not (training and self.trainable):
            return kernels.batch_norm_inference(
                inputs, self.gamma, self.beta, self.moving_mean, self.moving_variance, self.epsilon
            )
        outputs, mean, variance = kernels.batch_norm_training(
            inputs, self.gamma, self.beta, self.epsilon, of_positions(mask, inputs)
        )
        self._move(self.moving_mean, mean)
        self._move(self.moving_variance, variance)
        return outputs

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {**super().get_config(), "momentum": self.momentum, "epsilon": self.epsilon}

    def _vector(self, name, channels, initializer, trainable=True):
        return self.add_weight(
            name=name,
            shape=(channels,),
            initializer=initializer,
            dtype="float32",
            trainable=trainable,
            autocast=False,
        )

    def _move(self, average, value):
        average.assign(average * self.momentum + value * (1 - self.momentum))
