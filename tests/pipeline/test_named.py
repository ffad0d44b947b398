import time
from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from pipeline.data import debian, named
from pipeline.data.named import answers, find_builder, load_named, offline_originals, read_resized
from serving.errors import ConvoyError
from serving.image import read_pixels

DATA = Path(__file__).parents[2] / "data"
OPEN = (None, None, None)
FASHION = [
    "T-shirt/top",
    "Trouser",
    "Pullover",
    "Dress",
    "Coat",
    "Sandal",
    "Shirt",
    "Sneaker",
    "Bag",
    "Ankle boot",
]


@pytest.fixture(scope="module")
def fashion():
    """Fashion-MNIST as `make data` leaves it, or however else it can be had."""
    return load_named("fashion_mnist", DATA, OPEN)


def store(folder, sizes, splits=("train", "test"), name="tiny"):
    """A prepared TFDS data set of one noise image per size in each split."""
    generator = np.random.default_rng(0)
    examples = [
        {"image": generator.integers(0, 256, (*size, 3), dtype=np.uint8), "label": number % 2}
        for number, size in enumerate(sizes)
    ]
    height, width = sizes[0] if len(set(sizes)) == 1 else (None, None)
    features = {
        "image": tfds.features.Image(shape=(height, width, 3)),
        "label": tfds.features.ClassLabel(names=["ant", "bee"]),
    }
    tfds.dataset_builders.store_as_tfds_dataset(
        name=name,
        version="1.0.0",
        data_dir=str(folder),
        features=tfds.features.FeaturesDict(features),
        split_datasets=dict.fromkeys(splits, list(enumerate(examples))),
        disable_shuffling=True,
    )
    return [example["image"] for example in examples]


def refusal(name, folder, wanted=OPEN):
    """What is said of a bad name, which must be one sentence."""
    with pytest.raises(ConvoyError) as raised:
        load_named(name, folder, wanted)
    assert "\n" not in str(raised.value)
    return str(raised.value)


def test_fashion_mnist_is_70_000_grey_images_of_ten_classes(fashion):
    splits, labels = fashion
    assert labels == FASHION
    assert {name: len(examples) for name, examples in splits.items()} == {
        "train": 60_000,
        "test": 10_000,
    }
    for examples in splits.values():
        assert examples.images.shape == (len(examples), 28, 28, 1)
        assert (examples.images.dtype, examples.labels.dtype) == (np.uint8, np.int32)
        assert len(set(np.bincount(examples.labels).tolist())) == 1
        assert (examples.images.min(), examples.images.max()) == (0, 255)


def test_resized_images_are_those_a_device_would_make_of_the_encoded_ones():
    builder = find_builder("fashion_mnist", DATA)
    resized = read_resized(builder, "train[:50]", (20, 14, 3))
    raw = {"image": tfds.decode.SkipDecoding()}
    stored = list(tfds.as_numpy(builder.as_dataset(split="train[:50]", decoders=raw)))
    expected = [read_pixels(example["image"], (20, 14, 3)) for example in stored]
    np.testing.assert_array_equal(resized.images, expected)
    assert resized.labels.tolist() == [example["label"] for example in stored]


def test_images_read_one_by_one_equal_those_read_in_batches(fashion):
    builder = find_builder("fashion_mnist", DATA)
    examples = read_resized(builder, "test[:50]", (28, 28, 1))
    np.testing.assert_array_equal(examples.images, fashion[0]["test"].images[:50])
    np.testing.assert_array_equal(examples.labels, fashion[0]["test"].labels[:50])


def test_a_data_set_of_one_size_needs_no_flags_and_is_resized_where_asked(tmp_path):
    images = store(tmp_path, [(6, 5)] * 4)
    splits, labels = load_named("tiny", tmp_path, OPEN)
    assert labels == ["ant", "bee"]
    for examples in splits.values():
        np.testing.assert_array_equal(examples.images, images)
        assert examples.labels.tolist() == [0, 1, 0, 1]
    splits, _ = load_named("tiny", tmp_path, (None, 9, 1))
    assert splits["test"].images.shape == (4, 6, 9, 1)


def test_a_data_set_of_several_sizes_needs_a_height_and_a_width(tmp_path):
    store(tmp_path, [(6, 5), (7, 5)])
    said = refusal("tiny", tmp_path)
    assert said.startswith("the images of `tiny` have no size in common")
    assert "give --data.height and --data.width" in said
    splits, _ = load_named("tiny", tmp_path, (4, 4, None))
    assert splits["train"].images.shape == (2, 4, 4, 3)


