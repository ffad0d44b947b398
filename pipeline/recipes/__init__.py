"""The recipes by name, and any recipe file by its path."""

import runpy
from pathlib import Path
from typing import Any

from pipeline.recipe import Recipe
from pipeline.recipes import (
    accurate,
    alexnet,
    fashion,
    fast,
    googlenet,
    lenet,
    mlp,
    nin,
    plain20,
    resnet20,
    smoke,
    tiny,
    topology,
    vgg11,
)
from pipeline.tuning.space import Choice, Space, Span
from serving.errors import ConvoyError, nearest

RECIPES = {
    "fashion": fashion.RECIPE,
    "fast": fast.RECIPE,
    "tiny": tiny.RECIPE,
    "accurate": accurate.RECIPE,
    "mlp": mlp.RECIPE,
    "lenet": lenet.RECIPE,
    "alexnet": alexnet.RECIPE,
    "vgg11": vgg11.RECIPE,
    "nin": nin.RECIPE,
    "googlenet": googlenet.RECIPE,
    "resnet20": resnet20.RECIPE,
    "plain20": plain20.RECIPE,
    "topology": topology.RECIPE,
    "smoke": smoke.RECIPE,
}


SPACES: dict[str, Space] = {
    "fashion": fashion.SPACE,
    "lenet": lenet.SPACE,
    "topology": topology.SPACE,
}


def find_recipe(name: str) -> Recipe:
    """The recipe called `name`, or the `RECIPE` in the Python file at that path.

    Raises:
        ConvoyError: no such recipe, or the file does not define one.
    """
    if not name.endswith(".py"):
        if name not in RECIPES:
            raise ConvoyError(
                f"unknown recipe `{name}`: {nearest(name, RECIPES)} A recipe file of your own is "
                "given by its path, ending in .py."
            )
        return RECIPES[name]
    found = definitions(name).get("RECIPE")
    if not isinstance(found, Recipe):
        raise ConvoyError(
            f"recipe file {name} defines no recipe: expected `RECIPE = Recipe(...)`, received "
            f"{type(found).__name__}; see docs/recipes.md."
        )
    return found


def find_space(name: str) -> Space:
    """What a search may change of a recipe: the `SPACE` beside it; empty where there is none.

    Raises:
        ConvoyError: the recipe's file does not run, or its space is none.
    """
    if not name.endswith(".py"):
        return SPACES.get(name, {})
    found = definitions(name).get("SPACE", {})
    if not isinstance(found, dict) or not all(
        isinstance(each, Choice | Span) for each in found.values()
    ):
        raise ConvoyError(
            f"recipe file {name} defines no space: expected `SPACE = {{field: values}}` with "
            f"values from `pipeline.tuning.space`, received {found!r}; see docs/tuning.md."
        )
    return found


def definitions(path: str) -> dict[str, Any]:
    """What a recipe file defines.

    Raises:
        ConvoyError: it is not there, or does not run.
    """
    if not Path(path).is_file():
        raise ConvoyError(
            f"no recipe file {path}: expected a Python file, received none; check the path."
        )
    try:
        return runpy.run_path(path)
    except ConvoyError:
        raise
    except Exception as error:
        raise ConvoyError(
            f"recipe file {path} does not run: {type(error).__name__}: {error}; mend that line."
        ) from error
