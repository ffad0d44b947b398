"""C source for microcontrollers: the int8 file as an array, and what a program must know of it."""

import hashlib
import re
from pathlib import Path

from serving.image import Shape
from serving.micro import smallest_arena

PACKAGES = ("tflite_micro",)
COLUMNS = 16

HEADER = """\
/* {name}, version {version}: what an image shows, by TFLite Micro. Written by Convoy.

   Set the input's {pixels} bytes to the pixels as they are, 0-255, row by row; each of the output's
   {classes} bytes is 256 times the probability of the class whose name stands at its place. */
#ifndef {guard}
#define {guard}

#ifdef __cplusplus
extern "C" {{
#endif

#define {prefix}_HEIGHT {height}
#define {prefix}_WIDTH {width}
#define {prefix}_CHANNELS {channels}
#define {prefix}_CLASSES {classes}
#define {prefix}_MODEL_BYTES {bytes}
/* Bytes, aligned to 16, that TFLite Micro's interpreter needs with reference kernels and pointers
   of 64 bits. Kernels made for a processor may need more. */
#define {prefix}_ARENA_BYTES {arena}

extern const unsigned char {identifier}_model[];
extern const char* const {identifier}_labels[];

#ifdef __cplusplus
}}
#endif

#endif
"""

SOURCE = """\
/* {name}, version {version}: sha256 of the model {sha256}. */
#include "{file}.h"

__attribute__((aligned(16))) const unsigned char {identifier}_model[] = {{
{array}
}};

const char* const {identifier}_labels[] = {{
{labels}
}};
"""


def write_micro(
    model: bytes, name: str, version: int, labels: tuple[str, ...], shape: Shape, source: Path
) -> None:
    """Write a full int8 file as `source` and the header beside it.

    Args:
        model: the int8 TFLite file, with pixels as they are for an input.
        name: of the network.
        version: of the bundle.
        labels: names of the classes.
        shape: height, width and channels of an image.
        source: the C file.

    Raises:
        ConvoyError: TFLite Micro cannot run it, or is not installed.
    """
    height, width, channels = shape
    identifier = c_identifier(name)
    words = {
        "name": name,
        "version": version,
        "file": source.stem,
        "identifier": identifier,
        "prefix": identifier.upper(),
        "guard": f"{identifier.upper()}_H_",
        "height": height,
        "width": width,
        "channels": channels,
        "pixels": height * width * channels,
        "classes": len(labels),
        "bytes": len(model),
        "arena": smallest_arena(model, source),
        "sha256": hashlib.sha256(model).hexdigest(),
        "array": c_array(model),
        "labels": "\n".join(f"  {c_string(label)}," for label in labels),
    }
    source.with_suffix(".h").write_text(HEADER.format(**words), encoding="ascii")
    source.write_text(SOURCE.format(**words), encoding="ascii")


def c_identifier(name: str) -> str:
    """A name as C and C++ take it."""
    return re.sub(r"^(?=\d)", "_", re.sub(r"\W", "_", name, flags=re.ASCII))


def c_array(content: bytes) -> str:
    """Bytes as the lines of an array's initializer."""
    starts = range(0, len(content), COLUMNS)
    return "\n".join(
        "  " + " ".join(f"0x{byte:02x}," for byte in content[start : start + COLUMNS])
        for start in starts
    )


def c_string(text: str) -> str:
    """Text as a literal in UTF-8; what is not plain ASCII, or could form a trigraph, in octal."""
    special = set(b'"\\?')
    letters = (
        chr(byte) if 32 <= byte < 127 and byte not in special else f"\\{byte:03o}"
        for byte in text.encode()
    )
    return f'"{"".join(letters)}"'
