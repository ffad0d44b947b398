"""What each `convoy VERB` takes and does: thin faces over functions one can import."""

import dataclasses
import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.flags import parse
from serving.errors import ConvoyError, nearest
from serving.silence import muted

# TensorFlow takes seconds to import, so each verb imports what it needs.


def train(args: Sequence[str]) -> None:
    """Train, evaluate, export and verify a recipe: `convoy train fashion --training.epochs 3`."""
    with muted():
        from pipeline import stages
        from pipeline.recipe import Recipe, network
        from pipeline.recipes import RECIPES, find_recipe
        from pipeline.summary import summary

    name, *flags = args or [""]
    if name in ("-h", "--help"):
        print(
            f"usage: convoy train RECIPE [flags]\n\nRecipes: {', '.join(RECIPES)}, or the path of"
        )
        print("your own .py. The flags of a recipe: convoy train fashion --help")
        return
    recipe = find_recipe(name)
    architecture = flag_value(flags, "--network.architecture")
    if architecture:
        recipe = dataclasses.replace(recipe, network=network(architecture))
    recipe = parse(Recipe, flags, f"convoy train {name}", default=recipe)
    print(summary(stages.train(recipe)))


def flag_value(args: Sequence[str], flag: str) -> str | None:
    """The value that follows `flag`, or `flag=`, in `args`."""
    for position, arg in enumerate(args):
        if arg.startswith(flag + "="):
            return arg.partition("=")[2]
        if arg == flag and position + 1 < len(args):
            return args[position + 1]
    return None


def data(args: Sequence[str]) -> None:
    """Prepare a data set, or say how to get it: `convoy data fashion_mnist`."""
    with muted():
        from pipeline.data.sources import load
        from pipeline.recipe import Data
        from pipeline.summary import data_summary

    @dataclass(frozen=True)
    class DataOptions:
        """Prepare a data set, or say how to get it."""

        name: tyro.conf.Positional[str]
        """A TFDS name, or an image folder."""
        data: Data = Data()
        """As in a recipe."""

    options = parse(DataOptions, args, "convoy data")

    wanted = dataclasses.replace(options.data, source=options.name)
    print(data_summary(wanted, load(wanted)))


@dataclass(frozen=True)
class InspectOptions:
    """Say what each layer of a network costs and sees."""

    json: bool = False
    """Print the figures as JSON."""


@dataclass(frozen=True)
class ArchitectureOptions(InspectOptions):
    """Say what each layer of a network costs and sees."""

    input: str = ""
    """Sizes and channels, such as 32x32x3; of a text its length."""
    classes: int = 10
    """How many classes it tells apart."""


def inspect(args: Sequence[str]) -> None:
    """Say what each layer of a network costs and sees: `convoy inspect resnet20 --width 32`."""
    from pipeline.light_keras import light_keras

    with light_keras():
        from pipeline import inspection

        if args and args[0] in ("-h", "--help"):
            print(inspection.usage())
            return
        name, *flags = subject_first(args)
        if inspection.is_path(name):
            options = parse(InspectOptions, flags, f"convoy inspect {name}")
            network = inspection.open_network(Path(name))
        else:
            kind = inspection.with_network_options(ArchitectureOptions, name)
            options = parse(kind, flags, f"convoy inspect {name}")
            network = inspection.build(name, options)
        report = inspection.report(network)
        print(json.dumps(report, indent=2) if options.json else inspection.page(report))


def subject_first(args: Sequence[str]) -> list[str]:
    """The words of `convoy inspect` with what to inspect at their head; `--json` may be before it.

    Raises:
        ConvoyError: nothing is named, or not first.
    """
    words = sorted(args, key="--json".__eq__)
    if not words or words[0].startswith("-"):
        raise ConvoyError(
            "`convoy inspect` does not know what to inspect: expected the name of a network, a run "
            f"folder or a .keras file first, received {words[0] if words else 'nothing'}; give it, "
            "as in `convoy inspect lenet`."
        )
    return words


@dataclass(frozen=True)
class RunOptions:
    """Works on a run folder."""

    run: tyro.conf.Positional[Path]
    """The folder that `convoy train` wrote, such as runs/latest."""


def evaluate(args: Sequence[str]) -> None:
    """Measure a run on the test split again: `convoy evaluate runs/latest`."""
    options = parse(RunOptions, args, "convoy evaluate")
    with muted():
        from pipeline import stages
        from pipeline.run import Run

    print(f"test accuracy {stages.evaluate(Run(options.run)):.2%}")


def export(args: Sequence[str]) -> None:
    """Write a run's bundle again: `convoy export runs/latest`, then `convoy verify`."""
    options = parse(RunOptions, args, "convoy export")
    with muted():
        from pipeline import stages
        from pipeline.run import Run

    bundle = stages.export(Run(options.run))
    print(f"{bundle.folder} is written and unproven; prove it with: convoy verify {options.run}")


def verify(args: Sequence[str]) -> None:
    """Prove a run's bundle on the whole test split: `convoy verify runs/latest`."""
    options = parse(RunOptions, args, "convoy verify")
    with muted():
        from pipeline import stages
        from pipeline.run import Run
        from pipeline.summary import summary

    stages.verify(Run(options.run))
    print(summary(Run(options.run)))


@dataclass(frozen=True)
class PredictOptions:
    """Answer for image files."""

    bundle: tyro.conf.Positional[Path]
    """A bundle folder, such as runs/latest/bundle."""
    files: tyro.conf.Positional[tuple[str, ...]]
    """Images of any size and kind."""
    route: str | None = None
    """Which exported file answers; of tflite-fp32, tflite-int8 and saved_model the first that may
    ship, where none is given."""
    top: int = 3
    """How many classes to name."""
    json: bool = False
    """One JSON object a line."""
    allow_unproven: bool = False
    """Also run a file that did not pass the gate."""


def predict(args: Sequence[str]) -> int:
    """Answer for image files: `convoy predict runs/latest/bundle shoe.png`."""
    options = parse(PredictOptions, args, "convoy predict")
    from pipeline.predict import load_route
    from serving.answers import print_answers

    if not options.files or options.top < 1:
        raise ConvoyError(
            "`convoy predict` has nothing to answer: expected an image at least and --top of 1 or "
            f"more, received {len(options.files)} and {options.top}; give both."
        )
    with muted():
        model = load_route(options.bundle, options.route, options.allow_unproven)
    return print_answers(model, options.files, options.top, options.json, "convoy")


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
    print(json.dumps(result, indent=2) if options.json else edge.table(result))


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


BENCHMARKS = {"edge": bench_edge, "layers": bench_layers, "degradation": bench_degradation}


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


VERBS = {
    "data": data,
    "inspect": inspect,
    "train": train,
    "evaluate": evaluate,
    "export": export,
    "verify": verify,
    "predict": predict,
    "bench": bench,
}
