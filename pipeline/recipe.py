"""A recipe says everything about a training in one frozen dataclass.

Every field is a flag of `convoy train`: `convoy train fashion --training.epochs 3`.
"""

import dataclasses
import functools
import inspect
import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

import models
from serving.errors import ConvoyError, nearest

MANY = 2**31
# NumPy takes seeds up to here.
SEEDS = 2**32 - 1


class Ranged:
    """A part of a recipe that refuses numbers out of range, `section` naming it in flags."""

    section: ClassVar[str]
    # Field -> least and most; a field that is not named here may be anything of its type.
    ranges: ClassVar[dict[str, tuple[float, float]]]

    def __post_init__(self) -> None:
        for name, (least, most) in self.ranges.items():
            value = getattr(self, name)
            if value is not None and not least <= value <= most:
                flag = f"--{self.section}{name.replace('_', '-')}"
                expected = f"at least {least:g}" if most == MANY else f"{least:g} to {most:,}"
                raise ConvoyError(
                    f"{flag} is out of range: expected {expected}, received {value:g}; "
                    "give another value."
                )


@dataclass(frozen=True)
class Data(Ranged):
    """Where the images come from, how they are split and how they are varied."""

    section = "data."
    ranges = {
        "height": (1, MANY),
        "width": (1, MANY),
        "validation_fraction": (0.001, 0.9),
        "test_fraction": (0.001, 0.9),
        "max_train_images": (2, MANY),
        "max_test_images": (1, MANY),
        "split_seed": (0, SEEDS),
        "batch_size": (1, MANY),
        "shift": (0, MANY),
        "erase": (0, 1),
        "cutout": (0, MANY),
        "mixup": (0, MANY),
        "cutmix": (0, MANY),
        "rand_augment": (0, 20),
        "magnitude": (0, 10),
    }

    source: str = "fashion_mnist"
    """A TFDS name, or an image folder: class/image.png, or train/class and test/class."""
    folder: Path = Path("data")
    """Where prepared data sets are kept."""
    height: int | None = None
    """Rows to resize to; the data set's own when not given."""
    width: int | None = None
    """Columns to resize to; the data set's own when not given."""
    channels: Literal[1, 3] | None = None
    """1 for grey, 3 for colour; the data set's own when not given."""
    validation_fraction: float = 1 / 12
    """Share of the training images that choices are made on."""
    test_fraction: float = 0.1
    """Share held back as test split, where the source has none of its own."""
    split_seed: int = 0
    """Which images fall into which split."""
    max_train_images: int | None = None
    """Train on this many images at most."""
    max_test_images: int | None = None
    """Measure on this many test images at most; a proof wants them all."""
    batch_size: int = 256
    """Images in one step."""
    flip: Literal["alternating", "random", "none"] = "alternating"
    """Mirror training images left to right: in every second epoch, or by chance."""
    shift: int = 2
    """Move training images by up to this many pixels each way."""
    erase: float = 0.0
    """Share of the training images that lose a rectangle to noise."""
    cutout: int = 0
    """Side of a square of zeros in each training image, in pixels."""
    rand_augment: int = 0
    """How many random changes of shape or colour each training image undergoes."""
    magnitude: float = 5.0
    """How strong those changes are, from 0 to 10."""
    mixup: float = 0.0
    """Blend each training image with another; the shares are drawn from Beta(mixup, mixup)."""
    cutmix: float = 0.0
    """Paste a rectangle of another training image; its share is drawn from Beta(cutmix, cutmix)."""


@dataclass(frozen=True)
class Network:
    """Which network; `network(...)` adds the architecture's own options as fields."""

    architecture: str
    """A key of `models.ARCHITECTURES`."""

    @property
    def options(self) -> dict[str, Any]:
        """The architecture's own options."""
        content = dataclasses.asdict(self)
        del content["architecture"]
        return content


def network(architecture: str, **options: Any) -> Network:
    """Describe a network with its options, all of them, typed like their defaults.

    Example:

    >>> network("resnet20", width=32).options["width"]
    32

    Raises:
        ConvoyError: unknown architecture or option.
    """
    kind = network_kind(architecture)
    known = [each.name for each in dataclasses.fields(kind)]
    for option in options:
        if option not in known:
            raise ConvoyError(
                f"network `{architecture}` has no option `{option}`: {nearest(option, known)}"
            )
    return kind(architecture, **options)


