"""Images small and plain enough to train on often."""

import numpy as np

from pipeline.data.splits import Examples, Splits


def stripes(count, seed):
    """Images of horizontal or vertical stripes under noise."""
    generator = np.random.default_rng(seed)
    labels = np.arange(count, dtype=np.int32) % 2
    stripe = np.where(np.arange(12) % 4 < 2, 160, 0)
    images = np.where(labels[:, None, None] == 0, stripe[None, :, None], stripe[None, None, :])
    noisy = images + generator.integers(0, 90, (count, 12, 12))
    return Examples(noisy[..., None].astype(np.uint8), labels)


def stripe_splits():
    """256 to train on, 64 to choose on, 64 to measure on."""
    return Splits(stripes(256, 0), stripes(64, 1), stripes(64, 2), ("horizontal", "vertical"))
