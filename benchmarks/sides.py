"""What gives batches, begun anew and taken from in turn: ours, others, and copied memory."""

import functools
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from benchmarks.pairs import in_turn
from pipeline.data.splits import Examples
from pipeline.training.learner import Learner

# The least that one measurement takes, so that batches made ahead hardly count.
LEAST_SECONDS = 0.4


class Side(NamedTuple):
    """Something that gives batches: how it begins, and how so many are taken of it."""

    begin: Callable[[], Any]
    take: Callable[[Any, int], Any]


def rate(side: Side, batch_size: int) -> float:
    """Images per second of a side, begun anew: one that waits makes batches ahead meanwhile."""
    source = side.begin()
    side.take(source, 2)
    taken, count, began = 0, 1, time.perf_counter()
    while (seconds := time.perf_counter() - began) < LEAST_SECONDS:
        side.take(source, count)
        taken, count = taken + count, 2 * count
    return taken * batch_size / seconds


def rates_in_turn(sides: dict[str, Side], batch_size: int, pairs: int) -> dict[str, list[float]]:
    """Images per second of each side, in as many turns."""
    turns = {name: functools.partial(rate, side, batch_size) for name, side in sides.items()}
    return in_turn(turns, pairs)


def drawing(batches: tf.data.Dataset) -> Side:
    """Take batches inside a graph, as training does."""

    @tf.function
    def take(iterator: Iterator, count: tf.Tensor) -> None:
        for _ in tf.range(count):
            next(iterator)

    return Side(lambda: iter(batches), lambda iterator, count: take(iterator, tf.constant(count)))


def training(learner: Learner) -> Callable[[Iterator, int], None]:
    """Take steps on batches, and wait until they are done."""
    learner.make_train_function()

    def take(iterator: Iterator, count: int) -> None:
        learner.train_steps(iterator, tf.constant(count, tf.int64))
        # A GPU has only taken the work until somebody asks what came of it.
        learner.scores()

    return take


def image_by_image(examples: Examples, batch_size: int, most: int) -> tf.data.Dataset:
    """Random flips and shifts as tutorials write them."""
    height, width, channels = examples.images.shape[1:]

    def vary(image: tf.Tensor, label: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        image = tf.image.random_flip_left_right(image)
        image = tf.image.resize_with_crop_or_pad(image, height + 2 * most, width + 2 * most)
        return tf.image.random_crop(image, (height, width, channels)), label

    return (
        tf.data.Dataset.from_tensor_slices((examples.images, examples.labels))
        .shuffle(10_000)
        .repeat()
        .map(vary, num_parallel_calls=tf.data.AUTOTUNE)
        .batch(batch_size, drop_remainder=True)
        .prefetch(tf.data.AUTOTUNE)
    )


def in_numpy(examples: Examples, batch_size: int, most: int) -> Iterator[np.ndarray]:
    """The same, batch by batch in NumPy."""
    generator = np.random.default_rng(0)
    height, width, channels = examples.images.shape[1:]
    padded = np.zeros((batch_size, height + 2 * most, width + 2 * most, channels), np.uint8)
    middle = padded[:, most : most + height, most : most + width]
    windows = np.lib.stride_tricks.sliding_window_view(padded, (height, width), (1, 2))
    while True:
        order = generator.permutation(len(examples))
        for first in range(0, len(order) - batch_size + 1, batch_size):
            middle[:] = examples.images[order[first : first + batch_size]]
            mirrored = generator.random(batch_size) < 0.5
            middle[mirrored] = middle[mirrored][:, :, ::-1]
            down, right = generator.integers(0, 2 * most + 1, (2, batch_size))
            moved = windows[np.arange(batch_size), down, right]
            yield np.ascontiguousarray(np.moveaxis(moved, 1, 3))


def looping(begin: Callable[[], Iterator[np.ndarray]]) -> Side:
    """Take batches in Python."""
    return Side(begin, lambda batches, count: [next(batches).size for _ in range(count)])


def cache_bytes() -> int:
    """Size of the last cache; 64 MiB where the system does not tell."""
    try:
        told = Path("/sys/devices/system/cpu/cpu0/cache/index3/size").read_text(encoding="ascii")
        return int(told.strip().removesuffix("K")) * 2**10
    except (OSError, ValueError):
        return 2**26


def copying(batch_bytes: int) -> Side:
    """Copy as many bytes as batches have, from memory to memory, past the caches."""
    whole = -(-2 * cache_bytes() // batch_bytes)
    source = np.ones((whole, batch_bytes), np.uint8)
    target = np.zeros_like(source)

    def take(_: None, count: int) -> None:
        for first in range(0, count, whole):
            part = min(count - first, whole)
            np.copyto(target[:part], source[:part])

    return Side(lambda: None, take)
