"""The SavedModel with three ways in: pixels, encoded images, and tf.Examples."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from models.quantize import is_fake_quantized, rounded_answers
from pipeline.export.pixels import read_pixels
from pipeline.task import Classification
from serving.image import Shape


def write_saved_model(network: keras.Model, task: Classification, folder: Path) -> None:
    """Export `network` with the signatures of a bundle.

    - `serving_default`: `image` float32 `(batch, height, width, channels)`, 0-255.
    - `serve_bytes`: `image_bytes` string `(batch,)`, PNG or JPEG of any size.
    - `classify`: `inputs` string `(batch,)`, tf.Examples whose feature
      `image_bytes` holds a PNG or JPEG; answers `classes` and `scores`.
    """
    (inputs,) = network.inputs
    shape: Shape = tuple(inputs.shape[1:])
    labels = tf.constant(task.labels)

    def answer(image: tf.Tensor) -> dict[str, tf.Tensor]:
        return task.answer(network, image)

    def answer_bytes(image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        pixels = tf.map_fn(
            lambda encoded: read_pixels(encoded, shape),
            image_bytes,
            fn_output_signature=tf.TensorSpec(shape),
        )
        return answer(pixels)

    def classify(inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        features = {"image_bytes": tf.io.FixedLenFeature([], tf.string)}
        parsed: dict[str, Any] = tf.io.parse_example(inputs, features)
        scores = answer_bytes(parsed["image_bytes"])[task.output]
        return {"classes": tf.tile(labels[None], tf.stack([tf.size(inputs), 1])), "scores": scores}

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint("serving_default", answer, [tf.TensorSpec((None, *shape), name="image")])
    archive.add_endpoint(
        "serve_bytes", answer_bytes, [tf.TensorSpec((None,), tf.string, name="image_bytes")]
    )
    archive.add_endpoint("classify", classify, [tf.TensorSpec((None,), tf.string, name="inputs")])
    archive.write_out(folder, verbose=False)


def write_plain(
    network: keras.Model, task: Classification, folder: Path, batch: int | None
) -> None:
    """Save the network for a converter: one way in, `image` float32 of `batch` images.

    The answers of a network that rounds are rounded as well, to 256 steps.
    """
    (image,) = network.inputs

    def rounded(answers: dict[str, Any]) -> dict[str, Any]:
        if not is_fake_quantized(network):
            return answers
        return keras.tree.map_structure(rounded_answers, answers)

    archive = keras.export.ExportArchive()
    archive.track(network)
    archive.add_endpoint(
        "serving_default",
        lambda image: rounded(task.answer(network, image)),
        [tf.TensorSpec((batch, *image.shape[1:]), name="image")],
    )
    archive.write_out(folder, verbose=False)
