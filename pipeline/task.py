"""What a network answers, how that is learned, and how two answers are compared.

Everything is a fraction in 0-1.
"""

from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np

from pipeline.recipe import Training
from serving.errors import ConvoyError

# The choice of a network that answers with something else than numbers.
NONE = -1


@dataclass(frozen=True)
class Classification:
    """One class per example, from one probability per class."""

    labels: tuple[str, ...]
    name = "classification"
    output = "probabilities"
    # The metric that chooses the best weights: higher is better.
    metric = "accuracy"

    def loss(self, training: Training, labels: np.ndarray) -> keras.losses.Loss:
        """The recipe's loss of logits; `labels` of the training split tell how rare a class is.

        Raises:
            ConvoyError: class weights for another number of classes.
        """
        kind = LOSSES[training.loss]
        weights = self.class_weights(training.class_weights, labels)
        return kind(len(self.labels), training.label_smoothing, weights)

    def class_weights(
        self, wanted: Literal["none", "balanced"] | tuple[float, ...], labels: np.ndarray
    ) -> tuple[float, ...] | None:
        """How much each class counts; on average over `labels` 1, where balanced."""
        if wanted == "none":
            return None
        if wanted == "balanced":
            counts = np.bincount(labels, minlength=len(self.labels))
            return tuple(len(labels) / len(self.labels) / np.maximum(counts, 1))
        if not all(0 <= weight < float("inf") for weight in wanted):
            raise ConvoyError(
                "--training.class-weights are out of range: expected numbers from 0, received "
                f"{wanted}; give others."
            )
        if len(wanted) != len(self.labels):
            raise ConvoyError(
                f"--training.class-weights do not fit: expected {len(self.labels)} numbers, one "
                f"for each class, received {len(wanted)}; give them in the order of the classes."
            )
        return wanted

    def metrics(self) -> list[keras.metrics.Metric]:
        """What training reports next to the loss."""
        return [Accuracy(name=self.metric)]

    def activate(self, logits: keras.KerasTensor) -> keras.KerasTensor:
        """What an exported file answers, from what the network computes."""
        return keras.ops.softmax(logits, axis=-1)

    def answer(self, network: keras.Model, image: Any) -> dict[str, Any]:
        """What every exported file computes from a batch of images, by the output's name."""
        return {self.output: self.activate(network(image, training=False)["logits"])}

    def score(self, probabilities: np.ndarray, labels: np.ndarray) -> float:
        """Share of examples whose most probable class is right."""
        return float(np.mean(chosen(probabilities) == labels))

    def agreement(self, probabilities: np.ndarray, reference: np.ndarray) -> float:
        """Share of examples on which both choose the same class, and do choose one."""
        choices = chosen(probabilities)
        return float(np.mean((choices == chosen(reference)) & (choices != NONE)))

    def differences(self, probabilities: np.ndarray, reference: np.ndarray) -> tuple[float, float]:
        """Of single probabilities from those of `reference`: the mean and the largest.

        What is no number is as far off as a probability can be.
        """
        apart = np.nan_to_num(np.abs(probabilities - reference), nan=1.0, posinf=1.0)
        return float(apart.mean()), float(apart.max())

    def worst_class_drop(
        self, probabilities: np.ndarray, reference: np.ndarray, labels: np.ndarray
    ) -> tuple[str, float]:
        """The class that loses most accuracy against `reference`, and how much."""
        lost = (chosen(reference) == labels).astype(float) - (chosen(probabilities) == labels)
        drops = {label: lost[labels == label].mean() for label in np.unique(labels)}
        worst = max(drops, key=lambda label: drops[label])
        return self.labels[worst], float(drops[worst])


def chosen(probabilities: np.ndarray) -> np.ndarray:
    """The most probable class of each example; `NONE` where an answer is not finite."""
    return np.where(np.isfinite(probabilities).all(axis=-1), probabilities.argmax(axis=-1), NONE)


@keras.saving.register_keras_serializable(package="pipeline")
class Accuracy(keras.metrics.MeanMetricWrapper):
    """Share of examples whose highest logit is that of the right class, or of the largest share."""

    def __init__(self, name="accuracy", dtype=None):
        super().__init__(is_right, name=name, dtype=dtype)

    def get_config(self):
        return {"name": self.name, "dtype": self.dtype}


def is_right(targets: Any, logits: Any) -> Any:
    """1 where the highest logit is that of the target, else 0."""
    right = keras.ops.argmax(targets, axis=-1) if len(targets.shape) > 1 else targets
    answered = keras.ops.argmax(logits, axis=-1)
    return keras.ops.cast(
        keras.ops.equal(keras.ops.cast(right, answered.dtype), answered), "float32"
    )


class ClassLoss(keras.losses.Loss):
    """Base of the losses of logits against classes, or shares of them.

    Args:
        num_classes: int. Length of the last axis of the logits.
        label_smoothing: float. Share taken from the targets and given to all
            classes equally.
        class_weights: floats. How much each class counts; all alike where `None`.

    Reference:
        Szegedy et al., 2015. https://arxiv.org/abs/1512.00567 (label smoothing)
    """

    def __init__(self, num_classes, label_smoothing=0.0, class_weights=None, name="loss", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing
        self.class_weights = class_weights

    def call(self, targets, logits):
        if len(targets.shape) < len(logits.shape):
            targets = keras.ops.one_hot(targets, self.num_classes, dtype=logits.dtype)
        taken = keras.ops.cast(self.label_smoothing, logits.dtype)
        smooth = targets * (1 - taken) + taken / self.num_classes
        loss = self.of_shares(smooth, logits)
        if self.class_weights is None:
            return loss
        weights = keras.ops.convert_to_tensor(self.class_weights, logits.dtype)
        return loss * keras.ops.sum(targets * weights, axis=-1)

    def of_shares(self, targets, logits):
        """The loss of each example, given shares of the classes that sum to one."""
        raise NotImplementedError

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "label_smoothing": self.label_smoothing,
            "class_weights": self.class_weights,
        }


@keras.saving.register_keras_serializable(package="pipeline")
class CrossEntropy(ClassLoss):
    """Minus the logarithm of what is answered for the right class."""

    def of_shares(self, targets, logits):
        return keras.ops.categorical_crossentropy(targets, logits, from_logits=True)


@keras.saving.register_keras_serializable(package="pipeline")
class QuadraticLoss(ClassLoss):
    """Half the squared distance of the probabilities from the targets.

    Its gradient vanishes where a wrong answer is certain, which is why
    cross-entropy took its place.
    """

    def of_shares(self, targets, logits):
        distances = keras.ops.softmax(logits, axis=-1) - targets
        return keras.ops.sum(keras.ops.square(distances), axis=-1) / 2


LOSSES = {"cross_entropy": CrossEntropy, "quadratic": QuadraticLoss}
