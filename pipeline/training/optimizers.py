"""Optimizers by their Keras names, with decay for kernels alone; SGD on TensorFlow's fused op."""

from collections.abc import Sequence

import keras
import tensorflow as tf

from pipeline.recipe import Training
from pipeline.training.schedule import WarmupDecay
from serving.errors import ConvoyError, nearest

# The base of all, and what wraps others.
NOT_CHOSEN = ("Optimizer", "LossScaleOptimizer", "MultiOptimizer")


def make_optimizer(
    training: Training, steps: int, network: keras.Model
) -> keras.optimizers.Optimizer:
    """The recipe's optimizer for a training of so many steps.

    Raises:
        ConvoyError: Keras has no optimizer of that name, or a setting does not suit it.
    """
    kind = find_optimizer(training.optimizer)
    arguments = {
        "learning_rate": WarmupDecay(
            training.learning_rate, steps, training.warmup, training.decay
        ),
        # Most take `None` for none, and then spare themselves the work.
        "weight_decay": training.weight_decay or (0.0 if kind is keras.optimizers.AdamW else None),
        "global_clipnorm": training.clip_norm,
    }
    if training.bias_rate != 1 and kind is not FusedSGD:
        raise ConvoyError(
            f"--training.bias-rate does not suit {kind.__name__}: expected 1 for all optimizers "
            f"but SGD, received {training.bias_rate:g}; give 1, or --training.optimizer SGD."
        )
    if kind is FusedSGD:
        arguments |= {"momentum": training.momentum, "nesterov": True}
        arguments |= {"bias_rate": training.bias_rate}
    if kind is keras.optimizers.Muon:
        # What it does not orthogonalize it leaves to an Adam of its own.
        arguments["adam_weight_decay"] = training.weight_decay
    chosen = kind(**arguments)
    vectors = [weight for weight in network.trainable_variables if len(weight.shape) < 2]
    chosen.exclude_from_weight_decay(var_list=vectors)
    return chosen


def find_optimizer(name: str) -> type:
    """The class of that name, however it is capitalized; SGD is ours.

    Raises:
        ConvoyError: there is none.
    """
    known = {each.__name__: each for each in optimizers()}
    by_name = {each.lower(): each for each in known}
    if name.lower() not in by_name:
        raise ConvoyError(f"unknown --training.optimizer `{name}`: {nearest(name, known)}")
    found = known[by_name[name.lower()]]
    return FusedSGD if found is keras.optimizers.SGD else found


def optimizers() -> Sequence[type]:
    """Every optimizer of Keras."""
    return [
        each
        for name, each in vars(keras.optimizers).items()
        if isinstance(each, type)
        and issubclass(each, keras.optimizers.Optimizer)
        and name not in NOT_CHOSEN
    ]


@keras.saving.register_keras_serializable(package="pipeline")
class FusedSGD(keras.optimizers.SGD):
    """Stochastic gradient descent with momentum by one op for each weight, where Keras takes nine.

    Args:
        bias_rate: float. How many times faster biases and the offsets of norms move.
        **kwargs: as those of `keras.optimizers.SGD`.

    Reference:
        Sutskever et al., 2013. https://proceedings.mlr.press/v28/sutskever13.html
        Jordan, 2024. https://arxiv.org/abs/2404.00498 (faster offsets)
    """

    def __init__(self, *args, bias_rate=1.0, **kwargs):
        super().__init__(*args, **kwargs)
        self.bias_rate = bias_rate

    def build(self, variables):
        super().build(variables)
        self._offsets = {self._var_key(each) for each in variables if each.name in ("bias", "beta")}

    def update_step(self, gradient, variable, learning_rate):
        if self._var_key(variable) in self._offsets:
            learning_rate = learning_rate * self.bias_rate
        if self.momentum == 0 or isinstance(gradient, tf.IndexedSlices):
            super().update_step(gradient, variable, learning_rate)
            return
        speed = self.momentums[self._get_variable_index(variable)].value
        tf.raw_ops.ResourceApplyKerasMomentum(
            var=variable.handle,
            accum=speed.handle,
            lr=tf.cast(learning_rate, variable.dtype),
            grad=tf.cast(gradient, variable.dtype),
            momentum=tf.cast(self.momentum, variable.dtype),
            use_nesterov=self.nesterov,
        )

    def get_config(self):
        return {**super().get_config(), "bias_rate": self.bias_rate}
