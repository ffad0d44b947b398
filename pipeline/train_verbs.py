"""`convoy train` and `convoy launch`: a recipe, a run to go on with, and on how many devices."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from pipeline.flags import parse
from serving.errors import ConvoyError
from serving.silence import muted

if TYPE_CHECKING:
    from pipeline.recipe import Recipe

TRAIN_USAGE = """\
usage: convoy train RECIPE [flags]
       convoy train --resume RUN

Recipes: {recipes},
or the path of your own .py. The flags of a recipe: convoy train fashion --help

Of any training:
  --resume RUN        go on with an unfinished run, from its last checkpoint
  --run RUN           name its folder; an unfinished run in it goes on
  --distribute KIND   mirrored: on all GPUs; multi-worker: with the processes of
                      TF_CONFIG, see docs/distributed.md
  --replicas N        of mirrored: so many GPUs, or parts of the processor"""


@dataclass(frozen=True)
class Way:
    """How a training runs, whatever its recipe is: `TRAIN_USAGE` has a line for each."""

    resume: Path | None
    run: Path | None
    distribute: str
    replicas: int | None


def train(args: Sequence[str]) -> None:
    """Train, evaluate, export and verify a recipe: `convoy train fashion --training.epochs 3`."""
    with muted():
        from pipeline import stages
        from pipeline.recipes import RECIPES
        from pipeline.run import Run
        from pipeline.summary import summary
        from pipeline.training.distribution import failures_named, make_distribution

    way, words = way_of(args)
    if not way.resume and words[:1] in (["-h"], ["--help"]):
        print(TRAIN_USAGE.format(recipes=", ".join(RECIPES)))
        return
    recipe = recipe_of(words, way.resume)
    if way.run and stages.is_finished(Run(way.run), recipe):
        print(summary(Run(way.run)))
        return
    distribution = make_distribution(way.distribute, way.replicas)
    with failures_named(distribution):
        if way.resume:
            run = stages.resume(Run(way.resume), recipe, distribution)
        else:
            run = stages.train(recipe, distribution, way.run)
    if distribution.is_chief:
        print(summary(run))


def way_of(args: Sequence[str]) -> tuple[Way, list[str]]:
    """The way to train, and the words that are left to the recipe.

    Raises:
        ConvoyError: a flag has no value, or contradicts another.
    """
    resume, words = taken_out(args, "--resume")
    run, words = taken_out(words, "--run")
    kind, words = taken_out(words, "--distribute")
    replicas, words = taken_out(words, "--replicas")
    if run and resume:
        raise ConvoyError(
            "--run and --resume contradict each other: expected one run, received two; "
            "leave one out."
        )
    way = Way(
        resume=Path(resume) if resume else None,
        run=Path(run) if run else None,
        distribute=kind or "none",
        replicas=None if replicas is None else whole_number("--replicas", replicas),
    )
    return way, words


def recipe_of(words: Sequence[str], resumed: Path | None) -> "Recipe":
    """The recipe named first, or else that of the run to go on with, changed by flags.

    Raises:
        ConvoyError: unknown recipe, network or flag, or a value that does not suit.
    """
    from pipeline.recipe import Recipe, network
    from pipeline.recipes import find_recipe
    from pipeline.run import Run

    name, *flags = words if words and not words[0].startswith("--") else ["", *words]
    recipe = find_recipe(name) if name or resumed is None else Run(resumed).recipe
    architecture = flag_value(flags, "--network.architecture")
    if architecture:
        recipe = dataclasses.replace(recipe, network=network(architecture))
    if flag_value(flags, "--quantize") == "qat" and recipe.quantize != "qat":
        recipe = recipe.fine_tuning()
    recipe = parse(Recipe, flags, f"convoy train {name}".strip(), default=recipe)
    start = recipe.training.start_from
    if recipe.quantize == "qat" and start:
        # `runs/latest` leads elsewhere once this training is done.
        training = dataclasses.replace(recipe.training, start_from=start.resolve())
        recipe = dataclasses.replace(recipe, training=training)
    return recipe


def taken_out(args: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag, and the words without both.

    Raises:
        ConvoyError: the flag has no value, or comes twice.
    """
    if sum(word.partition("=")[0] == flag for word in args) > 1:
        raise ConvoyError(f"{flag} comes twice: expected it once at most; leave one out.")
    value = flag_value(args, flag)
    if value == "" or (value is None and flag in args):
        raise ConvoyError(f"{flag} has no value: expected one after it; give it.")
    pairs = zip(["", *args], args, strict=False)
    return value, [
        word for before, word in pairs if flag not in (before, word, word.partition("=")[0])
    ]


def whole_number(flag: str, text: str) -> int:
    """What a flag counts.

    Raises:
        ConvoyError: it is none, or less than one.
    """
    if not text.isdecimal() or int(text) < 1:
        raise ConvoyError(
            f"{flag} is no count: expected a whole number from 1, received `{text}`; give one."
        )
    return int(text)


def launch(args: Sequence[str]) -> int:
    """Train by several processes of this machine: `convoy launch --workers 2 train fashion`."""
    from pipeline.launch import run_workers

    if args[:1] in (["-h"], ["--help"]):
        print(
            "usage: convoy launch --workers N [--] train RECIPE [flags]\n       convoy launch "
            "--workers N [--] train --resume RUN\n\nStarts N processes that share the cores and "
            "every batch."
        )
        return 0
    # What follows `train` is its own.
    end = list(args).index("train") if "train" in args else len(args)
    count, rest = taken_out(args[:end], "--workers")
    unknown = [word for word in rest if word != "--"]
    if any(word.partition("=")[0] == "--distribute" for word in args[end:]):
        raise ConvoyError(
            "--distribute does not suit `convoy launch`: expected none, for its processes train "
            "as multi-worker, received one; leave it out."
        )
    if count is None or unknown or end == len(args):
        raise ConvoyError(
            "`convoy launch` does not know what to start: expected --workers N and `train ...`, "
            f"received `{' '.join(args)}`; see `convoy launch --help`."
        )
    return run_workers(whole_number("--workers", count), args[end:])


def flag_value(args: Sequence[str], flag: str) -> str | None:
    """The value that follows `flag`, or `flag=`, in `args`."""
    for position, arg in enumerate(args):
        if arg.startswith(flag + "="):
            return arg.partition("=")[2]
        if arg == flag and position + 1 < len(args):
            return args[position + 1]
    return None