def test_a_data_set_may_lack_a_test_split_but_not_a_train_split(tmp_path):
    store(tmp_path, [(6, 5)] * 2, splits=["train"], name="learn")
    store(tmp_path, [(6, 5)] * 2, splits=["other"], name="odd")
    assert list(load_named("learn", tmp_path, OPEN)[0]) == ["train"]
    assert refusal("odd", tmp_path).startswith("`odd` has no `train` split, received ['other'];")


def test_an_unknown_name_gives_the_nearest(tmp_path):
    assert "did you mean `fashion_mnist`?" in refusal("fashon_mnist", tmp_path)


@pytest.mark.parametrize("name", ["imdb_reviews", "coco", "celeb_a"])
def test_a_data_set_without_one_image_and_one_label_is_refused(tmp_path, name):
    said = refusal(name, tmp_path)
    assert said.startswith(f"`{name}` does not fit: expected one `image` and one class `label`")
    assert said.endswith("choose a classification data set.")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "name", ["", "a b", "./no/such/folder", "fashion_mnist:9.9.9", "fashion_mnist/odd"]
)
def test_a_name_that_tfds_cannot_read_is_refused_with_the_remedy(tmp_path, name):
    said = refusal(name, tmp_path)
    assert said.startswith(f"TFDS refuses `{name}`: ")
    assert said.endswith("; give a TFDS name or the path of an image folder.")


def test_a_host_that_is_not_there_is_known_within_seconds():
    started = time.monotonic()
    assert not answers("no-such-host.invalid")
    assert time.monotonic() - started < 2 * named.CONNECT_SECONDS + 1


def test_a_host_that_listens_answers(monkeypatch):
    asked = []

    class Connection:
        def close(self):
            asked.append("closed")

    def connect(address, timeout):
        asked.append(address)
        if address[1] == 443:
            raise ConnectionRefusedError
        return Connection()

    monkeypatch.setattr("socket.create_connection", connect)
    assert answers("plain.example")
    assert asked == [("plain.example", 443), ("plain.example", 80), "closed"]


def test_the_first_host_that_does_not_answer_is_named(monkeypatch):
    monkeypatch.setattr("urllib.request.getproxies", dict)
    monkeypatch.setattr(named, "answers", lambda host: host == "there")
    assert named.first_unreachable({"there", None}) is None
    assert named.first_unreachable({"there", "gone"}) == "gone"


def test_a_proxy_is_trusted_to_reach_everything(monkeypatch):
    monkeypatch.setattr("urllib.request.getproxies", lambda: {"https": "http://proxy:1"})
    monkeypatch.setattr(named, "answers", lambda host: False)
    assert named.first_unreachable({"gone"}) is None


def test_offline_it_says_what_to_do(tmp_path):
    with pytest.raises(ConvoyError) as raised:
        offline_originals("mnist", tmp_path, "storage.example does not answer")
    said = str(raised.value)
    assert said.startswith("cannot download `mnist`: storage.example does not answer")
    for words in ("`convoy data mnist`", "copy the folder `data/mnist`", "--data.source FOLDER"):
        assert words in said
    assert "\n" not in said


def test_offline_without_the_package_it_says_why(tmp_path, monkeypatch):
    def fetch(folder):
        raise debian.NoPackage("apt-get is not on this machine")

    monkeypatch.setattr(debian, "fetch_originals", fetch)
    message = "`dataset-fashion-mnist` cannot be had either .apt-get is not on this machine."
    with pytest.raises(ConvoyError, match=message):
        offline_originals("fashion_mnist", tmp_path, "storage.example")


def test_offline_fashion_mnist_comes_from_the_package(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "fetch_originals", lambda folder: (folder / "made").touch())
    offline_originals("fashion_mnist", tmp_path, "storage.example")
    assert (tmp_path / "made").exists()


def test_a_preparation_that_fails_is_refused_with_the_reason_and_leaves_nothing(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(named, "first_unreachable", lambda hosts: "storage.example")
    said = refusal("mnist", tmp_path / "data")
    assert said.startswith("cannot download `mnist`: storage.example does not answer")
    assert not any(path.is_file() for path in tmp_path.rglob("*"))
