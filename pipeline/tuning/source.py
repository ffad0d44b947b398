"""A recipe as a Python file that `convoy train` takes."""

import dataclasses
import json
from pathlib import Path
from typing import Any

from pipeline.recipe import Data, Export, Gate, Network, Recipe, Training, network

PARTS = (Recipe, Data, Training, Export, Gate)


def source_of(recipe: Recipe, words: str) -> str:
    """A Python file with `RECIPE`, saying only what is not the default.

    Args:
        recipe: any.
        words: the file's docstring.
    """
    names = ", ".join([*sorted({type(part).__name__ for part in parts(recipe)}), "network"])
    paths = "from pathlib import Path\n\n" if "Path(" in expression(recipe, 0) else ""
    docstring = words.replace("\\", "\\\\").replace('"""', "'''")
    return (
        f'"""{docstring}"""\n\n{paths}from pipeline.recipe import {names}\n\n'
        f"RECIPE = {expression(recipe, 0)}\n"
    )


def parts(part: Any) -> list[Any]:
    """A part of a recipe, and those within it that are not the default."""
    inner = [value for _, value in changed(part) if isinstance(value, PARTS)]
    return [part, *(each for value in inner for each in parts(value))]


def changed(part: Any) -> list[tuple[str, Any]]:
    """The fields that are not the default, with what they have."""
    found = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if field.default is dataclasses.MISSING or value != field.default:
            found.append((field.name, value))
    return found


def expression(value: Any, depth: int) -> str:
    """A Python expression that gives the value."""
    if isinstance(value, Network):
        default = network(value.architecture).options
        options = {name: each for name, each in value.options.items() if each != default[name]}
        return call("network", [expression(value.architecture, depth)], options, depth)
    if isinstance(value, PARTS):
        return call(type(value).__name__, [], dict(changed(value)), depth)
    if isinstance(value, Path):
        return f"Path({expression(str(value), depth)})"
    if isinstance(value, str):
        # As Python writes it, in the quotes of this repository.
        return json.dumps(value, ensure_ascii=False)
    if isinstance(value, tuple):
        inner = ", ".join(expression(each, depth) for each in value)
        return f"({inner}{',' * (len(value) == 1)})"
    return repr(value)


def call(name: str, first: list[str], arguments: dict[str, Any], depth: int) -> str:
    """A call, on one line where it fits."""
    given = [*first, *(f"{key}={expression(value, depth + 1)}" for key, value in arguments.items())]
    line = f"{name}({', '.join(given)})"
    if "\n" not in line and 4 * depth + len(line) <= 80:
        return line
    indent = "    " * (depth + 1)
    lines = "".join(f"{indent}{each},\n" for each in given)
    return f"{name}(\n{lines}{'    ' * depth})"
