"""Whatever the file, the network gets the same pixels that a person would see."""

import contextlib
import io
import struct
import zlib

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from PIL import Image

from serving.errors import ConvoyError
from serving.image import MAX_PIXELS, flatten_transparency, read_pixels, resize, to_channels

# Each picture mode, as bands of a uint8 array, and the lossless formats that keep it.
BANDS = {"L": 1, "LA": 2, "RGB": 3, "RGBA": 4}
FORMATS = {
    "L": ("png", "tiff", "bmp", "ppm"),
    "LA": ("png", "tiff"),
    "RGB": ("png", "tiff", "bmp", "ppm", "webp"),
    "RGBA": ("png", "tiff"),
}
sizes = st.tuples(st.integers(1, 9), st.integers(1, 9))


@st.composite
def pictures(draw):
    """A mode, a format that keeps it, and random pixels."""
    mode = draw(st.sampled_from(sorted(BANDS)))
    shape = (*draw(sizes), BANDS[mode])
    return mode, draw(st.sampled_from(FORMATS[mode])), draw(arrays.arrays(np.uint8, shape))


def encoded(image, kind, **options):
    """The bytes of an image file."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def as_image(pixels):
    return Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels)


def seen(pixel, channels):
    """What one pixel looks like on white, by the definition."""
    *colour, alpha = pixel if len(pixel) in (2, 4) else [*pixel, 255]
    colour = [(c * alpha + 255 * (255 - alpha) + 127) // 255 for c in colour]
    if len(colour) == channels:
        return colour
    if channels == 3:
        return colour * 3
    red, green, blue = colour
    return [(red * 19595 + green * 38470 + blue * 7471 + 32768) >> 16]


def expected(pixels, channels):
    """The oracle: one pixel after the other, in Python's own integers."""
    rows = [[seen(pixel, channels) for pixel in row] for row in pixels.tolist()]
    return np.array(rows, np.uint8).reshape(*pixels.shape[:2], channels)


def turned(pixels, orientation):
    """What a viewer shows, by the table of the EXIF standard (6.1.4 D, tag 274)."""
    if orientation > 4:
        pixels = pixels.swapaxes(0, 1)
    bottom_first = orientation in (3, 4, 7, 8)
    right_first = orientation in (2, 3, 6, 7)
    return pixels[:: -1 if bottom_first else 1, :: -1 if right_first else 1]


@given(pictures(), st.sampled_from([1, 3]))
def test_every_mode_and_format_gives_what_is_seen(picture, channels):
    _, kind, pixels = picture
    options = {"lossless": True, "exact": True} if kind == "webp" else {}
    data = encoded(as_image(pixels), kind, **options)
    found = read_pixels(data, (*pixels.shape[:2], channels))
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, expected(pixels, channels))


@given(
    arrays.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))),
    st.integers(0, 9),
    st.sampled_from(["png", "tiff", "webp"]),
)
def test_pictures_are_turned_upright(pixels, orientation, kind):
    exif = Image.Exif()
    exif[0x0112] = orientation
    options = {"lossless": True} if kind == "webp" else {}
    data = encoded(as_image(pixels), kind, exif=exif, **options)
    upright = turned(pixels, orientation) if 1 <= orientation <= 8 else pixels
    np.testing.assert_array_equal(read_pixels(data, upright.shape), upright)


