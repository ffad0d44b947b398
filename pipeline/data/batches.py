"""The order of tf.data steps: uint8 in memory, shuffle, batch, augment, prefetch."""

import tensorflow as tf

from pipeline.data import augment
from pipeline.data.splits import Examples
from pipeline.recipe import Data

# Batches made at once, and batches ready before they are asked for.
PARALLEL, AHEAD = 2, 4


def training_batches(examples: Examples, data: Data, seed: int) -> tf.data.Dataset:
    """Endless shuffled, augmented batches `(images uint8, labels)`.

    Only positions are shuffled, so a perfect shuffle costs 8 bytes an image;
    every batch has the same size, so the step is traced once.
    """
    images, labels = tf.constant(examples.images), tf.constant(examples.labels)
    batch_size = min(data.batch_size, len(examples))

    def gather(positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return tf.gather(images, positions), tf.gather(labels, positions)

    def vary(step: tf.Tensor, batch: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        pixels, classes = batch
        if data.flip:
            pixels = augment.flip(pixels, tf.stack([step, 2 * seed]))
        if data.shift:
            pixels = augment.shift(pixels, tf.stack([step, 2 * seed + 1]), data.shift)
        return pixels, classes

    return steady(
        tf.data.Dataset.range(len(examples))
        .shuffle(len(examples), seed=seed)
        .repeat()
        .batch(batch_size, drop_remainder=True)
        .map(gather, num_parallel_calls=PARALLEL)
        .enumerate()
        .map(vary, num_parallel_calls=PARALLEL)
        .prefetch(AHEAD)
    )


def evaluation_batches(examples: Examples, batch_size: int = 500) -> tf.data.Dataset:
    """All examples once, in order: batches `(images uint8, labels)`."""
    slices = tf.data.Dataset.from_tensor_slices((examples.images, examples.labels))
    return steady(slices.batch(batch_size).prefetch(AHEAD))


def steady(batches: tf.data.Dataset) -> tf.data.Dataset:
    """Switch tf.data's own tuning off: it holds the end of every pass up.

    Its thread sleeps for 10 ms, then for twice as long each time, and whoever
    is done with the data waits until it wakes: seconds after each epoch.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return batches.with_options(options)
