import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from pipeline.data.folder import load_folder
from pipeline.data.sources import load
from pipeline.recipe import Data
from serving.errors import ConvoyError
from serving.image import read_pixels

OPEN = (None, None, None)


def save(path, size=(8, 6), mode="RGB", seed=0):
    """An image of noise, `size` being height and width."""
    depth = len(Image.new(mode, (1, 1)).getbands())
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, depth), dtype=np.uint8)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels.squeeze(-1) if depth == 1 else pixels, mode).save(path)
    return path


def fill(folder, counts, **options):
    """Folders of so many images per class."""
    for seed, (label, count) in enumerate(counts.items()):
        for number in range(count):
            save(folder / label / f"{number:02}.png", seed=100 * seed + number, **options)
    return folder


def refusal(folder, wanted=OPEN):
    """What is said of a bad folder, which must be one sentence."""
    with pytest.raises(ConvoyError) as raised:
        load_folder(folder, wanted)
    said = str(raised.value)
    assert "\n" not in said
    assert said.endswith(".")
    return said


def chunk(kind, content):
    """A part of a PNG file."""
    checksum = zlib.crc32(kind + content)
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", checksum)


def test_images_of_one_size_need_no_flags(tmp_path):
    splits, labels = load_folder(fill(tmp_path, {"cat": 3, "ant": 2}), OPEN)
    assert labels == ["ant", "cat"]
    assert list(splits) == ["train"]
    assert splits["train"].images.shape == (5, 8, 6, 3)
    assert splits["train"].images.dtype == np.uint8
    assert splits["train"].labels.tolist() == [0, 0, 1, 1, 1]
    assert splits["train"].labels.dtype == np.int32


def test_png_and_jpeg_have_the_pixels_that_serving_reads(tmp_path):
    paths = [
        save(tmp_path / "a" / "1.png", seed=1),
        save(tmp_path / "a" / "2.jpg", seed=2),
        save(tmp_path / "b" / "3.JPEG", seed=3),
        save(tmp_path / "b" / "4.PNG", seed=4, mode="RGBA"),
    ]
    for wanted, shape in [
        (OPEN, (8, 6, 3)),
        ((5, 9, 1), (5, 9, 1)),
        ((None, 12, None), (8, 12, 3)),
    ]:
        images = load_folder(tmp_path, wanted)[0]["train"].images
        np.testing.assert_array_equal(images, [read_pixels(path, shape) for path in paths])


def test_images_of_several_sizes_need_a_height_and_a_width_and_are_told_so(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    save(tmp_path / "b" / "wide.png", size=(8, 7))
    said = refusal(tmp_path)
    assert str(tmp_path) in said
    assert "give --data.height and --data.width" in said
    assert refusal(tmp_path, (8, None, 3)) == said


def test_images_of_several_sizes_are_resized(tmp_path):
    paths = [
        save(tmp_path / label / "0.png", size, seed=seed)
        for seed, (label, size) in enumerate({"a": (9, 4), "b": (20, 30), "c": (5, 6)}.items())
    ]
    images = load_folder(tmp_path, (5, 6, None))[0]["train"].images
    np.testing.assert_array_equal(images, [read_pixels(path, (5, 6, 3)) for path in paths])


def test_a_turned_photograph_counts_with_its_upright_size(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2}, size=(8, 6))
    turned = Image.Exif()
    turned[0x0112] = 6
    for label in ("a", "b"):
        Image.new("RGB", (8, 6)).save(tmp_path / label / "turned.jpg", exif=turned)
    splits, _ = load_folder(tmp_path, OPEN)
    assert splits["train"].images.shape[1:] == (8, 6, 3)


@pytest.mark.parametrize("mode", ["L", "LA"])
def test_grey_images_have_one_channel_and_three_where_asked(tmp_path, mode):
    fill(tmp_path, {"a": 2, "b": 2}, mode=mode)
    assert load_folder(tmp_path, OPEN)[0]["train"].images.shape == (4, 8, 6, 1)
    assert load_folder(tmp_path, (None, None, 3))[0]["train"].images.shape == (4, 8, 6, 3)


def test_one_colour_image_among_grey_ones_gives_all_three_channels(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2}, mode="L")
    save(tmp_path / "b" / "colour.png")
    assert load_folder(tmp_path, OPEN)[0]["train"].images.shape == (5, 8, 6, 3)


def test_what_is_no_image_by_its_name_is_passed_over(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "a" / "notes.txt").write_text("not an image")
    (tmp_path / "list.csv").write_text("not a class")
    (tmp_path / ".cache").mkdir()
    splits, labels = load_folder(tmp_path, OPEN)
    assert labels == ["a", "b"]
    assert len(splits["train"]) == 4