def test_a_jpeg_is_turned_upright():
    pixels = np.zeros((16, 32, 3), np.uint8)
    pixels[:, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = 6
    data = encoded(Image.fromarray(pixels), "jpeg", exif=exif, quality=100)
    found = read_pixels(data, (32, 16, 1))
    assert found[:15].min() > 250
    assert found[17:].max() < 5


@given(st.data(), sizes, st.booleans())
def test_palettes_are_looked_up(data, size, transparent):
    palette = data.draw(arrays.arrays(np.uint8, (8, 4)))
    indices = data.draw(arrays.arrays(np.uint8, size, elements=st.integers(0, 7)))
    image = Image.fromarray(indices)
    image.putpalette(palette[:, :3].tobytes())
    options = {"transparency": palette[:, 3].tobytes()} if transparent else {}
    looked_up = palette[indices] if transparent else palette[indices][..., :3]
    found = read_pixels(encoded(image, "png", **options), (*size, 3))
    np.testing.assert_array_equal(found, expected(looked_up, 3))


@given(arrays.arrays(np.uint16, sizes), st.sampled_from(["png", "tiff"]))
def test_sixteen_bits_keep_their_high_byte(values, kind):
    found = read_pixels(encoded(Image.fromarray(values), kind), (*values.shape, 1))
    np.testing.assert_array_equal(found[..., 0], values >> 8)


def test_sixteen_bits_in_other_containers_keep_their_high_byte():
    values = np.array([[0, 255, 256], [0x1234, 0xFF00, 0xFFFF]], np.uint16)
    header = b"P5 3 2 65535\n"
    big = Image.frombytes("I;16B", (3, 2), values.astype(">u2").tobytes())
    for data in (header + values.astype(">u2").tobytes(), encoded(big, "tiff")):
        np.testing.assert_array_equal(read_pixels(data, (2, 3, 1))[..., 0], values >> 8)


def test_sixteen_bit_colour_keeps_its_high_byte():
    values = np.random.default_rng(0).integers(0, 65536, (2, 3, 3), np.uint16)
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in values)
    chunks = {b"IHDR": struct.pack(">IIBBBBB", 3, 2, 16, 2, 0, 0, 0), b"IDAT": zlib.compress(rows)}
    data = b"\x89PNG\r\n\x1a\n"
    for name, content in (chunks | {b"IEND": b""}).items():
        data += struct.pack(">I", len(content)) + name + content
        data += struct.pack(">I", zlib.crc32(name + content))
    np.testing.assert_array_equal(read_pixels(data, (2, 3, 3)), values >> 8)


def test_the_transparent_value_of_a_picture_without_alpha_becomes_white():
    grey = np.array([[10, 20]], np.uint8)
    colour = np.array([[[1, 2, 3], [4, 5, 6]]], np.uint8)
    deep = np.array([[2560, 2561]], np.uint16)
    bits = Image.fromarray(np.array([[0, 255]], np.uint8)).convert("1")
    for image, key, seen in [
        (Image.fromarray(grey), 10, [255, 20]),
        (Image.fromarray(colour), (1, 2, 3), [255, 5]),
        (Image.fromarray(deep), 2560, [255, 10]),
        (bits, 0, [255, 255]),
    ]:
        data = encoded(image, "png", transparency=key)
        assert read_pixels(data, (1, 2, 1)).ravel().tolist() == seen


@pytest.mark.parametrize(
    ("mode", "kind"), [("CMYK", "tiff"), ("CMYK", "jpeg"), ("YCbCr", "tiff"), ("1", "gif")]
)
def test_other_modes_read_as_pillow_converts_them(mode, kind):
    pixels = np.random.default_rng(1).integers(0, 256, (8, 8, 3), np.uint8)
    # Pillow before 13 cannot read back an uncompressed YCbCr TIFF of its own.
    options = {"compression": "tiff_lzw"} if kind == "tiff" else {}
    data = encoded(Image.fromarray(pixels).convert(mode), kind, **options)
    with Image.open(io.BytesIO(data)) as image:
        np.testing.assert_array_equal(read_pixels(data, (8, 8, 3)), image.convert("RGB"))


def test_cielab_reads_as_the_colour_it_means():
    middle_grey, white = (137, 128, 128), (255, 128, 128)
    for lab, grey in ((middle_grey, 128), (white, 255)):
        data = encoded(Image.new("LAB", (2, 2), lab), "tiff")
        assert abs(read_pixels(data, (2, 2, 3)).astype(int) - grey).max() <= 2


def test_an_animation_shows_its_first_frame():
    frames = [Image.new("RGB", (2, 2), colour) for colour in ("red", "blue")]
    for kind in ("gif", "webp", "png"):
        options = {"lossless": True} if kind == "webp" else {}
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert read_pixels(data, (2, 2, 3))[0, 0].tolist() == [255, 0, 0]


@given(arrays.arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))))
def test_grey_equals_pillows(pixels):
    grey = to_channels(pixels, 1)[..., 0]
    np.testing.assert_array_equal(grey, Image.fromarray(pixels).convert("L"))
    np.testing.assert_array_equal(to_channels(to_channels(pixels, 1), 3)[..., 1], grey)


@given(st.integers(0, 255))
@example(0)
@example(255)
def test_transparency_is_exact_at_its_ends(value):
    pixels = np.array([[[value, 0], [value, 255]]], np.uint8)
    assert flatten_transparency(pixels).ravel().tolist() == [255, value]


