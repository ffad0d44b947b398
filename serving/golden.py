"""Golden images: what every route answered where it was proven, to hold a device against."""

import json
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from serving.answers import Answering
from serving.bundle import Bundle, check
from serving.errors import ConvoyError, GateFailed
from serving.image import to_channels

GOLDEN = "golden.npz"
# Another processor's kernels may round otherwise, in integers and in halves by a step or a few.
EXACT = ("saved_model", "tflite-fp32", "onnx", "mediapipe")
ROUNDING, STEPS = 1e-3, 0.02


@dataclass(frozen=True)
class Golden:
    """Some test images, uint8 `(count, height, width, channels)`, and each route's answers."""

    images: np.ndarray
    answers: dict[str, np.ndarray]

    def save(self, path: Path) -> None:
        """Write them as one file of arrays."""
        with path.open("wb") as stream:
            np.savez_compressed(stream, images=self.images, **self.answers)  # pyright: ignore


class SelfTest(NamedTuple):
    """How far a route's answers lie from those it gave where it was proven."""

    route: str
    images: int
    difference: float
    allowed: float

    @property
    def verdict(self) -> str:
        """One line for people."""
        return (
            f"{self.route} answers {self.images} golden images as it did where it was proven: "
            f"probabilities differ by {self.difference:.2g} at most, {self.allowed:g} allowed"
        )


def read_golden(bundle: Bundle) -> Golden:
    """The golden images of a bundle, their hash checked first.

    Raises:
        ConvoyError: there are none, or the file is damaged.
    """
    file = bundle.manifest.golden
    if file is None:
        raise ConvoyError(
            f"{bundle.folder} has no golden images: expected a bundle that was verified, received "
            "one that was not, or by an older version; run `convoy verify` on its run."
        )
    check(bundle.folder, file, "run `convoy verify` on its run")
    try:
        with np.load(bundle.folder / file.path) as arrays:
            answers = {name: arrays[name] for name in arrays.files}
        return Golden(answers.pop("images"), answers)
    except (ValueError, KeyError, zipfile.BadZipFile) as error:
        raise ConvoyError(
            f"{bundle.folder / file.path} holds no golden images: expected arrays of images and "
            f"answers, received `{error}`; run `convoy verify` on the run of the bundle."
        ) from error


def self_test(model: Answering, bundle: Bundle) -> SelfTest:
    """Let a route answer the golden images, here and now.

    Raises:
        ConvoyError: the bundle has none for this route.
        GateFailed: it answers otherwise than where it was proven.
    """
    golden, route = read_golden(bundle), str(model.route)
    if route not in golden.answers:
        raise ConvoyError(
            f"{bundle.folder} has no golden answers of `{route}`: expected one of "
            f"{', '.join(golden.answers)}, received another; run `convoy verify` on its run."
        )
    images = to_channels(golden.images, model.shape[-1])
    found = np.stack([model.probabilities(image) for image in images])
    # What is no number differs.
    difference = float(np.nan_to_num(np.abs(found - golden.answers[route]), nan=np.inf).max())
    result = SelfTest(route, len(found), difference, ROUNDING if route in EXACT else STEPS)
    if difference > result.allowed:
        raise GateFailed(
            f"{model.path} answers otherwise than where it was proven: expected probabilities "
            f"within {result.allowed:g} on {result.images} golden images, received a difference "
            f"of {difference:.2g}; do not trust this runtime or processor with it: update the "
            "runtime, or take another route."
        )
    return result


def print_self_test(model: Answering, bundle: Bundle, as_json: bool) -> None:
    """Let a route answer the golden images and say how far off it was.

    Raises:
        ConvoyError: the bundle has none for this route.
        GateFailed: it answers otherwise than where it was proven.
    """
    result = self_test(model, bundle)
    print(json.dumps(result._asdict()) if as_json else result.verdict)
