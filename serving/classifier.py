"""An exported file as a function from pixels to probabilities, whatever runtime runs it."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from serving.answers import Answer, top_k
from serving.errors import ConvoyError
from serving.image import Shape, read_pixels


class ImageClassifier:
    """A file that classifies images, ready to answer; each runtime is a subclass.

    Args:
        path: the file.
        labels: names of the classes; `class 0`, `class 1`, ... by default.
        num_threads: threads of one prediction.
        route: the route under which a bundle lists the file.

    Raises:
        ConvoyError: the file is missing, damaged, or no image classifier.
    """

    format: str

    def __init__(
        self,
        path: str | Path,
        labels: Sequence[str] | None = None,
        num_threads: int = 1,
        route: str | None = None,
    ) -> None:
        self.path = Path(path)
        self.route = route
        taken, given = self._start(num_threads)
        self.shape = image_shape(taken, self.path)
        self.labels = class_names(labels, class_count(given, self.path), self.path)

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Answer one image: uint8 `(height, width, channels)` to float32 `(classes,)`.

        Raises:
            ConvoyError: `pixels` have another shape or type, or the model fails.
        """
        if pixels.shape != self.shape or pixels.dtype != np.uint8:
            raise ConvoyError(
                f"`pixels` do not fit {self.path}: expected uint8 {self.shape}, received "
                f"{pixels.dtype} {pixels.shape}; read the image with `read_pixels(path, shape)`."
            )
        return self._answer(pixels[np.newaxis])

    def answers(self, image: str | Path | bytes, k: int = 3) -> list[Answer]:
        """Name the `k` likeliest classes of an image file.

        Raises:
            ConvoyError: the image cannot be read.
        """
        return top_k(self.probabilities(read_pixels(image, self.shape)), self.labels, k)

    @property
    def arena_bytes(self) -> int | None:
        """What a microcontroller needs beside the file; `None` where none runs it."""
        return None

    def _start(self, num_threads: int) -> tuple[Sequence[int], Sequence[int]]:
        """Let the runtime load the file; returns the shapes of its input and its output."""
        raise NotImplementedError

    def _answer(self, pixels: np.ndarray) -> np.ndarray:
        """Answer a batch of one, `(1, height, width, channels)`, as `(classes,)`."""
        raise NotImplementedError


def class_names(labels: Sequence[str] | None, count: int, path: Path) -> tuple[str, ...]:
    """The names of the classes, `class 0`, `class 1`, ... where none are known.

    Raises:
        ConvoyError: as many names as there are no classes.
    """
    names = tuple(labels or (f"class {index}" for index in range(count)))
    if len(names) != count:
        raise ConvoyError(
            f"{path} does not fit its labels: expected {len(names)} classes, "
            f"received {count}; take both from the same bundle."
        )
    return names


def not_runnable(path: Path, error: Exception, format: str) -> ConvoyError:
    """The one sentence for a file that the runtime rejects; `format` is what it should be."""
    reason = getattr(error, "strerror", None) or " ".join(str(error).split())
    return ConvoyError(
        f"{path} cannot be run: expected a whole {format} model, received `{reason}`; "
        "export it again, or update the runtime if it lacks an operation."
    )


def refuse(path: Path, expected: str, received: object) -> ConvoyError:
    """The one sentence for a model that is no image classifier."""
    return ConvoyError(
        f"{path} is no image classifier: expected {expected}, received {received}; "
        "export a classification network."
    )


def image_shape(shape: Sequence[int], path: Path) -> Shape:
    """`(height, width, channels)` of an input that takes one image, given its shape.

    Raises:
        ConvoyError: it takes something else.
    """
    match tuple(shape):
        case (1, height, width, 1 | 3 as channels) if height > 0 and width > 0:
            return (height, width, channels)
    raise refuse(path, "input (1, height, width, 1 or 3)", tuple(shape))


def class_count(shape: Sequence[int], path: Path) -> int:
    """Number of classes in an output that holds one answer, given its shape.

    Raises:
        ConvoyError: it holds something else.
    """
    match tuple(shape):
        case (1, count) if count > 0:
            return count
    raise refuse(path, "output (1, classes)", tuple(shape))
