import zlib

import numpy as np
import PIL.Image
import PIL.ImageEnhance
import PIL.ImageOps
import pytest
import tensorflow as tf

from pipeline.data import rand_augment as chosen
from pipeline.data.rand_augment import rand_augment

CHANNELS = pytest.mark.parametrize("channels", [1, 3])
MODES = {1: "L", 3: "RGB"}


def photos(count, channels, size=(12, 15)):
    """Images of few and of many values, dark, bright, and one of a single value."""
    generator = np.random.default_rng(0)
    images = generator.integers(0, 256, (count, *size, channels)).astype(float)
    least, extent = generator.uniform(0, 0.5, (2, count, 1, 1, channels))
    images = np.round(255 * least + images * (extent + 0.01)).astype(np.uint8)
    images[0] = 77
    return images


def pillow(image, change):
    """Pillow's answer for one image."""
    height, width, channels = image.shape
    opened = PIL.Image.fromarray(image.reshape(height, width) if channels == 1 else image)
    return np.asarray(change(opened)).reshape(image.shape)


def compare(batch, images, change, most_off):
    """Hold a batch against Pillow, image by image."""
    for index, (image, found) in enumerate(zip(images, batch.numpy(), strict=True)):
        expected = pillow(image, lambda opened, index=index: change(opened, index))
        assert abs(found.astype(int) - expected).max() <= most_off, index


@CHANNELS
@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (chosen.brightness, PIL.ImageEnhance.Brightness),
        (chosen.contrast, PIL.ImageEnhance.Contrast),
        (chosen.colour, PIL.ImageEnhance.Color),
        (chosen.sharpness, PIL.ImageEnhance.Sharpness),
    ],
)
def test_blends_are_those_of_pillow(ours, theirs, channels):
    images = photos(40, channels)
    factors = np.linspace(0.1, 1.9, len(images)).astype(np.float32)
    found = ours(tf.constant(images), tf.constant(factors))
    # Pillow cuts where we round; its neutral image may be off by one, almost doubled.
    compare(found, images, lambda image, index: theirs(image).enhance(float(factors[index])), 2)


@CHANNELS
def test_equalize_and_autocontrast_are_those_of_pillow(channels):
    images = photos(40, channels, (40, 50))
    compare(chosen.equalize(tf.constant(images)), images, lambda i, _: PIL.ImageOps.equalize(i), 0)
    stretched = chosen.autocontrast(tf.constant(images))
    compare(stretched, images, lambda i, _: PIL.ImageOps.autocontrast(i), 1)


@CHANNELS
@pytest.mark.parametrize("magnitude", [0, 2.5, 5, 7.5, 10])
def test_posterize_and_solarize_are_those_of_pillow(channels, magnitude):
    images = photos(10, channels)
    images[1, 0, :4, 0] = (0, 127, 128, 255)
    bits, threshold = 8 - round(0.4 * magnitude), 256 - 25.6 * magnitude
    posterized = chosen.posterize(tf.constant(images), magnitude)
    compare(posterized, images, lambda i, _: PIL.ImageOps.posterize(i, bits), 0)
    solarized = chosen.solarize(tf.constant(images), magnitude)
    compare(solarized, images, lambda i, _: PIL.ImageOps.solarize(i, threshold), 0)


def moved_by_loops(image, kind, amount):
    """One image moved, pixel by pixel: the nearest pixel, zeros from outside."""
    height, width, _ = image.shape
    middle_x, middle_y = (width - 1) / 2, (height - 1) / 2
    angle, slope = amount * np.radians(30), amount * 0.3
    moved, close = np.zeros_like(image), np.zeros((height, width), bool)
    for y in range(height):
        for x in range(width):
            across, down = x - middle_x, y - middle_y
            if kind == 0:
                from_x = np.cos(angle) * across - np.sin(angle) * down + middle_x
                from_y = np.sin(angle) * across + np.cos(angle) * down + middle_y
            else:
                from_x = x + slope * down * (kind == 1) - round(amount * 0.45 * width) * (kind == 3)
                from_y = (
                    y + slope * across * (kind == 2) - round(amount * 0.45 * height) * (kind == 4)
                )
            column, row = int(np.floor(from_x + 0.5)), int(np.floor(from_y + 0.5))
            # Halfway between two pixels either is right.
            close[y, x] = min(abs(from_x % 1 - 0.5), abs(from_y % 1 - 0.5)) < 1e-4
            if 0 <= row < height and 0 <= column < width:
                moved[y, x] = image[row, column]
    return moved, close


@CHANNELS
def test_moves_are_those_of_a_loop_over_pixels(channels):
    images = photos(20, channels)
    kinds = np.arange(20, dtype=np.int32) % 5
    amounts = np.linspace(-1, 1, 20).astype(np.float32)
    found = chosen.move(tf.constant(images), tf.constant(kinds), tf.constant(amounts)).numpy()
    for image, after, kind, amount in zip(images, found, kinds, amounts, strict=True):
        expected, close = moved_by_loops(image, kind, float(amount))
        np.testing.assert_array_equal(after[~close], expected[~close])


def test_every_operation_is_drawn_equally_often_in_either_direction():
    images = np.repeat(photos(2, 3, (24, 20))[1:], 14_000, axis=0)
    found = chosen.vary_once(tf.constant(images), (0, 1), 10.0).numpy()
    kinds, counts = np.unique([zlib.crc32(image) for image in found], return_counts=True)
    # Nine go two ways; nothing, posterize, solarize, autocontrast and equalize go one.
    assert len(kinds) == 2 * 9 + 5
    share = np.sort(counts) / len(images)
    for group, expected in ((share[:18], 1 / 28), (share[18:], 1 / 14)):
        deviation = np.sqrt(expected * (1 - expected) / len(images))
        assert abs(group - expected).max() < 6 * deviation


def test_several_operations_follow_each_other():
    images = photos(200, 3)
    changed = [
        (rand_augment(tf.constant(images), (0, 1), number, 10.0).numpy() != images).any((1, 2, 3))
        for number in (1, 3)
    ]
    # One in 14 draws nothing; three times nothing is rare.
    assert changed[0].mean() < 0.97 < changed[1].mean()


@CHANNELS
def test_shape_type_and_result_hang_on_the_seed_alone(channels):
    images = photos(60, channels)
    spec = tf.TensorSpec((None, *images.shape[1:]), tf.uint8)
    traced = tf.function(lambda batch: rand_augment(batch, (1, 2), 2, 7.0), input_signature=[spec])
    first, again, other = (
        rand_augment(tf.constant(images), seed, 2, 7.0) for seed in [(1, 2), (1, 2), (2, 2)]
    )
    assert (first.dtype, first.shape) == ("uint8", images.shape)
    np.testing.assert_array_equal(first, again)
    np.testing.assert_array_equal(first, traced(images))
    assert (first != other).numpy().any()


def test_an_image_alone_is_varied_too():
    image = tf.constant(photos(2, 1)[1:])
    found = [rand_augment(image, (0, seed), 1, 10.0).numpy() for seed in range(40)]
    assert all(each.shape == image.shape for each in found)
    assert any((each != image).numpy().any() for each in found)
