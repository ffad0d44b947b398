"""A TFLite file as a function from pixels to probabilities, in whichever runtime is installed."""

import importlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from serving.classifier import ImageClassifier, not_runnable, refuse
from serving.delegate import Delegate
from serving.errors import ConvoyError

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


class EdgeModel(ImageClassifier):
    """A TFLite image classifier, ready to answer.

    Beside what every `ImageClassifier` takes, `delegate` names what runs parts of
    the network; the processor runs all of it by default.

    Raises:
        ConvoyError: the file is missing, damaged, or no image classifier, or the delegate fails.
    """

    format = "TensorFlow Lite"

    def __init__(
        self,
        path: str | Path,
        labels: Sequence[str] | None = None,
        num_threads: int = 1,
        route: str | None = None,
        delegate: Delegate | None = None,
    ) -> None:
        self._delegate = delegate
        super().__init__(path, labels, num_threads, route)

    def _start(self, num_threads: int) -> tuple[Sequence[int], Sequence[int]]:
        self._interpreter, inputs, outputs = start(self.path, num_threads, self._delegate)
        self._input = sole(inputs, "input", self.path)
        self._output = sole(outputs, "output", self.path)
        return self._input.shape, self._output.shape

    def _answer(self, pixels: np.ndarray) -> np.ndarray:
        self._interpreter.set_tensor(self._input.index, quantised(pixels, self._input))
        try:
            self._interpreter.invoke()
        except (RuntimeError, ValueError) as error:
            raise not_runnable(self.path, error, self.format) from error
        return dequantised(self._interpreter.get_tensor(self._output.index)[0], self._output)


def runtime() -> Any:
    """Find the module of an installed TFLite runtime: `Interpreter` and `load_delegate`.

    Raises:
        ConvoyError: none is installed.
    """
    reasons = []
    for module in RUNTIMES:
        try:
            found = importlib.import_module(module)
            if hasattr(found, "Interpreter"):
                return found
            reasons.append(f"`{module}` without an interpreter")
        except (ImportError, OSError) as error:
            reasons.append(str(error))
    raise ConvoyError(
        "No TFLite runtime is at hand: expected ai-edge-litert or tflite-runtime, "
        f"received {'; '.join(reasons)}; run `pip install ai-edge-litert`."
    )


def start(
    path: Path, num_threads: int, delegate: Delegate | None = None
) -> tuple[Any, list[dict], list[dict]]:
    """Start an interpreter on a file, let it allocate its memory and describe its ends.

    Raises:
        ConvoyError: the file is missing or damaged, or the runtime or the delegate cannot run it.
    """
    found = runtime()
    delegates = [delegate.load(found)] if delegate else None
    try:
        with path.open("rb") as stream:
            if stream.read(8)[4:] != b"TFL3":
                raise ValueError("a file of another kind, or a part of one")
        interpreter = found.Interpreter(
            str(path), experimental_delegates=delegates, num_threads=num_threads
        )
        interpreter.allocate_tensors()
        return interpreter, interpreter.get_input_details(), interpreter.get_output_details()
    except Exception as error:  # Runtimes fail on damaged files in whatever way they meet first.
        raise not_runnable(path, error, EdgeModel.format) from error


def sole(details: list[dict[str, Any]], role: str, path: Path) -> Tensor:
    """Take the only input or output of a model."""
    types = [each["dtype"] for each in details]
    if len(types) != 1 or types[0] not in DTYPES:
        known = ", ".join(each.__name__ for each in DTYPES)
        received = ", ".join(each.__name__ for each in types) or "none"
        raise refuse(path, f"one {role} of type {known}", received)
    return Tensor.of(details[0])
