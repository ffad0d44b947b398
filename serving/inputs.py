"""Where images come from: files, folders, and lines of standard input."""

import base64
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from serving.errors import ConvoyError

STDIN = "-"
# Of files in a folder; a file that is named is read whatever its ending.
ENDINGS = (
    *(".png", ".jpg", ".jpeg", ".gif", ".bmp", ".pgm", ".ppm", ".pnm", ".webp", ".tif", ".tiff"),
    *(".jp2", ".j2k"),
)


class Input(NamedTuple):
    """An image that is to be answered: what it is called, and its file, its bytes, or why not."""

    name: str
    source: str | bytes | ConvoyError


def inputs(named: Sequence[str]) -> Iterator[Input]:
    """Every image that is named: a file, those in a folder and below, or the lines of `-`.

    Each is given as soon as it is known, so that a stream is answered while it lasts.
    """
    for name in named:
        if name == STDIN:
            yield from lines(sys.stdin)
        elif os.path.isdir(name):
            yield from files_below(name)
        else:
            yield Input(name, name)


def files_below(folder: str) -> Iterator[Input]:
    """The images in a folder and in those in it, by name."""
    found = sorted(
        path
        for path in Path(folder).rglob("*")
        if path.suffix.lower() in ENDINGS and os.path.isfile(path)
    )
    if not found:
        expected = f"one with files that end in {', '.join(ENDINGS)}"
        yield Input(
            folder,
            ConvoyError(
                f"{folder} holds no images: expected {expected}, received none of these; name the "
                "files themselves."
            ),
        )
    yield from (Input(str(path), str(path)) for path in found)


def lines(stream: Iterator[str]) -> Iterator[Input]:
    """An image for each line: the name of a file, or `{"b64": ..., "file": ...}`."""
    for number, line in enumerate(stream, start=1):
        text = line.strip()
        if text.startswith("{"):
            yield encoded(text, f"line {number}")
        elif text:
            yield Input(text, text)


def encoded(text: str, place: str) -> Input:
    """The image in a line of JSON."""
    try:
        content = json.loads(text)
        name = str(content.get("file", place))
        return Input(name, base64.b64decode(content["b64"], validate=True))
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        return Input(
            place,
            ConvoyError(
                f"{place} is no image: expected the name of a file, or a JSON object with the "
                f"file's bytes in base64 as `b64`, received `{text[:60]}` ({error!r}); mend the "
                "line."
            ),
        )
