"""From probabilities to answers, and answers as people and programs read them."""

import json
import os
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from serving.crew import in_order
from serving.errors import ConvoyError
from serving.image import Shape, read_pixels
from serving.inputs import STDIN, Input, inputs

# Columns for the name of an image.
WIDEST = 31


class Answer(NamedTuple):
    """One class a network thinks of, and how likely it finds it."""

    label: str
    index: int
    probability: float


def top_k(probabilities: np.ndarray, labels: Sequence[str], k: int) -> list[Answer]:
    """List the `k` likeliest classes, likeliest first; the lower index wins a tie.

    Example:

    >>> top_k(np.array([0.25, 0.5, 0.25]), ["bag", "coat", "shirt"], k=2)
    [Answer(label='coat', index=1, probability=0.5), Answer(label='bag', index=0, probability=0.25)]

    Raises:
        ConvoyError: a probability is not a number.
    """
    if not np.isfinite(probabilities).all():
        raise ConvoyError(
            "the model gave no answer: expected finite probabilities, received "
            f"{np.asarray(probabilities)[:3]}...; it may be damaged, so export it again."
        )
    order = np.argsort(-np.asarray(probabilities), kind="stable")[:k]
    return [Answer(labels[i], i, float(probabilities[i])) for i in map(int, order)]


class Answering(Protocol):
    """What any route looks like from here."""

    @property
    def path(self) -> Path:
        """The file or folder that answers."""
        ...

    @property
    def route(self) -> str | None:
        """The route's name, `None` outside a bundle."""
        ...

    @property
    def labels(self) -> Sequence[str]:
        """Names of the classes."""
        ...

    @property
    def shape(self) -> Shape:
        """Height, width and channels of an image."""
        ...

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Answer one image: uint8 `(height, width, channels)` to float32 `(classes,)`."""
        ...


class Said(NamedTuple):
    """What became of an image: answers, or why there are none."""

    file: str
    answers: list[Answer]
    milliseconds: float = 0.0
    error: ConvoyError | None = None


def answer_image(model: Answering, image: Input, k: int) -> Said:
    """Read an image and name its `k` likeliest classes."""
    try:
        if isinstance(image.source, ConvoyError):
            raise image.source
        pixels = read_pixels(image.source, model.shape, image.name)
        began = time.perf_counter()
        probabilities = model.probabilities(pixels)
        milliseconds = 1000 * (time.perf_counter() - began)
        return Said(image.name, top_k(probabilities, model.labels, k), milliseconds)
    except ConvoyError as error:
        return Said(image.name, [], error=error)


def as_json(model: Answering, said: Said) -> str:
    """One image's answers as one line of JSON."""
    return json.dumps(
        {
            "file": said.file,
            "answers": [answer._asdict() for answer in said.answers],
            "route": model.route,
            "model": str(model.path),
            "milliseconds": round(said.milliseconds, 3),
        }
    )


def as_rows(said: Said, width: int) -> str:
    """One image's answers as rows of a table of 80 columns; `width` is the first one's."""
    name = said.file if len(said.file) <= width else "..." + said.file[3 - width :]
    starts = [f"{name:{width}}  {said.milliseconds:7.2f}"]
    starts += [" " * (width + 9)] * len(said.answers)
    return "\n".join(
        f"{start}  {answer.probability:6.1%}  {answer.label:.30}"
        for start, answer in zip(starts, said.answers, strict=False)
    )


def print_answers(
    models: Sequence[Answering], files: Sequence[str], top: int, json_lines: bool, program: str
) -> int:
    """Print the answers for every image that can be read; say what is wrong with the others.

    Args:
        models: any route, as often as images are answered at a time.
        files: image files, folders of them, or `-`, whose lines name or hold images.
        top: how many classes to name.
        json_lines: one JSON object a line instead of a table.
        program: who speaks, in errors.

    Returns:
        The exit code: 0, or 2 if an image could not be read or answered.
    """
    is_known = not any(name == STDIN or os.path.isdir(name) for name in files)
    width = min(WIDEST, max(map(len, [*files, "image"]))) if is_known else WIDEST
    if not json_lines:
        print(f"{'image':{width}}  {'ms':>7}  {'chance':>6}  class")
    exit_code = 0
    for said in in_order(models, partial(answer_image, k=top), inputs(files)):
        if said.error:
            print(f"{program}: {said.error}", file=sys.stderr)
            exit_code = said.error.exit_code
        elif json_lines:
            print(as_json(models[0], said), flush=True)
        else:
            print(as_rows(said, width), flush=True)
    return exit_code
