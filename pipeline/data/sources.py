"""The one door to data: a TFDS name or an image folder becomes three splits."""

from pathlib import Path

from pipeline.data.folder import load_folder
from pipeline.data.named import load_named
from pipeline.data.splits import Splits, carve, check_labels, limit
from pipeline.recipe import Data


def load(data: Data) -> Splits:
    """Read the data of a recipe into memory, checked and split.

    Test images are the source's own where it has some. Validation images are
    carved from the training images, class by class, by a fixed seed.

    Raises:
        ConvoyError: the source is unknown, damaged, or cannot be fetched.
    """
    wanted = (data.height, data.width, data.channels)
    if Path(data.source).is_dir():
        found, labels = load_folder(Path(data.source), wanted)
    else:
        found, labels = load_named(data.source, data.folder, wanted)
    for examples in found.values():
        check_labels(examples, len(labels), data.source)
    train, test = found["train"], found.get("test")
    if test is None:
        train, test = carve(train, data.test_fraction, data.split_seed)
    train, validation = carve(train, data.validation_fraction, data.split_seed)
    return Splits(
        train=limit(train, data.max_train_images, data.split_seed),
        validation=limit(validation, data.max_train_images, data.split_seed),
        test=limit(test, data.max_test_images, data.split_seed),
        labels=tuple(labels),
    )