def test_a_test_folder_beside_a_train_folder_is_the_test_split(tmp_path):
    fill(tmp_path / "train", {"a": 12, "b": 12})
    fill(tmp_path / "test", {"a": 1, "b": 3})
    splits = load(Data(source=str(tmp_path), validation_fraction=0.25))
    sizes = [len(each) for each in (splits.train, splits.validation, splits.test)]
    assert sizes == [18, 6, 4]
    assert splits.test.labels.tolist() == [0, 1, 1, 1]
    test = read_pixels(tmp_path / "test" / "a" / "00.png", (8, 6, 3))
    np.testing.assert_array_equal(splits.test.images[0], test)


def test_without_one_a_test_split_is_carved_out_of_every_class(tmp_path):
    fill(tmp_path, {"a": 20, "b": 10})
    data = Data(source=str(tmp_path), test_fraction=0.2, validation_fraction=0.25)
    splits = load(data)
    assert splits.labels == ("a", "b")
    assert splits.image_shape == (8, 6, 3)
    counts = [np.bincount(each.labels).tolist() for each in (splits.train, splits.validation)]
    assert counts == [[12, 6], [4, 2]]
    assert np.bincount(splits.test.labels).tolist() == [4, 2]
    everything = np.concatenate([splits.train.images, splits.validation.images, splits.test.images])
    assert len(np.unique(everything, axis=0)) == 30
    assert load(data).fingerprint == splits.fingerprint


def test_limits_hold_for_every_split(tmp_path):
    fill(tmp_path, {"a": 20, "b": 20})
    limits = {"max_train_images": 5, "max_test_images": 3, "test_fraction": 0.25}
    splits = load(Data(source=str(tmp_path), **limits))
    sizes = [len(each) for each in (splits.train, splits.validation, splits.test)]
    assert sizes == [5, 2, 3]


def test_an_empty_class_folder_is_refused(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    (tmp_path / "c").mkdir()
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path / 'c'} is empty")
    assert "add some, or remove the class" in said


@pytest.mark.parametrize("labels", [[], ["only"]])
def test_fewer_than_two_classes_are_refused(tmp_path, labels):
    fill(tmp_path, dict.fromkeys(labels, 2))
    said = refusal(tmp_path)
    assert said.startswith(f"{tmp_path} is not an image folder: expected two class folders or more")
    assert f"received {len(labels)}; arrange it as class/image.png." in said


def test_a_test_class_that_training_does_not_know_is_refused(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2})
    fill(tmp_path / "test", {"a": 2, "b": 2, "z": 1})
    said = refusal(tmp_path)
    assert f"{tmp_path / 'test'} has the class `z`" in said
    assert "expected only a, b" in said


def test_a_test_folder_that_lacks_a_class_is_refused(tmp_path):
    fill(tmp_path / "train", {"a": 2, "b": 2, "c": 2})
    fill(tmp_path / "test", {"a": 2, "b": 2})
    assert str(tmp_path / "test" / "c") in refusal(tmp_path)


def spoil_nothing_left(path):
    path.write_bytes(b"")


def spoil_truncated(path):
    path.write_bytes(path.read_bytes()[:-40])


def spoil_header_only(path):
    path.write_bytes(path.read_bytes()[:10])


def spoil_text(path):
    path.write_text("This is a letter.")


def spoil_a_folder(path):
    path.unlink()
    path.mkdir()


def spoil_dangling_link(path):
    path.unlink()
    path.symlink_to("nowhere.png")


def spoil_huge(path):
    """A bomb: a small file that says it is 400 million pixels."""
    header = struct.pack(">IIBBBBB", 20_000, 20_000, 8, 0, 0, 0, 0)
    chunks = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunks)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_nothing_left, "is empty: expected an image file, received 0 bytes; copy it again."),
        (spoil_truncated, "cannot be decoded: expected a whole PNG"),
        (spoil_header_only, "is not an image: expected a whole PNG"),
        (spoil_text, "is not an image: expected a whole PNG"),
        (spoil_a_folder, "cannot be read: expected an image file, received `Is a directory`"),
        (spoil_dangling_link, "cannot be read: expected an image file, received `No such file"),
        (spoil_huge, "is larger than 89,478,485 pixels"),
    ],
)
@pytest.mark.parametrize("all_of_them", [False, True], ids=["one", "all"])
def test_an_image_that_cannot_be_read_is_refused_by_its_path(tmp_path, spoil, words, all_of_them):
    fill(tmp_path, {"a": 2, "b": 2})
    paths = sorted(tmp_path.rglob("*.png"))
    for path in paths if all_of_them else paths[2:3]:
        spoil(path)
    first = paths[0] if all_of_them else paths[2]
    assert refusal(tmp_path).startswith(f"{first} {words}")


def test_images_that_do_not_fit_into_memory_are_refused_before_they_are_read(tmp_path):
    fill(tmp_path, {"a": 2, "b": 2})
    said = refusal(tmp_path, (1_000_000, 1_000_000, 3))
    assert "received 12000.0 GB at 1000000x1000000x3" in said
    assert "give a smaller --data.height and --data.width" in said
