"""A search from beginning to end."""

import dataclasses
import json
from typing import Any

from pipeline.console import progress
from pipeline.data.sources import load
from pipeline.data.splits import Splits
from pipeline.differences import differences
from pipeline.files import alone, write_json
from pipeline.recipe import Recipe
from pipeline.run import new_folder, provenance
from pipeline.task import Classification
from pipeline.tuning.costs import Costs
from pipeline.tuning.folder import Sweep
from pipeline.tuning.oracles import Refusal, SweepOracle, make_oracle
from pipeline.tuning.search import Limits, Search
from pipeline.tuning.space import Space, parse, value_of
from pipeline.tuning.teller import Teller
from pipeline.tuning.tuner import RecipeTuner
from pipeline.tuning.workbench import Workbench
from pipeline.tuning.workers import search_by
from serving.errors import ConvoyError


def tune(recipe: Recipe, space: Space, search: Search, workers: int = 1) -> Sweep:
    """Search for a better recipe.

    Args:
        recipe: the one to better; its own values are tried first.
        space: what may change.
        search: how to go about it.
        workers: processes that run trials.

    Raises:
        ConvoyError: bad input, or nothing within the limits; nothing is left behind.
    """
    splits = load(recipe.data)
    named = dataclasses.replace(recipe, name=f"{recipe.name}-sweep")
    sweep = Sweep(new_folder(named))
    content = {
        "recipe": recipe.to_dict(),
        "space": {name: str(values) for name, values in space.items()},
        "search": dataclasses.asdict(search),
        "data": splits.fingerprint,
        "provenance": provenance(),
    }
    write_json(sweep.search_json, content)
    go_on(sweep, recipe, space, search, splits, workers)
    return sweep


def resume(sweep: Sweep, workers: int = 1) -> None:
    """Go on with a search that was interrupted or killed, as if it had not been.

    Raises:
        ConvoyError: it is no sweep, is at work, or its data have changed.
    """
    go_on(sweep, *recalled(sweep), workers)


def work(sweep: Sweep) -> None:
    """Run trials that a chief hands out, until it has no more.

    Raises:
        ConvoyError: it is no sweep, or its data have changed.
    """
    recipe, space, search, splits = recalled(sweep)
    oracle = oracle_of(sweep, recipe, space, search, lambda values: None)
    task = Classification(splits.labels)
    tuner = RecipeTuner(oracle, recipe, space, sweep.folder)
    tuner.search(Workbench(splits, task), splits, task)


def recalled(sweep: Sweep) -> tuple[Recipe, Space, Search, Splits]:
    """What a sweep is of, and its data.

    Raises:
        ConvoyError: it is no sweep, or its data have changed.
    """
    content = read(sweep)
    recipe = Recipe.from_dict(content["recipe"])
    limits = Limits(**content["search"].pop("limits"))
    search = Search(**content["search"], limits=limits)
    space = {name: parse(text) for name, text in content["space"].items()}
    splits = load(recipe.data)
    if changed := differences({"data": content["data"]}, {"data": splits.fingerprint}):
        raise ConvoyError(
            f"the data of {sweep.folder} have changed: expected those it began with, received "
            f"others: {changed}; restore `{recipe.data.source}` or search again."
        )
    return recipe, space, search, splits


def oracle_of(
    sweep: Sweep, recipe: Recipe, space: Space, search: Search, refusal: Refusal
) -> SweepOracle:
    """The oracle of a sweep, at its beginning."""
    defaults = {name: value_of(recipe, name) for name in space}
    return make_oracle(space, defaults, sweep.oracle_json, search, refusal, recipe.training.epochs)


def read(sweep: Sweep) -> dict[str, Any]:
    """What a sweep is of.

    Raises:
        ConvoyError: the folder is no sweep.
    """
    try:
        return json.loads(sweep.search_json.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ConvoyError(
            f"{sweep.folder} is no sweep: expected a readable search.json in it, received "
            f"{type(error).__name__}; pass a folder that `convoy tune` wrote."
        ) from error


def go_on(
    sweep: Sweep, recipe: Recipe, space: Space, search: Search, splits: Splits, workers: int = 1
) -> None:
    """Run trials until the search ends, and write what was found after each."""
    with alone(sweep.folder / ".lock", wait=False) as is_alone:
        if not is_alone:
            raise ConvoyError(
                f"{sweep.folder} is at work: expected a sweep that no process searches, received "
                "one that another does; wait for it, or stop it first."
            )
        refusal = Costs(recipe, splits, search.limits).refusal
        oracle = oracle_of(sweep, recipe, space, search, refusal)
        if sweep.oracle_json.exists():
            oracle.reload()
        task = Classification(splits.labels)
        with progress("searching", search.trials) as advance:
            tell = Teller(sweep, recipe, space, search, oracle, advance)
            tell.catch_up()
            oracle.heard = tell
            try:
                if workers > 1:
                    search_by(workers, str(sweep.folder), oracle)
                else:
                    tuner = RecipeTuner(oracle, recipe, space, sweep.folder)
                    tuner.search(Workbench(splits, task), splits, task)
            except KeyboardInterrupt:
                way = f"go on with `convoy tune --resume {sweep.folder}`"
                raise KeyboardInterrupt(way) from None
        tell.finish()
