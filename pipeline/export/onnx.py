"""Conversion to ONNX by tf2onnx, in a child process."""

import tempfile
from pathlib import Path

import keras

from pipeline.export.child import ChildFailed, run_child
from pipeline.export.saved_model import write_plain
from pipeline.task import Classification
from serving.errors import ConvoyError

# The newest operations that tf2onnx 1.17 writes; runtimes of 2023 and later have them.
OPSET = 18
LIMIT_SECONDS = 600.0
# The last proves what the others write.
PACKAGES = ("tf2onnx", "onnx", "onnxruntime")


def write_onnx(network: keras.Model, task: Classification, target: Path) -> None:
    """Convert `network`; input `image` float32 0-255 `(batch, height, width, channels)`.

    Raises:
        ConvoyError: the converter refuses the network, crashes or hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        write_plain(network, task, Path(folder), batch=None)
        arguments = {
            "--saved-model": folder,
            "--signature_def": "serving_default",
            "--tag": "serve",
            "--opset": str(OPSET),
            "--output": str(target.absolute()),
        }
        words = [word for pair in arguments.items() for word in pair]
        try:
            run_child("tf2onnx.convert", words, LIMIT_SECONDS)
        except ChildFailed as failure:
            raise ConvoyError(
                f"`{network.name}` cannot become an ONNX file: expected layers that tf2onnx knows, "
                f"received {failure}; change the layer that it names, or leave out --export.onnx."
            ) from failure