@functools.cache
def network_kind(architecture: str) -> type[Network]:
    """The dataclass with the options of an architecture, read off its function.

    Raises:
        ConvoyError: unknown architecture.
    """
    if architecture not in models.ARCHITECTURES:
        raise ConvoyError(
            f"unknown network `{architecture}`: {nearest(architecture, models.ARCHITECTURES)}"
        )
    parameters = inspect.signature(models.ARCHITECTURES[architecture]).parameters.values()
    options = [
        (parameter.name, type(parameter.default), field(default=parameter.default))
        for parameter in parameters
        if parameter.default is not parameter.empty
    ]
    return dataclasses.make_dataclass(
        architecture.capitalize(), options, bases=(Network,), frozen=True
    )


@dataclass(frozen=True)
class Training(Ranged):
    """How the weights are found."""

    section = "training."
    ranges = {
        "epochs": (1, MANY),
        "learning_rate": (0, MANY),
        "warmup": (0, 0.99),
        "momentum": (0, 0.9999),
        "weight_decay": (0, 1),
        "bias_rate": (0, 1000),
        "clip_norm": (0, MANY),
        "average": (0, 0.99999),
        "label_smoothing": (0, 0.99),
        "validate_every": (1, MANY),
        "checkpoint_seconds": (0, MANY),
    }

    epochs: int = 10
    """Passes over the training images."""
    optimizer: str = "SGD"
    """A Keras optimizer by name, such as Adam; SGD has Nesterov momentum."""
    learning_rate: float = 0.4
    """Peak of the schedule."""
    warmup: float = 0.2
    """Share of the training over which the learning rate rises from zero."""
    decay: Literal["linear", "cosine", "step", "none"] = "linear"
    """How the learning rate falls after the peak: to zero, or by 10 at half and three quarters."""
    momentum: float = 0.9
    """Of SGD; other optimizers have their own."""
    weight_decay: float = 5e-3
    """Decoupled: kernels shrink by learning_rate * weight_decay a step; biases and norms do not."""
    bias_rate: float = 1.0
    """How many times faster SGD moves biases and the offsets of norms."""
    clip_norm: float | None = None
    """Scale gradients down whose norm, over all weights, is larger."""
    average: float = 0.0
    """Keep a moving average of the weights, of which a step leaves this share as it was."""
    label_smoothing: float = 0.1
    """Probability taken from the right class and shared by all."""
    loss: Literal["cross_entropy", "quadratic"] = "cross_entropy"
    """What is made small; quadratic is the squared error of the probabilities."""
    class_weights: Literal["none", "balanced"] | tuple[float, ...] = "none"
    """How much a class counts: all alike, inverse to its frequency, or one number for each."""
    initialization: Literal[
        "network", "he_normal", "glorot_uniform", "lecun_normal", "wide", "zeros"
    ] = "network"
    """How kernels begin: as the network has it, or all of them as named; wide is N(0, 1)."""
    start_from: Path | None = None
    """A finished run, or its model.keras, whose weights to begin with where they fit."""
    precision: Literal["auto", "float32", "bfloat16", "float16"] = "auto"
    """Of the arithmetic; weights and logits are float32 always."""
    deterministic: bool = False
    """Only operations that give the same bits each time; slower on GPUs."""
    validate_every: int = 1
    """Epochs between looks at the validation split; the last one always has one."""
    checkpoint_seconds: float = 60.0
    """Time between checkpoints; the end of an epoch with a look has one always."""


@dataclass(frozen=True)
class Gate(Ranged):
    """What an exported file must prove before it may ship."""

    section = "export.gate."
    ranges = {
        "min_float_agreement": (0, 1),
        "max_quantized_loss": (0, 1),
        "max_class_drop": (0, 1),
        "max_bytes": (1, MANY),
        "max_arena_bytes": (1, MANY),
        "max_latency_ms": (0, MANY),
    }

    min_float_agreement: float = 0.999
    """Share of test images on which a float route answers as the Keras model does."""
    max_quantized_loss: float = 0.005
    """Accuracy an integer route may lose, as a fraction: 0.005 is half a percentage point."""
    max_class_drop: float | None = None
    """Accuracy any single class may lose, as a fraction."""
    max_bytes: int | None = None
    """Size of a route's files, together; of C source, that of the model in it."""
    max_arena_bytes: int | None = None
    """Memory that a microcontroller needs beside the file."""
    max_latency_ms: float | None = None
    """Median time for one image on one thread."""


# Of a TFLite file: floats, weights halved, weights in eight bits, everything in eight bits, and
# weights in eight bits with activations in sixteen.
Variant = Literal["fp32", "fp16", "dynamic", "int8", "int16x8"]


