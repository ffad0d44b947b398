"""`convoy tune`: a recipe, what of it may change, and how to search."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pipeline.flags import parse
from pipeline.train_verbs import flag_value, taken_out, whole_number
from serving.errors import ConvoyError
from serving.silence import muted

TUNE_USAGE = """\
usage: convoy tune RECIPE [--over FIELD VALUES ...] [flags]
       convoy tune --resume SWEEP

Recipes: {recipes},
or the path of your own .py. What may change stands beside the recipe as SPACE,
or comes from --over, which may be given several times:

  --over training.learning_rate 'log(0.01, 1)'   each factor alike
  --over training.momentum 'uniform(0.5, 0.99)'  any number between
  --over data.shift 'integer(0, 4)'              any whole number between
  --over network.width 'choice(8, 16, 32)'       one of these

All flags, those of the recipe too: convoy tune fashion --help

  --workers N         so many processes run trials, each on its share of the cores
  --resume SWEEP      go on with a search that was interrupted or killed"""


def tune(args: Sequence[str]) -> None:
    """Search for a better recipe: `convoy tune lenet --search.trials 20`."""
    with muted():
        from pipeline.recipes import RECIPES
        from pipeline.tuning.folder import Sweep
        from pipeline.tuning.space import require_suitable
        from pipeline.tuning.sweep import resume, work
        from pipeline.tuning.sweep import tune as search_for
        from pipeline.tuning.table import summary
        from pipeline.tuning.workers import end_with_parent

    mine, words = taken_out(args, "--worker")
    if mine is not None:
        # Begun by a chief, not by people.
        end_with_parent()
        work(Sweep(Path(mine)))
        return
    resumed, words = taken_out(words, "--resume")
    given, words = taken_out(words, "--workers")
    workers = 1 if given is None else whole_number("--workers", given)
    if resumed is None and (not words or words[0] in ("-h", "--help")):
        print(TUNE_USAGE.format(recipes=", ".join(RECIPES)))
        return
    if resumed is not None:
        if words:
            raise ConvoyError(
                "--resume takes no flags but --workers: expected no other, for the search goes on "
                f"as it began, received `{' '.join(words)}`; leave them out."
            )
        sweep = Sweep(Path(resumed))
        resume(sweep, workers)
    else:
        recipe, space, search = options_of(words)
        require_suitable(space, recipe)
        sweep = search_for(recipe, space, search, workers)
    print(summary(sweep))


def options_of(words: Sequence[str]) -> tuple[Any, dict[str, Any], Any]:
    """The recipe, the space and the search that a command line asks for.

    Raises:
        ConvoyError: unknown recipe, network, field or flag, or a value that does not suit.
    """
    from pipeline.recipe import Recipe, network
    from pipeline.recipes import find_recipe, find_space
    from pipeline.tuning.search import Search

    name, *rest = words
    recipe, space = find_recipe(name), find_space(name)
    own, flags = spaces_taken_out(rest)
    architecture = flag_value(flags, "--network.architecture")
    if architecture:
        recipe = dataclasses.replace(recipe, network=network(architecture))
    both = dataclasses.make_dataclass(
        "Tuning",
        [("search", Search, dataclasses.field(default=Search()))],
        bases=(Recipe,),
        frozen=True,
    )
    fields = {each.name: getattr(recipe, each.name) for each in dataclasses.fields(recipe)}
    given = parse(both, flags, f"convoy tune {name}", default=both(**fields))
    search = given.search
    recipe = Recipe(**{field: getattr(given, field) for field in fields})
    return recipe, {**space, **own}, search


def spaces_taken_out(words: Sequence[str]) -> tuple[dict[str, Any], list[str]]:
    """What each `--over` says, and the words without them.

    Raises:
        ConvoyError: one is not followed by a field and its values.
    """
    from pipeline.tuning.space import parse as values_from

    found, left = {}, []
    position = 0
    while position < len(words):
        if words[position] != "--over":
            left.append(words[position])
            position += 1
            continue
        given = words[position + 1 : position + 3]
        if len(given) < 2:
            raise ConvoyError(
                "--over is not complete: expected a field and its values, received "
                f"`{' '.join(given)}`; write --over training.learning_rate 'log(0.01, 1)'."
            )
        found[given[0].replace("-", "_")] = values_from(given[1])
        position += 3
    return found, left
