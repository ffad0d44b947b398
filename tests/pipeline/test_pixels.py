"""The graph's image reader against the device's, on files of every kind."""

import io

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.export import pixels
from serving.image import read_pixels

MODES = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}


def encoded(mode, height, width, file_format, seed):
    """The bytes of an image of random noise."""
    values = np.random.default_rng(seed).integers(0, 256, (height, width, MODES[mode]))
    image = Image.fromarray(
        values.astype(np.uint8).squeeze(-1) if mode == "L" else values.astype(np.uint8)
    )
    assert image.mode == mode
    stream = io.BytesIO()
    image.save(stream, file_format)
    return stream.getvalue()


def in_graph(data, shape):
    return pixels.read_pixels(tf.constant(data), shape).numpy()


sizes = st.integers(1, 40)
kinds = st.sampled_from([(mode, "PNG") for mode in MODES] + [("L", "JPEG"), ("RGB", "JPEG")])


@settings(max_examples=60, deadline=None)
@given(kinds, sizes, sizes, st.sampled_from([1, 3]), st.integers(0, 9))
def test_without_resizing_the_graph_reads_exactly_what_a_device_reads(
    kind, height, width, channels, seed
):
    mode, file_format = kind
    data = encoded(mode, height, width, file_format, seed)
    shape = (height, width, channels)
    np.testing.assert_array_equal(in_graph(data, shape), read_pixels(data, shape))


@settings(max_examples=60, deadline=None)
@given(kinds, sizes, sizes, sizes, sizes, st.sampled_from([1, 3]))
def test_with_resizing_the_graph_is_within_one_level_of_a_device(
    kind, height, width, new_height, new_width, channels
):
    mode, file_format = kind
    data = encoded(mode, height, width, file_format, seed=0)
    shape = (new_height, new_width, channels)
    difference = in_graph(data, shape) - read_pixels(data, shape)
    assert np.abs(difference).max() <= 1


def test_a_palette_png_is_read_as_its_colours():
    image = Image.new("P", (4, 3))
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.putpixel((2, 1), 1)
    stream = io.BytesIO()
    image.save(stream, "PNG")
    shape = (3, 4, 3)
    np.testing.assert_array_equal(
        in_graph(stream.getvalue(), shape), read_pixels(stream.getvalue(), shape)
    )


def test_bytes_that_are_no_image_are_an_error_of_the_request():
    with pytest.raises(tf.errors.InvalidArgumentError):
        in_graph(b"not an image", (4, 4, 1))