@dataclass(frozen=True)
class Export(Ranged):
    """Which files are written, from what, and when they may ship."""

    section = "export."
    ranges = {"calibration_images": (1, MANY)}

    tflite: tuple[Variant, ...] = ("fp32", "int8")
    """Which TFLite files to write, beside the SavedModel."""
    onnx: bool = False
    """Write an ONNX file too, for ONNX Runtime and what else reads it."""
    mediapipe: bool = False
    """Write a TFLite file for MediaPipe Tasks too: colour images in, the labels inside."""
    micro: bool = False
    """Write the int8 file as C source too, for TFLite Micro on microcontrollers."""
    calibration_images: int = 500
    """Training images, balanced over the classes, that set the ranges of the int8 file."""
    keep_float: tuple[str, ...] = ()
    """Layers that the int8 file leaves to floats, as `convoy export RUN --diagnose` names them;
    `auto` finds the fewest with which validation images pass the gate."""
    equalize: bool = False
    """Make the channels between two layers of like sizes before they are rounded."""
    gate: Gate = Gate()

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Export":
        """The inverse of `dataclasses.asdict`, after JSON."""
        plain = dict(content)
        gate, tflite = Gate(**plain.pop("gate")), tuple(plain.pop("tflite", cls.tflite))
        keep_float = tuple(plain.pop("keep_float", cls.keep_float))
        return cls(**plain, tflite=tflite, keep_float=keep_float, gate=gate)


@dataclass(frozen=True)
class Recipe(Ranged):
    """Everything about a training."""

    section = ""
    ranges = {"seed": (0, SEEDS)}

    name: str
    """Of the run folder and of the exported model."""
    network: Network
    data: Data = Data()
    training: Training = Training()
    export: Export = Export()
    quantize: Literal["none", "qat"] = "none"
    """qat: train on, from --training.start-from, a network that rounds as its int8 file will."""
    seed: int = 0
    """Of initial weights, shuffling and augmentation."""
    runs: Path = Path("runs")
    """Where run folders are made."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", self.name, re.ASCII) or self.name == "latest":
            raise ConvoyError(
                "--name does not fit a file's name: expected letters, digits, `_`, `-` and `.`, "
                f"other than `latest`, received `{self.name}`; give another name."
            )
        if self.quantize == "qat" and self.training.start_from is None:
            raise ConvoyError(
                "--quantize qat has nothing to begin with: expected a finished run, received none; "
                "give --training.start-from RUN."
            )
        if self.quantize == "qat" and self.training.precision not in ("auto", "float32"):
            raise ConvoyError(
                "--quantize qat trains in float32, which holds every step of an integer: expected "
                f"auto or float32, received {self.training.precision}; leave --training.precision "
                "out."
            )

    def fine_tuning(self) -> "Recipe":
        """What `--quantize qat` makes of this recipe, before other flags: short, slow, int8 alone.

        Norms are part of kernels by then, and no longer make up for large steps.
        """
        training = dataclasses.replace(
            self.training,
            epochs=max(1, self.training.epochs // 10),
            learning_rate=self.training.learning_rate / 200,
        )
        export = dataclasses.replace(
            self.export,
            tflite=("int8",),
            onnx=False,
            mediapipe=False,
            keep_float=(),
            equalize=False,
        )
        return dataclasses.replace(self, training=training, export=export)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, ready for JSON."""
        return json.loads(json.dumps(dataclasses.asdict(self), default=str))

    def identity(self) -> dict[str, Any]:
        """What its results depend on: all but where files lie and how often they are kept."""
        content = self.to_dict()
        del content["runs"], content["data"]["folder"], content["training"]["checkpoint_seconds"]
        return content

    @classmethod
    def from_dict(cls, content: dict[str, Any]) -> "Recipe":
        """The inverse of `to_dict`."""
        data, training = dict(content["data"]), dict(content["training"])
        folder = Path(data.pop("folder"))
        weights, start = training["class_weights"], training["start_from"]
        training["class_weights"] = weights if isinstance(weights, str) else tuple(weights)
        training["start_from"] = start and Path(start)
        return cls(
            name=content["name"],
            data=Data(**data, folder=folder),
            network=network(**content["network"]),
            training=Training(**training),
            export=Export.from_dict(content["export"]),
            quantize=content.get("quantize", cls.quantize),
            seed=content["seed"],
            runs=Path(content["runs"]),
        )
