"""The one place where an image file becomes pixels: training, command line and device read alike.

Every step is exact integer arithmetic, so its twin inside the SavedModel can equal it.
"""

import io
import os
from pathlib import Path

import numpy as np
from PIL import Image

from serving.errors import ConvoyError

# Height, width and channels of an image.
Shape = tuple[int, int, int]

# Pillow always knows the first five; any other makes it load all of its plugins.
FORMATS = ("PNG", "JPEG", "GIF", "BMP", "PPM", "WEBP", "TIFF", "JPEG2000")
EXPECTED = "PNG, JPEG, GIF, BMP, PPM, WebP, TIFF or JPEG 2000"

# Pillow only warns above this size, and a server must not fall over a small file.
MAX_PIXELS = 89_478_485

# What turns a picture upright, by its EXIF orientation.
UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
ORIENTATION = 0x0112

# The 8-bit mode that loses nothing of another; the modes not named here become RGB.
EIGHT_BIT = {"1": "L", "L": "L", "LA": "LA", "P": "RGBA", "PA": "RGBA", "RGBA": "RGBA"}
WITH_ALPHA = {"L": "LA", "RGB": "RGBA"}


def upright(image: Image.Image) -> Image.Image:
    """Turn the picture as its EXIF orientation asks."""
    image.load()
    method = UPRIGHT.get(orientation(image))
    return image if method is None else image.transpose(method)


def upright_size(image: Image.Image) -> tuple[int, int]:
    """Width and height of the picture once it is upright, from its header alone."""
    # Orientations 5 to 8 lie on their side.
    width, height = image.size
    return (height, width) if orientation(image) >= 5 else (width, height)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 where none is given."""
    return image.getexif().get(ORIENTATION, 1)


def high_byte(image: Image.Image) -> np.ndarray:
    """Keep the high byte of 16-bit grey values; a transparent value becomes an alpha channel.

    Raises:
        ValueError: a value does not fit in 16 bits.
    """
    values = np.array(image)
    if values.min() < 0 or values.max() > 0xFFFF:
        raise ValueError("32-bit values, whose range no file states")
    channels = [values >> 8]
    if "transparency" in image.info:
        channels.append(np.where(values == image.info["transparency"], 0, 255))
    return np.stack(channels, axis=-1).astype(np.uint8)


def eight_bits(image: Image.Image) -> np.ndarray:
    """Bring any mode to 8-bit grey, grey and alpha, RGB or RGBA: `(height, width, 1 to 4)`.

    Raises:
        ValueError: the mode has no 8-bit meaning.
    """
    if image.mode == "F":
        raise ValueError("floating-point values, whose range no file states")
    if image.mode.startswith("I"):
        return high_byte(image)
    if image.mode == "LAB":
        image = lab_to_rgb(image)
    mode = EIGHT_BIT.get(image.mode, "RGB")
    if "transparency" in image.info:
        mode = WITH_ALPHA.get(mode, mode)
    pixels = np.array(image.convert(mode))
    return pixels.reshape(image.height, image.width, -1)


def lab_to_rgb(image: Image.Image) -> Image.Image:
    """Bring CIELAB to sRGB, which `convert` cannot."""
    from PIL import ImageCms  # Loads a colour engine that hardly any image needs.

    lab, rgb = ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB")
    return ImageCms.buildTransform(lab, rgb, "LAB", "RGB").apply(image)


def flatten_transparency(pixels: np.ndarray) -> np.ndarray:
    """Lay a picture with an alpha channel on white; leave one without it as it is."""
    if pixels.shape[-1] in (1, 3):
        return pixels
    # 16 bits suffice: the sum never exceeds 255 * 255 + 127.
    colour, alpha = pixels[..., :-1].astype(np.uint16), pixels[..., -1:].astype(np.uint16)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def to_channels(pixels: np.ndarray, channels: int) -> np.ndarray:
    """Turn RGB into grey by `(R * 19595 + G * 38470 + B * 7471 + 32768) >> 16`, or repeat grey.

    Raises:
        ConvoyError: `channels` is neither 1 nor 3.
    """
    if channels not in (1, 3):
        raise ConvoyError(
            f"An image cannot be given {channels} channels: expected a network that takes 1 or 3, "
            f"received one that takes {channels}; feed it arrays instead of image files."
        )
    if pixels.shape[-1] == channels:
        return pixels
    if channels == 3:
        return np.repeat(pixels, 3, axis=-1)
    return np.array(Image.fromarray(pixels).convert("L"))[..., np.newaxis]


def resize(pixels: np.ndarray, height: int, width: int) -> np.ndarray:
    """Stretch to `height` x `width`, bilinear and antialiased; the same size changes nothing."""
    if pixels.shape[:2] == (height, width):
        return pixels
    grey = pixels.shape[-1] == 1
    image = Image.fromarray(pixels[..., 0] if grey else pixels)
    return np.array(image.resize((width, height), Image.Resampling.BILINEAR)).reshape(
        height, width, -1
    )


def decode(data: bytes, name: str) -> np.ndarray:
    """Decode the first frame of an image, upright: `(height, width, 1 to 4)`, 8-bit.

    Raises:
        ConvoyError: `data` is no image, is damaged, or is too large.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MAX_PIXELS:
            raise Image.DecompressionBombError(f"{image.width} x {image.height}")
        return eight_bits(upright(image))
    except Image.UnidentifiedImageError:
        problem, received = "is not an image", f"{len(data)} bytes that are none of these"
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        problem, received = f"is larger than {MAX_PIXELS:,} pixels", str(error)
    except Exception as error:  # A decoder fails on damaged data in whatever way it meets first.
        problem, received = "cannot be decoded", str(error) or type(error).__name__
    raise ConvoyError(
        f"{name} {problem}: expected a whole {EXPECTED} file of 8 or 16 bits, "
        f"received {received}; save it again, for example as PNG."
    )


def read_bytes(path: str | os.PathLike[str]) -> bytes:
    """Read a file that should hold an image.

    Raises:
        ConvoyError: the file is missing, unreadable or empty.
    """
    try:
        data = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConvoyError(
            f"{path} cannot be read: expected an image file, received `{reason}`; check the path."
        ) from error
    if not data:
        raise ConvoyError(
            f"{path} is empty: expected an image file, received 0 bytes; copy it again."
        )
    return data


def read_pixels(
    source: str | os.PathLike[str] | bytes, shape: Shape, name: str = "The image"
) -> np.ndarray:
    """Read an image file, or the bytes of one, as the pixels a network takes.

    Args:
        source: path or bytes of a PNG, JPEG, GIF, BMP, PPM, WebP, TIFF or JPEG 2000.
        shape: `(height, width, channels)`, 1 or 3 channels.
        name: what to call bytes in an error.

    Returns:
        uint8 array of that shape. The picture is upright, on white where it was
        transparent, and stretched to the size.

    Raises:
        ConvoyError: the image cannot be read.
    """
    height, width, channels = shape
    if isinstance(source, bytes):
        pixels = decode(source, name)
    else:
        pixels = decode(read_bytes(source), name=str(source))
    return resize(to_channels(flatten_transparency(pixels), channels), height, width)
