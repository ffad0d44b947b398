"""Every route of a bundle answers a whole split, in the runtime that runs it."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import tensorflow as tf

from pipeline.console import progress
from pipeline.launch import count_cores
from serving.bundle import Bundle
from serving.classifier import ImageClassifier
from serving.crew import in_order
from serving.edge import start
from serving.image import to_channels
from serving.silence import muted
from serving.timing import time_single

BATCH_SIZE = 250
# Single images that a thread answers before it looks whether to stop.
CHUNK = 20


@dataclass(frozen=True)
class Answers:
    """What a route said.

    `probabilities` is `(images, classes)`, `milliseconds` the time each of some
    single images took, `images_per_second` the rate of all together on all
    cores, `signatures` the answers of further ways in, `arena_bytes` what a
    microcontroller needs beside the file.
    """

    probabilities: np.ndarray
    milliseconds: np.ndarray
    images_per_second: float
    signatures: dict[str, np.ndarray] = field(default_factory=dict)
    arena_bytes: int | None = None


def answer(bundle: Bundle, route: str, images: np.ndarray) -> Answers:
    """Run uint8 images through one route, its files' hashes checked first.

    Raises:
        ConvoyError: a file is damaged.
    """
    path = bundle.checked(route, allow_unproven=True)
    if route == "saved_model":
        return answer_saved_model(path, images, bundle.manifest.output)
    return answer_file(route, path, images)


def answer_file(route: str, path: Path, images: np.ndarray) -> Answers:
    """Image by image, as a device does it, by the code a device runs; one model on each core."""
    with muted():
        models = [start(path) for _ in range(count_cores())]

    def score(model: ImageClassifier, begin: int) -> np.ndarray:
        return np.stack([model.probabilities(image) for image in images[begin : begin + CHUNK]])

    images = to_channels(images, models[0].shape[-1])
    parts, began = [], time.perf_counter()
    with progress(f"scoring {route}", len(images)) as advance:
        for part in in_order(models, score, range(0, len(images), CHUNK)):
            parts.append(part)
            advance(len(part))
    rate = len(images) / (time.perf_counter() - began)
    milliseconds = time_single(images, models[0].probabilities)
    return Answers(np.concatenate(parts), milliseconds, rate, arena_bytes=models[0].arena_bytes)


def answer_saved_model(path: Path, images: np.ndarray, output: str) -> Answers:
    """In batches, through each signature, as a server does it; `output` is its answer's name."""
    signatures = tf.saved_model.load(str(path)).signatures
    pixels, encoded = signatures["serving_default"], signatures["serve_bytes"]
    began = time.perf_counter()
    by_pixels = in_batches(images, "scoring saved_model", lambda batch: pixels(image=floats(batch)))
    rate = len(images) / (time.perf_counter() - began)
    by_bytes = in_batches(images, "  as PNG", lambda batch: encoded(image_bytes=pngs(batch)))
    by_example = in_batches(
        images, "  as tf.Example", lambda batch: signatures["classify"](inputs=examples(batch))
    )
    return Answers(
        by_pixels[output],
        time_single(images, lambda image: pixels(image=floats(image[None]))),
        rate,
        {"serve_bytes": by_bytes[output], "classify": by_example["scores"]},
    )


def in_batches(images: np.ndarray, task: str, run: Callable) -> dict[str, np.ndarray]:
    """Outputs of `run` over all images, by name, in order."""
    parts = []
    with progress(task, len(images)) as advance:
        for start in range(0, len(images), BATCH_SIZE):
            batch = images[start : start + BATCH_SIZE]
            parts.append({name: value.numpy() for name, value in run(batch).items()})
            advance(len(batch))
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


def floats(images: np.ndarray) -> tf.Tensor:
    """Pixels as the network takes them."""
    return tf.constant(images, tf.float32)


@tf.function(reduce_retracing=True)
def pngs(images: np.ndarray) -> tf.Tensor:
    """Each image as the bytes of a PNG file."""
    return tf.map_fn(tf.io.encode_png, images, fn_output_signature=tf.string)


def examples(images: np.ndarray) -> tf.Tensor:
    """Each image as a serialized tf.Example."""

    def example(encoded: bytes) -> bytes:
        value = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
        features = tf.train.Features(feature={"image_bytes": value})
        return tf.train.Example(features=features).SerializeToString()

    return tf.constant([example(encoded) for encoded in pngs(images).numpy()])
