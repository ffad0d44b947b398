"""A folder of images, one folder per class, PNG or JPEG of any size."""

from pathlib import Path

import numpy as np
import PIL.Image

from pipeline.data.decode import complete_shape, decode_all
from pipeline.data.splits import Examples
from serving.errors import ConvoyError
from serving.image import read_pixels, upright_size

SUFFIXES = {".png", ".jpg", ".jpeg"}
GREY_MODES = {"1", "L", "LA", "I", "F", "I;16"}


def load_folder(
    folder: Path, wanted: tuple[int | None, int | None, int | None]
) -> tuple[dict[str, Examples], list[str]]:
    """Read `class/image.png`, or `train/class/image.png` and `test/class/image.png`.

    Args:
        folder: the outermost folder.
        wanted: height, width and channels, each `None` where the images' own will do.

    Returns:
        Its splits (`train`, and `test` where there is one), and the class names, sorted.

    Raises:
        ConvoyError: no classes, an empty class, or an image that cannot be read.
    """
    roots = {"train": folder / "train", "test": folder / "test"}
    if not all(root.is_dir() for root in roots.values()):
        roots = {"train": folder}
    labels = class_names(roots["train"])
    paths = {split: image_paths(root, labels) for split, root in roots.items()}
    everything = [path for found in paths.values() for path, _ in found]
    shape = complete_shape(wanted, common_shape(everything), str(folder))
    splits = {
        split: Examples(
            decode_all([path for path, _ in found], shape),
            np.array([label for _, label in found], np.int32),
        )
        for split, found in paths.items()
    }
    return splits, labels


def class_names(root: Path) -> list[str]:
    """The folders below `root`, at least two, sorted."""
    names = sorted(each.name for each in root.iterdir() if each.is_dir() and each.name[0] != ".")
    if len(names) < 2:
        raise ConvoyError(
            f"{root} is not an image folder: expected two class folders or more with images "
            f"in them, received {len(names)}; arrange it as class/image.png."
        )
    return names


def image_paths(root: Path, labels: list[str]) -> list[tuple[Path, int]]:
    """Every image below `root` with the position of its class in `labels`."""
    unknown = set(class_names(root)) - set(labels)
    if unknown:
        raise ConvoyError(
            f"label out of range: {root} has the class `{min(unknown)}`, which the training images "
            f"do not have; expected only {', '.join(labels)}."
        )
    found = []
    for position, label in enumerate(labels):
        images = [
            path for path in sorted((root / label).glob("*")) if path.suffix.lower() in SUFFIXES
        ]
        if not images:
            raise ConvoyError(
                f"{root / label} is empty: expected PNG or JPEG images, received none; add some, "
                "or remove the class."
            )
        found += [(path, position) for path in images]
    return found


def common_shape(paths: list[Path]) -> tuple[int | None, int | None, int]:
    """Height and width where all images share them, and 1 channel where all are grey.

    Raises:
        ConvoyError: an image cannot be opened.
    """
    sizes, modes = set(), set()
    for path in paths:
        try:
            with PIL.Image.open(path) as image:
                sizes.add(upright_size(image))
                modes.add(image.mode)
        except Exception:  # Whatever a damaged file provokes, reading says it in one sentence.
            read_pixels(path, (1, 1, 1))
    channels = 1 if modes <= GREY_MODES else 3
    if len(sizes) != 1:
        return (None, None, channels)
    ((width, height),) = sizes
    return (height, width, channels)
