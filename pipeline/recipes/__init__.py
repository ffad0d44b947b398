"""The recipes by name, and any recipe file by its path."""

import runpy
from pathlib import Path

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
    vgg11,
)
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
    "smoke": smoke.RECIPE,
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
    if not Path(name).is_file():
        raise ConvoyError(
            f"no recipe file {name}: expected a Python file, received none; check the path."
        )
    try:
        found = runpy.run_path(name).get("RECIPE")
    except ConvoyError:
        raise
    except Exception as error:
        raise ConvoyError(
            f"recipe file {name} does not run: {type(error).__name__}: {error}; mend that line."
        ) from error
    if not isinstance(found, Recipe):
        raise ConvoyError(
            f"recipe file {name} defines no recipe: expected `RECIPE = Recipe(...)`, received "
            f"{type(found).__name__}; see docs/recipes.md."
        )
    return found
