"""What each `convoy VERB` takes and does: thin faces over functions one can import."""

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import tyro

from pipeline.bench_verbs import bench
from pipeline.flags import parse
from pipeline.train_verbs import launch, train
from pipeline.tune_verbs import tune
from serving.errors import ConvoyError
from serving.silence import muted

# TensorFlow takes seconds to import, so each verb imports what it needs.


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
    expected = "the name of a network, a run folder or a .keras file"
    require_subject("inspect", words, expected, example="lenet")
    return words


def require_subject(verb: str, words: Sequence[str], expected: str, example: str) -> None:
    """Raise `ConvoyError` unless the first word says what a verb is to work on."""
    if not words or words[0].startswith("-"):
        raise ConvoyError(
            f"`convoy {verb}` does not know what to {verb}: expected {expected} first, received "
            f"{words[0] if words else 'nothing'}; give it, as in `convoy {verb} {example}`."
        )


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


EXPORT_USAGE = """\
usage: convoy export RUN [flags]

Write the bundle of a run again, as its recipe says or as flags do, unproven as yet.

The flags, with what the recipe of the run says: convoy export runs/latest --help"""


def export(args: Sequence[str]) -> None:
    """Write a run's bundle again: `convoy export runs/latest`, then `convoy verify`."""
    if args and args[0] in ("-h", "--help"):
        print(EXPORT_USAGE)
        return
    require_subject("export", args, "a run folder", example="runs/latest")
    with muted():
        from pipeline import stages
        from pipeline.recipe import Export
        from pipeline.run import Run
        from pipeline.summary import calibration_page, diagnosis_page

    @dataclass(frozen=True)
    class ExportOptions:
        """Write a run's bundle again, unproven as yet."""

        export: Export
        diagnose: bool = False
        """Export nothing, but say what int8 costs each layer, the most harmful first."""
        calibration_curve: bool = False
        """Export nothing, but say what int8 scores for numbers of calibration images."""

    folder, *flags = args
    run = Run(Path(folder))
    options = parse(
        ExportOptions, flags, f"convoy export {folder}", ExportOptions(run.recipe.export)
    )
    if options.diagnose:
        print(diagnosis_page(stages.diagnose(run, options.export), run))
    if options.calibration_curve:
        print(calibration_page(stages.calibration_curve(run, options.export), run))
    if options.diagnose or options.calibration_curve:
        return
    bundle = stages.export(run, options.export)
    print(f"{bundle.folder} is written and unproven; prove it with: convoy verify {folder}")


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
    """Images of any size and kind, folders of them, or `-` for lines that name or hold one."""
    route: str | None = None
    """Which exported file answers; the first of those for devices that may ship, or else the
    SavedModel, where none is given."""
    top: int = 3
    """How many classes to name."""
    json: bool = False
    """One JSON object a line."""
    self_test: bool = False
    """Answer the bundle's golden images, and compare with the answers where it was proven."""
    allow_unproven: bool = False
    """Also run a file that did not pass the gate."""


def predict(args: Sequence[str]) -> int:
    """Answer for image files: `convoy predict runs/latest/bundle shoe.png`."""
    options = parse(PredictOptions, args, "convoy predict")
    from pipeline.predict import load_route
    from serving.answers import print_answers
    from serving.edge import bundle_of
    from serving.golden import print_self_test

    if not (options.files or options.self_test) or options.top < 1:
        raise ConvoyError(
            "`convoy predict` has nothing to answer: expected an image at least and --top of 1 or "
            f"more, received {len(options.files)} and {options.top}; give both."
        )
    with muted():
        model = load_route(options.bundle, options.route, options.allow_unproven)
    if options.self_test:
        print_self_test(model, bundle_of(options.bundle), options.json)
    if not options.files:
        return 0
    return print_answers([model], options.files, options.top, options.json, "convoy")


VERBS = {
    "data": data,
    "inspect": inspect,
    "train": train,
    "launch": launch,
    "tune": tune,
    "evaluate": evaluate,
    "export": export,
    "verify": verify,
    "predict": predict,
    "bench": bench,
}
