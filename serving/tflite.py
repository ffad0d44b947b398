"""A TFLite file as a function from pixels to probabilities, in whichever runtime is installed."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving.answers import Answer, top_k
from serving.errors import ConvoyError
from serving.image import Shape, read_pixels

# The successor first: it checks a file before it runs it.
RUNTIMES = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
DTYPES = (np.float32, np.uint8, np.int8, np.int16)


class Tensor(NamedTuple):
    """An input or output of the interpreter; float32 ones have scale 0."""

    index: int
    shape: tuple[int, ...]
    dtype: type
    scale: float
    zero_point: int

    @classmethod
    def of(cls, details: dict[str, Any]) -> "Tensor":
        """Take what matters from the interpreter's description."""
        shape = tuple(int(size) for size in details["shape"])
        return cls(details["index"], shape, details["dtype"], *details["quantization"])


def quantised(pixels: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Express pixels 0-255 in the numbers an input takes."""
    if tensor.dtype == np.float32:
        return pixels.astype(np.float32)
    if (tensor.dtype, tensor.scale, tensor.zero_point) == (np.uint8, 1.0, 0):
        return pixels
    limits = np.iinfo(tensor.dtype)
    # Pixels are not negative, so this rounds halves away from zero, as the runtime does.
    steps = np.floor(pixels / tensor.scale + 0.5) + tensor.zero_point
    return np.clip(steps, limits.min, limits.max).astype(tensor.dtype)


def dequantised(values: np.ndarray, tensor: Tensor) -> np.ndarray:
    """Express an output's numbers as float32."""
    if tensor.dtype == np.float32:
        return values
    return (values.astype(np.float32) - tensor.zero_point) * np.float32(tensor.scale)


class EdgeModel:
    """A TFLite image classifier, ready to answer.

    Args:
        path: the `.tflite` file.
        labels: names of the classes; `class 0`, `class 1`, ... by default.
        num_threads: threads of one prediction.
        route: the route under which a bundle lists the file.

    Raises:
        ConvoyError: the file is missing, damaged, or no image classifier.
    """

    def __init__(
        self,
        path: str | Path,
        labels: Sequence[str] | None = None,
        num_threads: int = 1,
        route: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.route = route
        self._interpreter = start(self.path, num_threads)
        self._input = sole(self._interpreter.get_input_details(), "input", self.path)
        self._output = sole(self._interpreter.get_output_details(), "output", self.path)
        self.shape = image_shape(self._input, self.path)
        self.num_classes = class_count(self._output, self.path)
        self.labels = tuple(labels or (f"class {index}" for index in range(self.num_classes)))
        if len(self.labels) != self.num_classes:
            raise ConvoyError(
                f"{self.path} does not fit its labels: expected {len(self.labels)} classes, "
                f"received {self.num_classes}; take both from the same bundle."
            )

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Answer one image: uint8 `(height, width, channels)` to float32 `(classes,)`.

        Raises:
            ConvoyError: `pixels` have another shape or type, or the model fails.
        """
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise ConvoyError(
                f"`pixels` do not fit {self.path}: expected uint8 {self.shape}, received "
                f"{pixels.dtype} {pixels.shape}; read the image with `read_pixels(path, shape)`."
            )
        values = quantised(pixels, self._input)[np.newaxis]
        self._interpreter.set_tensor(self._input.index, values)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise not_runnable(self.path, error) from error
        return dequantised(self._interpreter.get_tensor(self._output.index)[0], self._output)

    def answers(self, image: str | Path | bytes, k: int = 3) -> list[Answer]:
        """Name the `k` likeliest classes of an image file.

        Raises:
            ConvoyError: the image cannot be read.
        """
        return top_k(self.probabilities(read_pixels(image, self.shape)), self.labels, k)


def runtime() -> Any:
    """Find the interpreter class of an installed TFLite runtime.

    Raises:
        ConvoyError: none is installed.
    """
    reasons = []
    for module in RUNTIMES:
        try:
            return importlib.import_module(module).Interpreter
        except (ImportError, OSError, AttributeError) as error:
            reasons.append(str(error))
    raise ConvoyError(
        "No TFLite runtime is at hand: expected ai-edge-litert or tflite-runtime, "
        f"received {'; '.join(reasons)}; run `pip install ai-edge-litert`."
    )


def not_runnable(path: Path, error: Exception) -> ConvoyError:
    """The one sentence for a model that the runtime rejects."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return ConvoyError(
        f"{path} cannot be run: expected a whole TensorFlow Lite model, received `{reason}`; "
        "export it again, or update the runtime if it lacks an operation."
    )


def start(path: Path, num_threads: int) -> Any:
    """Start an interpreter on a file and let it allocate its memory.

    Raises:
        ConvoyError: the file is missing or damaged, or the runtime cannot run it.
    """
    interpreter = runtime()
    try:
        with path.open("rb") as stream:
            if stream.read(8)[4:] != b"TFL3":
                raise ValueError("a file of another kind, or a part of one")
        interpreter = interpreter(model_path=str(path), num_threads=num_threads)
        interpreter.allocate_tensors()
        return interpreter
    except Exception as error:  # Runtimes fail on damaged files in whatever way they meet first.
        raise not_runnable(path, error) from error


def refuse(path: Path, expected: str, received: object) -> ConvoyError:
    """The one sentence for a model that is no image classifier."""
    return ConvoyError(
        f"{path} is no image classifier: expected {expected}, received {received}; "
        "export a classification network with batch size 1."
    )


def sole(details: list[dict[str, Any]], role: str, path: Path) -> Tensor:
    """Take the only input or output of a model."""
    types = [each["dtype"] for each in details]
    if len(types) != 1 or types[0] not in DTYPES:
        known = ", ".join(each.__name__ for each in DTYPES)
        received = ", ".join(each.__name__ for each in types) or "none"
        raise refuse(path, f"one {role} of type {known}", received)
    return Tensor.of(details[0])


def image_shape(tensor: Tensor, path: Path) -> Shape:
    """`(height, width, channels)` of an input that takes one image."""
    match tensor.shape:
        case (1, height, width, 1 | 3 as channels) if height > 0 and width > 0:
            return (height, width, channels)
    raise refuse(path, "input (1, height, width, 1 or 3)", tensor.shape)


def class_count(tensor: Tensor, path: Path) -> int:
    """Number of classes in an output that holds one answer."""
    match tensor.shape:
        case (1, count) if count > 0:
            return count
    raise refuse(path, "output (1, classes)", tensor.shape)