@pytest.mark.parametrize("channels", [1, 3])
def test_resizing_is_pillows_antialiased_bilinear(channels):
    pixels = np.random.default_rng(2).integers(0, 256, (31, 17, channels), np.uint8)
    found = resize(pixels, 7, 23)
    for channel in range(channels):
        image = Image.fromarray(pixels[..., channel])
        wanted = np.array(image.resize((23, 7), Image.Resampling.BILINEAR))
        np.testing.assert_array_equal(found[..., channel], wanted)


def test_shrinking_averages_instead_of_skipping():
    stripes = np.zeros((64, 64, 1), np.uint8)
    stripes[:, ::2] = 255
    assert abs(resize(stripes, 8, 8).astype(int) - 128).max() <= 5


@given(st.integers(0, 255), sizes, sizes)
def test_a_plain_picture_stays_plain(value, size, new_size):
    pixels = np.full((*size, 1), value, np.uint8)
    np.testing.assert_array_equal(resize(pixels, *new_size), np.full((*new_size, 1), value))


def test_paths_and_bytes_read_alike(photo):
    shape = (5, 5, 3)
    np.testing.assert_array_equal(read_pixels(photo, shape), read_pixels(photo.read_bytes(), shape))
    np.testing.assert_array_equal(read_pixels(photo, shape), read_pixels(str(photo), shape))


def test_missing_and_empty_files_are_named(tmp_path):
    empty = tmp_path / "empty.png"
    empty.touch()
    for path, message in [
        (tmp_path / "gone.png", "No such file or directory"),
        (tmp_path, "Is a directory"),
        (empty, "is empty"),
        ("nul\0.png", "null byte"),
    ]:
        with pytest.raises(ConvoyError, match=message) as caught:
            read_pixels(path, (2, 2, 1))
        assert str(path) in str(caught.value)
        assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    "data", [b"", b"hello", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"]
)
def test_other_files_are_no_images(data):
    with pytest.raises(ConvoyError, match="expected a whole PNG, JPEG.*save it again"):
        read_pixels(data, (2, 2, 1))


@pytest.mark.parametrize("kind", ["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"])
def test_truncated_images_are_refused(kind):
    pixels = np.random.default_rng(3).integers(0, 256, (64, 64, 3), np.uint8)
    data = encoded(Image.fromarray(pixels), kind)
    for share in (0.2, 0.5, 0.8):
        with pytest.raises(ConvoyError, match="expected a whole PNG"):
            read_pixels(data[: int(share * len(data))], (64, 64, 3))


@settings(deadline=None)  # A rare format makes Pillow load all of its plugins.
@given(st.data())
def test_damaged_images_never_leave_a_trace(data):
    kind = data.draw(st.sampled_from(["png", "jpeg", "gif", "bmp", "tiff", "webp", "ppm"]))
    damaged = bytearray(encoded(Image.new("RGB", (9, 7), "orange"), kind))
    for _ in range(data.draw(st.integers(1, 4))):
        damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(ConvoyError):
        assert read_pixels(bytes(damaged), (7, 9, 3)).shape == (7, 9, 3)


def test_decompression_bombs_are_refused():
    for width in (MAX_PIXELS + 1, 2 * MAX_PIXELS + 1):
        with pytest.raises(ConvoyError, match="larger than 89,478,485 pixels"):
            read_pixels(b"P5 %d 1 255\n" % width, (2, 2, 1))


@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_decompression_bombs_are_refused_where_warnings_are_ignored():
    with pytest.raises(ConvoyError, match=f"received {MAX_PIXELS + 1} x 1"):
        read_pixels(b"P5 %d 1 255\n" % (MAX_PIXELS + 1), (2, 2, 1))


@pytest.mark.parametrize("values", [[[0.5]], [[-1]], [[65536]]])
def test_values_without_a_known_range_are_refused(values):
    dtype = np.float32 if isinstance(values[0][0], float) else np.int32
    data = encoded(Image.fromarray(np.array(values, dtype)), "tiff")
    with pytest.raises(ConvoyError, match="whose range no file states"):
        read_pixels(data, (1, 1, 1))


@pytest.mark.parametrize("channels", [0, 2, 4])
def test_networks_of_other_channels_take_no_images(photo, channels):
    with pytest.raises(ConvoyError, match=f"received one that takes {channels}"):
        read_pixels(photo, (8, 6, channels))
