"""Two sides measured in turn: how their figures spread, and what they were measured on."""

import os
import platform
import statistics
import textwrap
from collections.abc import Callable
from importlib import metadata
from typing import Any, TypeVar

from pipeline.console import progress
from pipeline.launch import count_cores
from serving.errors import ConvoyError

Figure = TypeVar("Figure")
PACKAGES = (
    *("tensorflow", "keras", "ai-edge-litert", "tflite-runtime", "onnxruntime", "openvino"),
    *("numpy", "pillow"),
)


def require_pairs(pairs: int, steady: int) -> None:
    """Refuse to measure too seldom; `steady` pairs are enough for a median.

    Raises:
        ConvoyError: fewer than two pairs.
    """
    if pairs < 2:
        raise ConvoyError(
            f"`pairs` is too small: expected at least 2 to show a spread, received pairs={pairs}; "
            f"{steady} give a steady median."
        )


def spread(values: list[float]) -> dict[str, float]:
    """Median, quartiles and minimum."""
    lower, median, upper = statistics.quantiles(values, n=4, method="inclusive")
    return {"median": median, "lower": lower, "upper": upper, "minimum": min(values)}


def in_turn(sides: dict[str, Callable[[], Figure]], pairs: int) -> dict[str, list[Figure]]:
    """What each side gives, in as many turns; one more before them compiles and reads files."""
    found = {name: [] for name in sides}
    with progress("measuring", len(sides) * (pairs + 1)) as advance:
        for _ in range(pairs + 1):
            for name, measure in sides.items():
                advance(0, note=name)
                found[name].append(measure())
                advance()
    return {name: figures[1:] for name, figures in found.items()}


def ratios(above: list[float], below: list[float]) -> dict[str, float]:
    """The spread of one figure over another, turn by turn."""
    return spread([first / second for first, second in zip(above, below, strict=True)])


def surroundings(before: tuple[float, float, float]) -> dict[str, Any]:
    """The machine, its load `before` and now, and the versions of what was measured."""
    cores = count_cores()
    return {
        "cores": cores,
        # Of each operation, where its library is not told otherwise.
        "threads": int(os.environ.get("OMP_NUM_THREADS") or cores),
        "load_average": {"before": before, "after": os.getloadavg()},
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """What was measured, and on what."""
    found = {"python": platform.python_version(), "machine": platform.machine()}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def in_words(found: dict[str, float], digits: int = 2) -> str:
    """A spread as "median (lower-upper quartile)"."""
    median, lower, upper = (f"{found[name]:.{digits}f}" for name in ("median", "lower", "upper"))
    return f"{median} ({lower}-{upper})"


def notes(result: dict[str, Any], *sentences: str) -> list[str]:
    """What stands below a table, each from a new line: sentences, and how all was measured."""
    how = f"Medians of {result['pairs']} turns (quartiles). {said(result)}"
    return [
        line
        for sentence in (*sentences, how)
        for line in textwrap.wrap(sentence, 80, break_on_hyphens=False)
    ]


def said(result: dict[str, Any]) -> str:
    """The surroundings in words."""
    load = result["load_average"]
    return (
        f"{result['cores']} cores, {result['threads']} threads, load {load['before'][0]:.1f} "
        f"before and {load['after'][0]:.1f} after; "
        + ", ".join(f"{name} {version}" for name, version in result["versions"].items())
    )
