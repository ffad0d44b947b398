"""The images that set the ranges of an integer file."""

import hashlib

import numpy as np

from pipeline.data.splits import Examples, balanced


def calibration_images(train: Examples, count: int, seed: int) -> np.ndarray:
    """Choose training images, not augmented, spread evenly over the classes.

    The darkest and brightest pixel of the set are made 0 and 255 where they are
    not already: then the integer file takes pixels as they are, scale 1, zero
    point 0.

    Returns:
        uint8 `(count, height, width, channels)`.
    """
    images = train.images[balanced(train, count, seed)].copy()
    images.flat[images.argmin()] = 0
    images.flat[images.argmax()] = 255
    return images


def fingerprint(images: np.ndarray) -> str:
    """sha256 of the calibration images, for the manifest."""
    return hashlib.sha256(np.ascontiguousarray(images).data).hexdigest()
