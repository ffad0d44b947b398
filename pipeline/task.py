"""What a network answers, how that is learned, and how two answers are compared.

Everything is a fraction in 0-1.
"""

from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

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

    def loss(self, label_smoothing: float) -> keras.losses.Loss:
        """Cross-entropy on logits with integer labels."""
        return SmoothedCrossEntropy(len(self.labels), label_smoothing)

    def metrics(self) -> list[keras.metrics.Metric]:
        """What training reports next to the loss."""
        return [keras.metrics.SparseCategoricalAccuracy(name=self.metric)]

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
class SmoothedCrossEntropy(keras.losses.Loss):
    """Cross-entropy of logits against integer labels of which a little is shared by all.

    Args:
        num_classes: int. Length of the last axis of the logits.
        label_smoothing: float. Probability taken from the right class and given
            to all classes equally.

    Reference:
        Szegedy et al., 2015. https://arxiv.org/abs/1512.00567
    """

    def __init__(self, num_classes, label_smoothing=0.0, name="cross_entropy", **kwargs):
        super().__init__(name=name, **kwargs)
        self.num_classes = num_classes
        self.label_smoothing = label_smoothing

    def call(self, labels, logits):
        targets = keras.ops.one_hot(labels, self.num_classes, dtype=logits.dtype)
        targets = targets * (1 - self.label_smoothing) + self.label_smoothing / self.num_classes
        return keras.ops.categorical_crossentropy(targets, logits, from_logits=True)

    def get_config(self):
        return {
            **super().get_config(),
            "num_classes": self.num_classes,
            "label_smoothing": self.label_smoothing,
        }
