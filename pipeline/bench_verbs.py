"""`convoy bench BENCHMARK`: a dataclass for each, its fields the flags, `run` what it does."""

import dataclasses
import functools
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tyro

from pipeline.flags import parse
from serving.errors import ConvoyError, nearest
from serving.silence import muted

# TensorFlow takes seconds to import, so each benchmark imports what it needs.


def show(result: dict[str, Any], table: Callable[[dict[str, Any]], str], as_json: bool) -> None:
    """Print what a benchmark measured, for people or for programs."""
    print(json.dumps(result, indent=2) if as_json else table(result))


@dataclass(frozen=True)
class Edge:
    """Cold start and memory of a device, against loading TensorFlow."""

    bundle: tyro.conf.Positional[Path]
    """The bundle to measure with, such as runs/latest/bundle."""
    pairs: int = 10
    """How often both sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import edge

        show(edge.run(self.bundle, self.pairs), edge.table, self.json)


@dataclass(frozen=True)
class Latency:
    """Time for one image on one thread, against the bare interpreter and other runtimes."""

    bundle: tyro.conf.Positional[Path]
    """The bundle to measure with; its ONNX file too, where it has one."""
    pairs: int = 10
    """How often all sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import latency

        show(latency.run(self.bundle, self.pairs), latency.table, self.json)


@dataclass(frozen=True)
class Layers:
    """Speed of our layers, beside those of Keras."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which layers, such as Conv2D; all where none is named."""
    pairs: int = 15
    """How often both sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import layers

        say = (lambda line: None) if self.json else functools.partial(print, flush=True)
        result = layers.run(self.names, self.pairs, say)
        if self.json:
            print(json.dumps(result, indent=2))


@dataclass(frozen=True)
class Input:
    """Whether the input or the step of a recipe is what its training waits for."""

    recipe: tyro.conf.Positional[str]
    """A recipe by name, or your own .py."""
    pairs: int = 10
    """How often all sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import input as benchmark
        from pipeline.recipes import find_recipe

        show(benchmark.run(find_recipe(self.recipe), self.pairs), benchmark.table, self.json)


@dataclass(frozen=True)
class Train:
    """Speed of training, beside stock Keras and PyTorch."""

    pairs: int = 10
    """How often all sides are measured, in turn."""
    python: str = sys.executable
    """Of an environment that has PyTorch, where this one has not."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import train

        show(train.run(self.pairs, self.python), train.table, self.json)


@dataclass(frozen=True)
class Target:
    """Time until Fashion-MNIST is answered with a given accuracy, beside stock Keras."""

    recipe: tyro.conf.Positional[str] = "fast"
    """Ours."""
    target: float = 0.94
    """Accuracy on the test split that is to be reached."""
    seeds: int = 1
    """How often both train, in turn."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import target
        from pipeline.recipes import find_recipe

        result = target.run(find_recipe(self.recipe), self.target, self.seeds)
        show(result, target.table, self.json)


@dataclass(frozen=True)
class Scaling:
    """Speed of several processes that train together, beside one."""

    recipe: tyro.conf.Positional[str] = "resnet20"
    """What they train, by name or as your own .py; on random images of 28x28."""
    workers: int = 2
    """How many processes, each on a core of its own."""
    pairs: int = 10
    """How often both sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""

    def run(self) -> None:
        from benchmarks import scaling

        show(scaling.run(self.recipe, self.workers, self.pairs), scaling.table, self.json)


@dataclass(frozen=True)
class Degradation:
    """Training error of deep networks with and without shortcuts."""

    images: int = 10_000
    """Training images."""
    epochs: int = 12
    """Passes over them."""
    seed: int = 0
    """Of initial weights and shuffling."""
    folder: Path = Path("runs/degradation")
    """Where runs, figures and the plot are written."""

    def run(self) -> None:
        from benchmarks import degradation

        print(degradation.table(degradation.run(**dataclasses.asdict(self))))


BENCHMARKS = {
    "edge": Edge,
    "latency": Latency,
    "layers": Layers,
    "input": Input,
    "train": Train,
    "target": Target,
    "scaling": Scaling,
    "degradation": Degradation,
}


def bench(args: Sequence[str]) -> None:
    """Measure on this machine, beside what one would use instead: `convoy bench edge BUNDLE`."""
    name, *flags = args or [""]
    if name in ("-h", "--help"):
        lines = [f"  {each:12} {kind.__doc__}" for each, kind in BENCHMARKS.items()]
        print("\n".join(["usage: convoy bench BENCHMARK [flags]", "", *lines]))
        return
    if name not in BENCHMARKS:
        raise ConvoyError(f"unknown benchmark `{name}`: {nearest(name, BENCHMARKS)}")
    benchmark = parse(BENCHMARKS[name], flags, f"convoy bench {name}")
    with muted():
        # TensorFlow's words while it loads, not the progress that a benchmark shows.
        importlib.import_module(f"benchmarks.{name}")
    benchmark.run()
