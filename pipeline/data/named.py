"""Image data sets by their TFDS name, with or without the internet."""

import contextlib
import queue
import socket
import tempfile
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.console import console
from pipeline.data import debian
from pipeline.data.decode import complete_shape, decode_all, fitting_memory
from pipeline.data.splits import Examples
from pipeline.files import alone
from serving.errors import ConvoyError, nearest
from serving.image import Shape

# TFDS itself would retry for minutes where there is no way out.
CONNECT_SECONDS = 5


def load_named(
    name: str, folder: Path, wanted: tuple[int | None, int | None, int | None]
) -> tuple[dict[str, Examples], list[str]]:
    """Prepare and read the TFDS data set `name`.

    Args:
        name: as TFDS spells it, for example `cifar10`.
        folder: where prepared data sets are kept.
        wanted: height, width and channels, each `None` where the data set's own will do.

    Returns:
        Its splits (`train`, and `test` where there is one), and its labels.

    Raises:
        ConvoyError: unknown name, not a labelled image set, or it cannot be fetched.
    """
    builder = find_builder(name, folder)
    if not builder.data_path.exists():
        # Processes that train together all come here at once.
        with alone(folder / f".{name.replace('/', '-')}.lock", wait=True):
            prepare_once(builder)
        builder = find_builder(name, folder)
    features = builder.info.features
    own = features["image"].shape
    shape = complete_shape(wanted, own, name)
    splits = {
        split: read_plain(builder, split) if shape == own else read_resized(builder, split, shape)
        for split in ("train", "test")
        if split in builder.info.splits
    }
    if "train" not in splits:
        raise ConvoyError(
            f"`{name}` has no `train` split, received {sorted(builder.info.splits)}; "
            "choose another data set."
        )
    return splits, list(features["label"].names)


def find_builder(name: str, folder: Path) -> Any:
    """TFDS's builder for `name`, which must be images with one class label each."""
    import tensorflow_datasets as tfds

    try:
        builder = tfds.builder(name, data_dir=folder)
    except tfds.core.DatasetNotFoundError as error:
        raise ConvoyError(
            f"unknown data set `{name}`, neither a TFDS name nor an image folder: "
            f"{nearest(name, tfds.list_builders())}"
        ) from error
    except (ValueError, AssertionError, ImportError) as error:
        raise ConvoyError(
            f"TFDS refuses `{name}`: {str(error).splitlines()[0].strip(' .')}; give a TFDS name or "
            "the path of an image folder."
        ) from error
    features = dict(builder.info.features or {})
    kinds = (tfds.features.Image, tfds.features.ClassLabel)
    if not all(map(isinstance, (features.get("image"), features.get("label")), kinds)):
        raise ConvoyError(
            f"`{name}` does not fit: expected one `image` and one class `label`, received "
            f"{sorted(features)}; choose a classification data set."
        )
    return builder


def prepare_once(builder: Any) -> None:
    """Bring a builder's data on disk: from the internet or from Debian, if nobody did before.

    Raises:
        ConvoyError: none of these ways is open, or the disk refuses.
    """
    import tensorflow_datasets as tfds

    if builder.data_path.exists():
        return
    console.print(f"Preparing {builder.name} in {builder.data_path}, once ...", soft_wrap=True)
    hosts = {urllib.parse.urlparse(url).hostname for url in builder.url_infos}
    unreachable = first_unreachable(hosts)
    problem = f"{unreachable} does not answer" if unreachable else prepare(builder)
    if problem:
        with tempfile.TemporaryDirectory() as originals:
            offline_originals(builder.name, Path(originals), problem)
            ways = tfds.download.DownloadConfig(manual_dir=originals)
            problem = prepare(builder, ways)
    if problem:
        raise ConvoyError(f"cannot prepare `{builder.name}`: {problem}; {remedy(builder.name)}")


def prepare(builder: Any, ways: Any = None) -> str | None:
    """Let TFDS download and prepare; returns why that failed, or `None`.

    Raises:
        ConvoyError: the disk refuses, or a package is missing.
    """
    import requests
    import tensorflow_datasets as tfds

    failures = (
        requests.RequestException,
        tfds.download.DownloadError,
        tfds.download.download_manager.NonMatchingChecksumError,
        # A data set whose files only a person may fetch, after signing for them.
        AssertionError,
    )
    tfds.disable_progress_bar()
    try:
        # What it prints by the way is not for the user's stdout.
        with contextlib.redirect_stdout(None):
            builder.download_and_prepare(download_config=ways)
    except failures as error:
        return (str(error) or type(error).__name__).splitlines()[0].strip(" .")
    except ImportError as error:
        raise ConvoyError(
            f"cannot prepare `{builder.name}`: TFDS needs a package for it that is not installed "
            f"({error}); install it with pip."
        ) from error
    except OSError as error:
        raise ConvoyError(
            f"cannot prepare `{builder.name}` in {builder.data_path}: "
            f"{error.strerror or error}; free the disk or give another --data.folder."
        ) from error
    return None


