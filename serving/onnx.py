"""An ONNX file as a function from pixels to probabilities, in ONNX Runtime."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from serving.classifier import ImageClassifier, not_runnable, refuse
from serving.errors import ConvoyError

SILENT = 4


class OnnxModel(ImageClassifier):
    """An ONNX image classifier, ready to answer; its batch may be left open."""

    format = "ONNX"

    def _start(self, num_threads: int) -> tuple[Sequence[int], Sequence[int]]:
        self._session = start(self.path, num_threads)
        source = sole(self._session.get_inputs(), "input", self.path)
        target = sole(self._session.get_outputs(), "output", self.path)
        self._input, self._outputs = source.name, [target.name]
        return for_one(source.shape), for_one(target.shape)

    def _answer(self, pixels: np.ndarray) -> np.ndarray:
        try:
            return self._session.run(self._outputs, {self._input: pixels.astype(np.float32)})[0][0]
        except Exception as error:  # Its errors have no common class but this one.
            raise not_runnable(self.path, error, self.format) from error


def start(path: Path, num_threads: int) -> Any:
    """Start ONNX Runtime on a file.

    Raises:
        ConvoyError: the runtime or the file is missing, or the file damaged.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ConvoyError(
            f"{path} cannot be run: expected ONNX Runtime, received `{error}`; "
            "run `pip install onnxruntime`."
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = num_threads, 1
    options.log_severity_level = SILENT
    try:
        return onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    except Exception as error:  # Its errors have no common class but this one.
        raise not_runnable(path, error, OnnxModel.format) from error


def sole(tensors: Sequence[Any], role: str, path: Path) -> Any:
    """Take the only input or output of a model."""
    types = [each.type for each in tensors]
    if types != ["tensor(float)"]:
        raise refuse(path, f"one {role} of floats", ", ".join(types) or "none")
    return tensors[0]


def for_one(shape: Sequence[int | str | None]) -> list[int]:
    """A shape whose first length may be left open, for one image."""
    sizes = [-1 if isinstance(size, str) or size is None else size for size in shape]
    return [1, *sizes[1:]] if sizes[:1] == [-1] else sizes
