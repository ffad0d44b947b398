"""The order in which training images are varied: where things lie, how they look, what is lost."""

import tensorflow as tf

from pipeline.data.augment import shift
from pipeline.data.erasing import cutout, erase
from pipeline.data.mixing import cutmix, mixup
from pipeline.data.rand_augment import rand_augment
from pipeline.recipe import Data


def vary(
    images: tf.Tensor, targets: tf.Tensor, seed: tf.Tensor, data: Data
) -> tuple[tf.Tensor, tf.Tensor]:
    """Vary a batch as the recipe says, but for flips; the same arguments give the same batch.

    Args:
        images: uint8 `(batch, height, width, channels)`.
        targets: int32 classes `(batch,)`, or shares of them float32 `(batch, classes)`.
        seed: 2 int64, others for each step.
        data: says which variations, and how strong.
    """
    if data.rand_augment:
        images = rand_augment(images, another(seed, 1), data.rand_augment, data.magnitude)
    if data.shift:
        images = shift(images, another(seed, 2), data.shift)
    if data.erase:
        images = erase(images, another(seed, 3), data.erase)
    if data.cutout:
        images = cutout(images, another(seed, 6), data.cutout)
    if data.mixup:
        images, targets = mixup(images, targets, another(seed, 4), data.mixup)
    if data.cutmix:
        images, targets = cutmix(images, targets, another(seed, 5), data.cutmix)
    return images, targets


def another(seed: tf.Tensor, number: int) -> tf.Tensor:
    """Another seed for each variation, so that no two throw the same dice."""
    return seed + tf.constant([0, number << 33], seed.dtype)
