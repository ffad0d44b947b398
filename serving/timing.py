"""How long a route takes for one image, on the machine that asks."""

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from serving.answers import Answering

# Images timed one after the other; the first ones warm up.
TIMED, WARMING = 1000, 50


class Speed(NamedTuple):
    """What a thousand images took, one by one, from pixels to probabilities."""

    route: str | None
    model: str
    threads: int
    images: int
    p50_milliseconds: float
    p99_milliseconds: float
    images_per_second: float

    @property
    def verdict(self) -> str:
        """One line for people."""
        return (
            f"{self.route or self.model}: p50 {self.p50_milliseconds:.3g} ms, "
            f"p99 {self.p99_milliseconds:.3g} ms, {self.images_per_second:,.0f} images/s "
            f"({self.images:,} images one by one, --threads {self.threads})"
        )


def time_single(
    images: np.ndarray,
    run: Callable[[np.ndarray], Any],
    timed: int = TIMED,
    warming: int = WARMING,
) -> np.ndarray:
    """Milliseconds that `run` takes for one image, `timed` times over."""
    milliseconds = []
    for turn in range(warming + timed):
        started = time.perf_counter()
        run(images[turn % len(images)])
        milliseconds.append(1000 * (time.perf_counter() - started))
    return np.array(milliseconds[warming:])


def measure(model: Answering, threads: int) -> Speed:
    """Time a model on images of noise: what a network computes takes as long for any image."""
    dice = np.random.default_rng(0)
    images = dice.integers(0, 256, (10, *model.shape), np.uint8)
    milliseconds = time_single(images, model.probabilities)
    p50, p99 = (round(float(each), 4) for each in np.percentile(milliseconds, [50, 99]))
    rate = round(1000 / float(milliseconds.mean()), 1)
    return Speed(model.route, str(model.path), threads, len(milliseconds), p50, p99, rate)


def print_benchmark(model: Answering, threads: int, as_json: bool) -> None:
    """Time a model and say what it took."""
    speed = measure(model, threads)
    print(json.dumps(speed._asdict()) if as_json else speed.verdict)
