"""The order of tf.data steps: uint8 in memory, shuffle, batch, augment, prefetch."""

from typing import Any

import numpy as np
import tensorflow as tf

from pipeline.data.augment import alternate, mirror
from pipeline.data.splits import Examples
from pipeline.data.vary import vary
from pipeline.recipe import Data

# Checkers do not see what lies in TensorFlow's experimental parts.
stateless_shuffle: Any = getattr(tf.random, "experimental").stateless_shuffle  # noqa: B009
# Batches made at once, and batches ready before they are asked for.
PARALLEL, AHEAD = 2, 4


def training_batches(
    examples: Examples, data: Data, seed: int, first_step: int = 0, num_classes: int | None = None
) -> tf.data.Dataset:
    """Endless shuffled, augmented batches `(images uint8, labels)`, from `first_step` on.

    What a step sees depends on the seed and on its number alone, so a training
    goes on at any step as if it had never stopped. Every batch has the same
    size, so the step is traced once. Where images are mixed, labels are shares
    of `num_classes` classes, float32 `(batch, classes)`.
    """
    images, labels = both_sides(examples, data), tf.constant(examples.labels)
    steps = steps_per_epoch(len(examples), data)

    def make(step: tf.Tensor, positions: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        classes, dice = tf.gather(labels, positions), tf.stack([step, seed])
        targets = tf.one_hot(classes, num_classes) if data.mixup or data.cutmix else classes
        side = mirrored(positions, step // steps, dice, data, seed)
        return vary(tf.gather(images, positions + len(examples) * side), targets, dice, data)

    return steady(
        shuffled_positions(len(examples), data, seed, first_step)
        .enumerate(first_step)
        .map(make, num_parallel_calls=PARALLEL)
        .prefetch(AHEAD)
    )


def batch_spec(examples: Examples, data: Data, num_classes: int) -> Any:
    """What batches look like, without making a copy of all images as they do."""
    few = examples.take(np.arange(min(data.batch_size, len(examples))))
    return training_batches(few, data, seed=0, num_classes=num_classes).element_spec


def both_sides(examples: Examples, data: Data) -> tf.Tensor:
    """The images, and after them, where the recipe flips, their mirror images.

    Mirrored once they cost memory, mirrored in every batch nearly half of its time.
    """
    images = tf.constant(examples.images)
    return images if data.flip == "none" else tf.concat([images, mirror(images)], 0)


def mirrored(
    positions: tf.Tensor, epoch: tf.Tensor, dice: tf.Tensor, data: Data, seed: int
) -> tf.Tensor:
    """1 for the images of a batch that are seen mirrored, 0 for the others, int32."""
    if data.flip == "alternating":
        return tf.cast(alternate(positions, epoch, seed), tf.int32)
    if data.flip == "random":
        return tf.random.stateless_uniform(tf.shape(positions), dice, 0, 2, tf.int32)
    return tf.zeros_like(positions)


def shuffled_positions(count: int, data: Data, seed: int, first_step: int = 0) -> tf.data.Dataset:
    """Endless batches of positions below `count`: each epoch whole batches of a permutation.

    Shuffling positions makes a perfect shuffle cost 4 bytes an image.
    """
    steps = steps_per_epoch(count, data)
    batch_size = min(data.batch_size, count)

    def epoch_of_batches(epoch: tf.Tensor) -> tf.data.Dataset:
        dice = tf.stack([epoch, tf.constant(seed, tf.int64)])
        order = stateless_shuffle(tf.range(count), dice)
        batches = tf.reshape(order[: steps * batch_size], (steps, batch_size))
        return tf.data.Dataset.from_tensor_slices(batches)

    epochs = tf.data.Dataset.counter(start=first_step // steps)
    return epochs.flat_map(epoch_of_batches).skip(first_step % steps)


def steps_per_epoch(count: int, data: Data) -> int:
    """Whole batches in `count` images, one at least."""
    return max(count // data.batch_size, 1)


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
