"""`convoy train` and `convoy launch`: a recipe, a run to go on with, and on how many devices."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from pipeline.flags import parse
from serving.errors import ConvoyError
from serving.silence import muted

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


def train(args: Sequence[str]) -> None:
    """Train, evaluate, export and verify a recipe: `convoy train fashion --training.epochs 3`."""
    with muted():
        from pipeline import stages
        from pipeline.recipe import Recipe, network
        from pipeline.recipes import RECIPES, find_recipe
        from pipeline.run import Run
        from pipeline.summary import summary
        from pipeline.training.distribution import lost_workers_named, make_distribution

    folder, rest = taken_out(args, "--resume")
    place, rest = taken_out(rest, "--run")
    kind, rest = taken_out(rest, "--distribute")
    replicas, rest = taken_out(rest, "--replicas")
    name, *flags = rest if rest and not rest[0].startswith("--") else ["", *rest]
    if not folder and rest[:1] in (["-h"], ["--help"]):
        print(TRAIN_USAGE.format(recipes=", ".join(RECIPES)))
        return
    run = Run(Path(folder)) if folder else None
    recipe = find_recipe(name) if name or run is None else run.recipe
    architecture = flag_value(flags, "--network.architecture")
    if architecture:
        recipe = dataclasses.replace(recipe, network=network(architecture))
    recipe = parse(Recipe, flags, f"convoy train {name}".strip(), default=recipe)
    place = Path(place) if place else None
    if place and run:
        raise ConvoyError(
            "--run and --resume contradict each other: expected one run, received two; "
            "leave one out."
        )
    if place and stages.is_finished(Run(place), recipe):
        print(summary(Run(place)))
        return
    count = None if replicas is None else whole_number("--replicas", replicas)
    distribution = make_distribution(kind or "none", count)
    with lost_workers_named(distribution):
        if run:
            stages.resume(run, recipe, distribution)
        else:
            run = stages.train(recipe, distribution, place)
    if distribution.is_chief:
        print(summary(run))


def taken_out(args: Sequence[str], flag: str) -> tuple[str | None, list[str]]:
    """The value of a flag, and the words without both.

    Raises:
        ConvoyError: the flag has no value.
    """
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
