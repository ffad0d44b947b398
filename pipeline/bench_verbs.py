"""`convoy bench BENCHMARK`: what each takes and does."""

import dataclasses
import functools
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


def rendered(result: dict[str, Any], table: Callable[[dict[str, Any]], str], as_json: bool) -> str:
    """What a benchmark measured, for people or for programs."""
    return json.dumps(result, indent=2) if as_json else table(result)


@dataclass(frozen=True)
class EdgeOptions:
    """Cold start and memory of a device, against loading TensorFlow."""

    bundle: tyro.conf.Positional[Path]
    """The bundle to measure with, such as runs/latest/bundle."""
    pairs: int = 10
    """How often both sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""


def bench_edge(args: Sequence[str]) -> None:
    """Cold start and memory of a device, against loading TensorFlow."""
    options = parse(EdgeOptions, args, "convoy bench edge")
    from benchmarks import edge

    result = edge.run(options.bundle, options.pairs)
    print(rendered(result, edge.table, options.json))


@dataclass(frozen=True)
class LayersOptions:
    """Speed of our layers, beside those of Keras."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Which layers, such as Conv2D; all where none is named."""
    pairs: int = 15
    """How often both sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""


def bench_layers(args: Sequence[str]) -> None:
    """Speed of our layers, beside those of Keras."""
    options = parse(LayersOptions, args, "convoy bench layers")
    with muted():
        from benchmarks import layers

        show = (lambda line: None) if options.json else functools.partial(print, flush=True)
        result = layers.run(options.names, options.pairs, show)
    if options.json:
        print(json.dumps(result, indent=2))


@dataclass(frozen=True)
class TargetOptions:
    """Time until Fashion-MNIST is answered with a given accuracy, beside stock Keras."""

    recipe: tyro.conf.Positional[str] = "fast"
    """Ours."""
    target: float = 0.94
    """Accuracy on the test split that is to be reached."""
    seeds: int = 1
    """How often both train, in turn."""
    json: bool = False
    """Print the figures as JSON."""


def bench_target(args: Sequence[str]) -> None:
    """Time until Fashion-MNIST is answered with a given accuracy, beside stock Keras."""
    options = parse(TargetOptions, args, "convoy bench target")
    with muted():
        from benchmarks import target
        from pipeline.recipes import find_recipe

        result = target.run(find_recipe(options.recipe), options.target, options.seeds)
    print(rendered(result, target.table, options.json))


@dataclass(frozen=True)
class DegradationOptions:
    """Training error of deep networks with and without shortcuts."""

    images: int = 10_000
    """Training images."""
    epochs: int = 12
    """Passes over them."""
    seed: int = 0
    """Of initial weights and shuffling."""
    folder: Path = Path("runs/degradation")
    """Where runs, figures and the plot are written."""


def bench_degradation(args: Sequence[str]) -> None:
    """Training error of deep networks with and without shortcuts."""
    options = parse(DegradationOptions, args, "convoy bench degradation")
    with muted():
        from benchmarks import degradation

    print(degradation.table(degradation.run(**dataclasses.asdict(options))))


@dataclass(frozen=True)
class InputOptions:
    """Whether the input or the step of a recipe is what its training waits for."""

    recipe: tyro.conf.Positional[str]
    """A recipe by name, or your own .py."""
    pairs: int = 10
    """How often all sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""


def bench_input(args: Sequence[str]) -> None:
    """Whether the input or the step of a recipe is what its training waits for."""
    options = parse(InputOptions, args, "convoy bench input")
    with muted():
        from benchmarks import input as benchmark
        from pipeline.recipes import find_recipe

        result = benchmark.run(find_recipe(options.recipe), options.pairs)
    print(rendered(result, benchmark.table, options.json))


@dataclass(frozen=True)
class TrainOptions:
    """Speed of training, beside stock Keras and PyTorch."""

    pairs: int = 10
    """How often all sides are measured, in turn."""
    python: str = sys.executable
    """Of an environment that has PyTorch, where this one has not."""
    json: bool = False
    """Print the figures as JSON."""


def bench_train(args: Sequence[str]) -> None:
    """Speed of training, beside stock Keras and PyTorch."""
    options = parse(TrainOptions, args, "convoy bench train")
    with muted():
        from benchmarks import train

        result = train.run(options.pairs, options.python)
    print(rendered(result, train.table, options.json))


@dataclass(frozen=True)
class ScalingOptions:
    """Speed of several processes that train together, beside one."""

    recipe: tyro.conf.Positional[str] = "resnet20"
    """What they train, by name or as your own .py; on random images of 28x28."""
    workers: int = 2
    """How many processes, each on a core of its own."""
    pairs: int = 5
    """How often both sides are measured, in turn."""
    json: bool = False
    """Print the figures as JSON."""


def bench_scaling(args: Sequence[str]) -> None:
    """Speed of several processes that train together, beside one."""
    options = parse(ScalingOptions, args, "convoy bench scaling")
    with muted():
        from benchmarks import scaling

        result = scaling.run(options.recipe, options.workers, options.pairs)
    print(rendered(result, scaling.table, options.json))


BENCHMARKS = {
    "edge": bench_edge,
    "layers": bench_layers,
    "input": bench_input,
    "train": bench_train,
    "target": bench_target,
    "scaling": bench_scaling,
    "degradation": bench_degradation,
}


def bench(args: Sequence[str]) -> None:
    """Measure on this machine, beside what one would use instead: `convoy bench edge BUNDLE`."""
    name, *rest = args or [""]
    if name in ("-h", "--help"):
        lines = [f"  {each:12} {run.__doc__}" for each, run in BENCHMARKS.items()]
        print("\n".join(["usage: convoy bench BENCHMARK [flags]", "", *lines]))
        return
    if name not in BENCHMARKS:
        raise ConvoyError(f"unknown benchmark `{name}`: {nearest(name, BENCHMARKS)}")
    BENCHMARKS[name](rest)