def first_unreachable(hosts: set[str | None]) -> str | None:
    """The first host that does not answer within seconds; a proxy is trusted to."""
    if urllib.request.getproxies().keys() - {"no"}:
        return None
    return next((host for host in sorted(filter(None, hosts)) if not answers(host)), None)


def answers(host: str) -> bool:
    """Whether `host` takes a connection, encrypted or not, within seconds."""
    knocked = queue.Queue()
    # In a thread, because the system searches for an address as long as it likes.
    threading.Thread(target=lambda: knocked.put(connects(host)), daemon=True).start()
    try:
        return knocked.get(timeout=CONNECT_SECONDS)
    except queue.Empty:
        return False


def connects(host: str) -> bool:
    """Whether `host` takes a connection on one of the web's ports."""
    for port in (443, 80):
        try:
            socket.create_connection((host, port), CONNECT_SECONDS).close()
        except OSError:
            continue
        return True
    return False


def offline_originals(name: str, folder: Path, problem: str) -> None:
    """Fill `folder` with the files TFDS would have downloaded, but for `problem`."""
    reason = "no other way is known for this data set"
    if name == "fashion_mnist":
        try:
            return debian.fetch_originals(folder)
        except debian.NoPackage as error:
            reason = f"Debian's package `{debian.PACKAGE}` cannot be had either ({error})"
    raise ConvoyError(f"cannot download `{name}`: {problem}, and {reason}; {remedy(name)}")


def remedy(name: str) -> str:
    """What to do where a data set cannot be fetched."""
    return (
        f"on a machine with a network run `convoy data {name}` and copy the folder `data/{name}` "
        "to the same place here, or train on an image folder with --data.source FOLDER."
    )


def read_plain(builder: Any, split: str) -> Examples:
    """Read a split whose images already have the wanted size, in large batches."""
    count = builder.info.splits[split].num_examples
    images = np.empty(fitting_memory((count, *builder.info.features["image"].shape)), np.uint8)
    labels = np.empty(count, np.int32)
    filled = 0
    for batch in batches_of(builder, split):
        place = slice(filled, filled + len(batch["label"]))
        images[place], labels[place] = batch["image"], batch["label"]
        filled = place.stop
    if filled != count:
        raise ConvoyError(
            f"{builder.data_path} is damaged: expected {count:,} images in `{split}`, received "
            f"{filled:,}; delete the folder, and prepare it again by `convoy data {builder.name}`."
        )
    return Examples(images, labels)


def batches_of(builder: Any, split: str, batch_size: int = 1000) -> Iterator[dict[str, np.ndarray]]:
    """Batches of `image` and `label`, in the order of TFDS.

    TFDS reads its files in turns, and each example by itself. Of one file the order is plain, and
    whole batches are read in a quarter of the time.
    """
    import tensorflow as tf
    import tensorflow_datasets as tfds

    files, shape = builder.info.splits[split].filepaths, builder.info.features["image"].shape
    if len(files) > 1 or builder.info.file_format is not tfds.core.FileFormat.TFRECORD:
        yield from tfds.as_numpy(builder.as_dataset(split=split, batch_size=batch_size))
        return
    features = {
        "image": tf.io.FixedLenFeature([], tf.string),
        "label": tf.io.FixedLenFeature([], tf.int64),
    }

    def decode(encoded: Any) -> Any:
        return tf.io.decode_image(encoded, shape[-1], expand_animations=False)

    @tf.function
    def read(records: Any) -> dict[str, Any]:
        examples: dict[str, Any] = tf.io.parse_example(records, features)
        pixels = tf.TensorSpec(shape, tf.uint8)
        return {
            **examples,
            "image": tf.map_fn(decode, examples["image"], fn_output_signature=pixels),
        }

    for records in tf.data.TFRecordDataset([str(file) for file in files]).batch(batch_size):
        yield {name: value.numpy() for name, value in read(records).items()}


def read_resized(builder: Any, split: str, shape: Shape) -> Examples:
    """Read a split image by image, each converted as a device would convert it."""
    import tensorflow_datasets as tfds

    dataset = builder.as_dataset(split=split, decoders={"image": tfds.decode.SkipDecoding()})
    encoded, labels = [], []
    for example in tfds.as_numpy(dataset):
        encoded.append(example["image"])
        labels.append(example["label"])
    return Examples(decode_all(encoded, shape), np.asarray(labels, np.int32))
