"""What rounding to int8 costs a network, layer by layer, and which layers floats would save.

All on validation images, by a network in floats that rounds as its int8 file does. The file itself
is proven on the test split afterwards.
"""

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import keras
import numpy as np

from models.equalize import equalized
from models.quantize import (
    Noise,
    calibrate,
    fake_quantized,
    is_fake_quantized,
    noises,
    roundings,
)
from pipeline.console import progress
from pipeline.data.splits import Examples, balanced
from pipeline.export.verify import probabilities
from pipeline.recipe import Export, Gate
from pipeline.task import Classification
from serving.errors import ConvoyError, nearest

AUTO = ("auto",)
# Images by which the noise of each layer is measured: a mean over all of their values.
NOISE_IMAGES = 100
# Numbers of calibration images to compare, each in so many draws.
COUNTS, DRAWS = (1, 3, 10, 30, 100, 300, 1000), 3


@dataclass(frozen=True)
class Rounding:
    """A trained network, the images that set its ranges, and others to choose on."""

    network: keras.Model
    task: Classification
    calibration: np.ndarray
    validation: Examples
    equalize: bool = False

    def rounded(
        self, keep_float: Sequence[str] = (), calibration: np.ndarray | None = None
    ) -> keras.Model:
        """The network as its int8 file answers, some layers left to floats."""
        network = fake_quantized(self.form, keep_float)
        calibrate(network, self.calibration if calibration is None else calibration)
        return network

    @functools.cached_property
    def form(self) -> keras.Model:
        """The network as it is rounded."""
        return equalized(self.network) if self.equalize else self.network

    @functools.cached_property
    def reference(self) -> np.ndarray:
        """What the network answers without rounding."""
        return self.answers(self.network)

    def answers(self, network: keras.Model) -> np.ndarray:
        """A network's probabilities for the validation images."""
        return probabilities(network, self.task, self.validation)

    def accuracy(self, answers: np.ndarray) -> float:
        """Of answers for the validation images, 0-1."""
        return self.task.score(answers, self.validation.labels)

    def passes(self, answers: np.ndarray, limits: Gate) -> bool:
        """Whether the gate would let a file ship that answers so."""
        lost = self.accuracy(self.reference) - self.accuracy(answers)
        _, drop = self.task.worst_class_drop(answers, self.reference, self.validation.labels)
        most = 1.0 if limits.max_class_drop is None else limits.max_class_drop
        return lost <= limits.max_quantized_loss + 1e-9 and drop <= most + 1e-9

    def noises(self, network: keras.Model) -> list[Noise]:
        """What each layer's rounding does to the answers, the most harmful first."""
        return noises(network, self.validation.images[:NOISE_IMAGES])


def require_unrounded(network: keras.Model) -> None:
    """Refuse to look at rounding where it is part of the network, or cannot be.

    Raises:
        ConvoyError: the network was trained to round, or cannot be rounded layer by layer.
    """
    if is_fake_quantized(network):
        raise ConvoyError(
            f"`{network.name}` was trained to round as int8 does: expected a network in floats, "
            "received one that has nothing to lose; give the run that it began with."
        )
    layers_that_round(network)


@dataclass(frozen=True)
class Diagnosis:
    """The noise of each layer, the most harmful first, and what all of it costs.

    Accuracies are of the validation split: in floats, all in int8, and with the
    most harmful layer left to floats.
    """

    noises: tuple[Noise, ...]
    images: int
    float_accuracy: float
    int8_accuracy: float
    kept_accuracy: float


def diagnose(rounding: Rounding) -> Diagnosis:
    """Find out which layer int8 hurts most, and what leaving it to floats would help."""
    with progress("diagnosing", total=3) as advance:
        network = rounding.rounded()
        found = tuple(rounding.noises(network))
        advance()
        int8 = rounding.accuracy(rounding.answers(network))
        advance()
        kept = rounding.accuracy(rounding.answers(rounding.rounded([found[0].layer])))
        advance()
    floats = rounding.accuracy(rounding.reference)
    return Diagnosis(found, len(rounding.validation), floats, int8, kept)


def layers_that_round(network: keras.Model) -> list[str]:
    """The names of the layers that would round, in order.

    Raises:
        ConvoyError: the network cannot be rounded layer by layer.
    """
    try:
        return list(roundings(fake_quantized(network)))
    except ValueError as error:
        raise ConvoyError(f"`{network.name}` cannot be rounded by layers: {error}") from error


def require_roundable(network: keras.Model, export: Export) -> None:
    """Refuse, before it is trained, a network of which no layers can be left to floats as wanted.

    Raises:
        ConvoyError: one named is no layer that rounds, there is no int8 file, or the network cannot
            be rounded layer by layer.
    """
    if not (export.keep_float or export.equalize):
        return
    known = layers_that_round(network)
    if export.keep_float and not (export.micro or "int8" in export.tflite):
        raise ConvoyError(
            "--export.keep-float has no file to be about: expected int8 among --export.tflite, or "
            f"--export.micro, received {', '.join(export.tflite) or 'neither'}; add one, or leave "
            "it out."
        )
    for name in export.keep_float if export.keep_float != AUTO else ():
        if name not in known:
            raise ConvoyError(
                f"--export.keep-float names no layer that rounds: {nearest(name, known)}"
            )


def float_layers(rounding: Rounding, export: Export) -> tuple[str, ...]:
    """The layers that the int8 file leaves to floats, found where they are not named.

    Raises:
        ConvoyError: none would do.
    """
    found = export.keep_float == AUTO
    return fewest_floats(rounding, export.gate) if found else export.keep_float


def fewest_floats(rounding: Rounding, limits: Gate) -> tuple[str, ...]:
    """The layers to leave to floats so that validation images pass the gate; none if they do.

    Layers join one by one, each time the one that harms the answers most. Of
    those that have joined, each is tried without in the end.

    Raises:
        ConvoyError: not even floats everywhere would do.
    """
    kept: list[str] = []

    def passes(network: keras.Model) -> bool:
        return rounding.passes(rounding.answers(network), limits)

    network = rounding.rounded()
    with progress("layers for floats", total=len(roundings(network))) as advance:
        while not passes(network):
            harmful = rounding.noises(network)
            if not harmful:
                raise ConvoyError(
                    "--export.keep-float auto found no layers: expected some with which validation "
                    "images pass the gate, received none, not even with all in floats; raise "
                    "--export.gate.max-quantized-loss or --export.gate.max-class-drop."
                )
            kept.append(harmful[0].layer)
            network = rounding.rounded(kept)
            advance(note=f"{len(kept)} so far")
        # The last one is what made it pass.
        for layer in kept[:-1]:
            fewer = [each for each in kept if each != layer]
            if passes(rounding.rounded(fewer)):
                kept = fewer
    return tuple(kept)


def calibration_curve(rounding: Rounding, train: Examples, seed: int) -> dict[int, list[float]]:
    """Accuracy in int8 on validation images, for numbers of calibration images.

    Returns:
        From each number to the accuracies of a few draws, 0-1.
    """
    counts = [count for count in COUNTS if count <= len(train)]
    found: dict[int, list[float]] = {}
    with progress("calibration curve", total=len(counts) * DRAWS) as advance:
        for count in counts:
            for draw in range(DRAWS):
                images = train.images[balanced(train, count, seed + draw)]
                network = rounding.rounded(calibration=images)
                found.setdefault(count, []).append(rounding.accuracy(rounding.answers(network)))
                advance()
    return found
