"""Encoded images of any size and kind become one array, as a device would convert them."""

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pipeline.console import progress
from serving.errors import ConvoyError
from serving.image import Shape, read_pixels


def decode_all(encoded: Sequence[bytes | Path], shape: Shape) -> np.ndarray:
    """Decode images into one uint8 array `(count, height, width, channels)`.

    Raises:
        ConvoyError: an image is unreadable, or memory would not hold them all.
    """
    images = np.empty(fitting_memory((len(encoded), *shape)), np.uint8)

    def decode(position: int) -> None:
        images[position] = read_pixels(encoded[position], shape)

    with ThreadPoolExecutor() as pool, progress("decoding images", len(encoded)) as advance:
        for _ in pool.map(decode, range(len(encoded))):
            advance()
    return images


def fitting_memory(shape: tuple[int, ...]) -> tuple[int, ...]:
    """Return `shape` if that many bytes fit into a fifth of this machine's memory.

    Splitting them and handing them to TensorFlow takes two more copies at a time.
    """
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    needed = int(np.prod(shape, dtype=np.int64))
    if needed > memory // 5:
        raise ConvoyError(
            f"the images do not fit: expected at most {memory / 5e9:.1f} GB (a fifth of memory), "
            f"received {needed / 1e9:.1f} GB at {shape[1]}x{shape[2]}x{shape[3]}; give a smaller "
            "--data.height and --data.width."
        )
    return shape


def complete_shape(wanted: Sequence[int | None], own: Sequence[int | None], source: str) -> Shape:
    """Fill what the recipe leaves open with the size the source's images all share.

    Raises:
        ConvoyError: they share none, and the recipe gives none.
    """
    height, width, channels = (mine or theirs for mine, theirs in zip(wanted, own, strict=True))
    if height is None or width is None or channels is None:
        raise ConvoyError(
            f"the images of `{source}` have no size in common: expected one height and width, "
            "received several; give --data.height and --data.width (and --data.channels)."
        )
    return (height, width, channels)
