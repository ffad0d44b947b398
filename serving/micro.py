"""A C source with a network in TFLite Micro, the runtime of microcontrollers, on this computer."""

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.classifier import ImageClassifier, not_runnable
from serving.errors import ConvoyError
from serving.silence import muted
from serving.tflite import dequantised, quantised, sole

# Found by halving: TFLite Micro aligns what it allocates to 16 bytes.
ALIGNMENT, LARGEST = 16, 2**26


class MicroModel(ImageClassifier):
    """The network inside a C source that Convoy wrote, run by TFLite Micro's own kernels."""

    format = "TFLite Micro"

    def _start(self, num_threads: int) -> tuple[Sequence[int], Sequence[int]]:
        self._interpreter = start(read_source(self.path), LARGEST, self.path)
        source, target = (
            sole([described(details)], role, self.path)
            for details, role in (
                (self._interpreter.get_input_details(0), "input"),
                (self._interpreter.get_output_details(0), "output"),
            )
        )
        self._input, self._output = source, target
        return source.shape, target.shape

    @functools.cached_property
    def arena_bytes(self) -> int:
        """What it needs beside the model, looked for when asked."""
        return smallest_arena(read_source(self.path), self.path)

    def _answer(self, pixels: np.ndarray) -> np.ndarray:
        self._interpreter.set_input(quantised(pixels, self._input), 0)
        try:
            self._interpreter.invoke()
        except RuntimeError as error:
            raise not_runnable(self.path, error, self.format) from error
        return dequantised(np.array(self._interpreter.get_output(0))[0], self._output)


def read_source(path: Path) -> bytes:
    """The model in a C source: the numbers between the braces of its first array.

    Raises:
        ConvoyError: unreadable, or without one.
    """
    try:
        array = re.search(r"\[\] = \{([^}]*)\}", path.read_text(encoding="utf-8"))
        if array is None:
            raise ValueError("a file without an array of bytes")
        return bytes(int(number, 0) for number in array[1].replace(",", " ").split())
    except (OSError, ValueError) as error:
        raise not_runnable(path, error, MicroModel.format) from error


def smallest_arena(model: bytes, path: Path) -> int:
    """How many bytes of memory TFLite Micro needs beside the model, with its reference kernels.

    Raises:
        ConvoyError: it cannot run the model at all.
    """
    start(model, LARGEST, path)
    too_small, enough = 0, LARGEST
    # It says a lot about each arena that is too small.
    with muted():
        while enough - too_small > ALIGNMENT:
            middle = (too_small + enough) // (2 * ALIGNMENT) * ALIGNMENT
            try:
                start(model, middle, path)
                enough = middle
            except ConvoyError:
                too_small = middle
    return enough


def start(model: bytes, arena: int, path: Path) -> Any:
    """Start TFLite Micro's interpreter on a model with an arena of so many bytes.

    Raises:
        ConvoyError: it is not installed, or the model does not run or fit.
    """
    try:
        from tflite_micro.python.tflite_micro import runtime
    except ImportError as error:
        raise ConvoyError(
            f"{path} cannot be run: expected TFLite Micro's interpreter, received `{error}`; "
            "run `pip install tflite-micro`, which is made for x86-64 Linux alone."
        ) from error
    try:
        return runtime.Interpreter.from_bytes(model, arena_size=arena)
    except Exception as error:  # It fails on damaged files in whatever way it meets first.
        raise not_runnable(path, error, MicroModel.format) from error


def described(details: dict[str, Any]) -> dict[str, Any]:
    """What TFLite Micro says of a tensor, as LiteRT would say it."""
    parameters = details["quantization_parameters"]
    scales, zero_points = parameters["scales"], parameters["zero_points"]
    quantization = (float(scales[0]), int(zero_points[0])) if len(scales) else (0.0, 0)
    return {"index": 0, **details, "quantization": quantization}
