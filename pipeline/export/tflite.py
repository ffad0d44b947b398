"""Conversion to TFLite, in a child process: the converter leaks memory and can abort.

The only module that knows the converter. Run as a program it is the child:
`python -m pipeline.export.tflite SAVED_MODEL CALIBRATION VARIANT=TARGET ...`.
"""

import re
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np

from models.routes import refusals
from pipeline.export.child import ChildFailed, run_child
from pipeline.export.saved_model import write_plain
from pipeline.recipe import Export
from pipeline.task import Classification
from serving.errors import ConvoyError

# A converter that hangs is ended; small networks take seconds.
LIMIT_SECONDS = 600.0
# Files that compute in floats need what float files need, the others what integers need.
ARITHMETIC = {
    "fp32": "tflite-fp32",
    "fp16": "tflite-fp32",
    "dynamic": "tflite-fp32",
    "int8": "tflite-int8",
    "int16x8": "tflite-int8",
}


def require_convertible(network: keras.Model, export: Export) -> None:
    """Refuse, before it is trained, a network that cannot become the files that are wanted.

    Raises:
        ConvoyError: a layer has no operation in TFLite that would do.
    """
    found = refusals(network)
    for variant in export.tflite:
        others = [each for each in export.tflite if not found[ARITHMETIC[each]]]
        remedy = f"give --export.tflite {' '.join(others)}".strip()
        refuse(network, f"the {variant} TFLite file", found[ARITHMETIC[variant]], remedy)
    if export.mediapipe:
        remedy = "give --export.no-mediapipe"
        refuse(network, "the file for MediaPipe", found["tflite-fp32"], remedy)
    if export.micro:
        remedy = "give --export.no-micro"
        refuse(network, "C source for TFLite Micro", found["tflite-micro"], remedy)


def refuse(network: keras.Model, file: str, layers: list[tuple[str, str]], remedy: str) -> None:
    """Raise the one sentence for a file that these layers stand in the way of."""
    for layer, why in layers:
        raise ConvoyError(
            f"`{network.name}` cannot become {file} that the recipe wants: expected layers that "
            f"TFLite has, received `{layer}` ({why}); change the layer or {remedy}."
        )


def write_tflite(
    network: keras.Model,
    task: Classification,
    calibration: np.ndarray | None,
    targets: dict[str, Path],
) -> None:
    """Convert `network` to each variant in `targets`, all in one child process.

    Inputs keep the name `image`, outputs the task's. The batch is 1. `int8`
    takes uint8 pixels as they are and answers in uint8, scale 1/256; the others
    take float32 0-255 and answer in float32. Only builtin operations are used.

    Args:
        network: float32.
        task: names the output and turns logits into it.
        calibration: uint8 images for the ranges of integer variants; floats need none, nor does a
            network that rounds, as `fake_quantized` makes it, whose ranges are its own.
        targets: file to write for each variant.

    Raises:
        ConvoyError: the converter refuses the network, crashes or hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved_model, images = f"{folder}/fixed_batch", f"{folder}/calibration.npy"
        # Static shapes make the best TFLite.
        write_plain(network, task, Path(saved_model), batch=1)
        if calibration is not None:
            np.save(images, calibration)
        wanted = [f"{variant}={target.absolute()}" for variant, target in targets.items()]
        try:
            run_child(__name__, [saved_model, images, *wanted], LIMIT_SECONDS * len(wanted))
        except ChildFailed as failure:
            # They are written in turn: the first that is not there is the one.
            missing = [variant for variant, target in targets.items() if not target.exists()]
            raise ConvoyError(
                f"`{network.name}` cannot become the {(missing or list(targets))[0]} TFLite file: "
                "expected layers that TensorFlow's converter turns into builtin operations, "
                f"received {reason(failure)}; change the layer that it names, or export without "
                "this file."
            ) from failure


def reason(failure: ChildFailed) -> str:
    """What the converter said, in a few words: the operations that it does not know, and where."""
    unknown = re.search(r"^(?:Custom|Flex) ops: (.+?)\s*$", failure.said, re.MULTILINE)
    place = re.search(r'"\w+:", "([^"@]+)@', failure.said)
    return f"{unknown[1]} in {place[1]}" if unknown and place else str(failure)


def convert(variant: str, saved_model: str, calibration: str) -> bytes:
    """Convert the SavedModel's `serving_default`; it has ranges where there are no images."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model, signature_keys=["serving_default"]
    )
    if variant != "fp32":
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
    if variant == "fp16":
        converter.target_spec.supported_types = [tf.float16]
    operations = {
        "int8": tf.lite.OpsSet.TFLITE_BUILTINS_INT8,
        "int16x8": tf.lite.OpsSet.EXPERIMENTAL_TFLITE_BUILTINS_ACTIVATIONS_INT16_WEIGHTS_INT8,
    }
    if variant in operations and Path(calibration).exists():
        converter.representative_dataset = lambda: representatives(calibration)
        converter.target_spec.supported_ops = [operations[variant]]
    if variant == "int8":
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    return converter.convert()


def representatives(calibration: str) -> Iterator[dict[str, np.ndarray]]:
    """The images that set the ranges of integer files, one by one as the network takes them."""
    for image in np.load(calibration):
        yield {"image": image[None].astype(np.float32)}


if __name__ == "__main__":
    _, saved_model, calibration, *wanted = sys.argv
    for variant, target in (each.split("=", 1) for each in wanted):
        Path(target).write_bytes(convert(variant, saved_model, calibration))
