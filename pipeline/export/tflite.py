"""Conversion to TFLite, in a child process: the converter leaks memory and can abort.

The only module that knows `tf.lite`. Run as a program it is the child:
`python -m pipeline.export.tflite VARIANT SAVED_MODEL TARGET CALIBRATION`.
"""

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import keras
import numpy as np

from models.fold import fold_batch_norm
from models.routes import refusals
from pipeline.task import Classification
from serving.errors import ConvoyError

# A converter that hangs is ended; small networks take seconds.
LIMIT_SECONDS = 600


def require_convertible(network: keras.Model, variants: Sequence[str]) -> None:
    """Refuse, before it is trained, a network that cannot become the files a recipe wants.

    Raises:
        ConvoyError: a layer has no operation in TFLite that would do.
    """
    found = refusals(network)
    for variant in variants:
        for layer, reason in found[f"tflite-{variant}"]:
            others = [each for each in variants if not found[f"tflite-{each}"]]
            remedy = f"--export.tflite {' '.join(others)}".strip()
            raise ConvoyError(
                f"`{network.name}` cannot become the {variant} TFLite file that the recipe wants: "
                f"expected layers that TFLite has, received `{layer}` ({reason}); "
                f"change the layer or give {remedy}."
            )


def write_tflite(
    network: keras.Model, task: Classification, calibration: np.ndarray, targets: dict[str, Path]
) -> None:
    """Convert `network` to each variant in `targets` (`"fp32"`, `"int8"`).

    Inputs keep the name `image`, outputs the task's. The batch is 1. `fp32`
    takes float32 0-255; `int8` takes uint8 pixels as they are and answers in
    uint8, scale 1/256. Only builtin operations are used.

    Args:
        network: float32, as trained.
        task: names the output and turns logits into it.
        calibration: uint8 images for the ranges of integer variants.
        targets: file to write for each variant.

    Raises:
        ConvoyError: the converter refuses the network, crashes or hangs.
    """
    with tempfile.TemporaryDirectory() as folder:
        saved_model = Path(folder, "fixed_batch")
        images = Path(folder, "calibration.npy")
        write_fixed_batch(network, task, saved_model)
        np.save(images, calibration)
        for variant, target in targets.items():
            convert_in_child(saved_model, variant, target, images)


def write_fixed_batch(network: keras.Model, task: Classification, folder: Path) -> None:
    """Save the network for one image at a time: static shapes make the best TFLite.

    The converter folds a batch norm into the convolution before it; not through a pool, as we do.
    """
    import tensorflow as tf

    network = fold_batch_norm(network)
    (image,) = network.inputs
    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        "serving_default",
        lambda image: task.answer(network, image),
        [tf.TensorSpec((1, *image.shape[1:]), name="image")],
    )
    archive.write_out(folder, verbose=False)


def convert_in_child(saved_model: Path, variant: str, target: Path, calibration: Path) -> None:
    """Run `convert` in a process of its own and translate its end."""
    paths = [str(path.absolute()) for path in (saved_model, target, calibration)]
    command = [sys.executable, "-m", __name__, variant, *paths]
    try:
        child = subprocess.run(
            command,
            # Where this very package lies: Python looks into the working folder first.
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=LIMIT_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ConvoyError(
            f"the TFLite converter hung on `{variant}`: expected an end within {LIMIT_SECONDS} s; "
            "try a smaller network."
        ) from error
    if child.returncode != 0:
        words = child.stderr.strip().splitlines() or ["nothing"]
        raise ConvoyError(
            f"the TFLite converter refused `{variant}` (code {child.returncode}): expected builtin "
            f"operations only, received `{words[-1][:300]}`; change the layer it names."
        )


def convert(variant: str, saved_model: str, target: str, calibration: str) -> None:
    """Convert the SavedModel's `serving_default` and write the file `target`."""
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        saved_model, signature_keys=["serving_default"]
    )
    if variant == "int8":
        images = np.load(calibration)

        def representative() -> Iterator[dict[str, np.ndarray]]:
            for image in images:
                yield {"image": image[None].astype(np.float32)}

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = representative
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = tf.uint8
        converter.inference_output_type = tf.uint8
    Path(target).write_bytes(converter.convert())


if __name__ == "__main__":
    convert(*sys.argv[1:])
