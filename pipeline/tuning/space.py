"""What a search may change: fields of a recipe by their dotted names, each with its values.

SPACE = {"training.learning_rate": log(1e-3, 1), "network.width": choice(8, 16, 32)}
"""

import ast
import dataclasses
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.recipe import Recipe, network
from serving.errors import ConvoyError, nearest


@dataclass(frozen=True)
class Choice:
    """One of some values."""

    values: tuple[Any, ...]

    def __str__(self) -> str:
        return f"choice({', '.join(map(repr, self.values))})"

    def __contains__(self, value: Any) -> bool:
        return value in self.values

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are tried before a search begins: if these suit, all do."""
        return self.values


@dataclass(frozen=True)
class Span:
    """A number between two, both included; `kind` says how it is drawn."""

    kind: str
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.kind}({self.low!r}, {self.high!r})"

    def __contains__(self, value: Any) -> bool:
        return isinstance(value, int | float) and self.low <= value <= self.high

    @property
    def ends(self) -> tuple[Any, ...]:
        """Values that are tried before a search begins: if these suit, all do."""
        return (self.low, self.high)


Values = Choice | Span
Space = Mapping[str, Values]


def choice(*values: Any) -> Choice:
    """One of these values, none nearer to another than the rest.

    Raises:
        ConvoyError: fewer than two, or one twice.
    """
    if len(values) < 2 or len(set(map(repr, values))) < len(values):
        raise ConvoyError(
            f"choice{values} leaves nothing to choose: expected two different values or more, "
            f"received {len(values)}; give others."
        )
    return Choice(values)


def uniform(low: float, high: float) -> Span:
    """A number between two, all alike.

    Raises:
        ConvoyError: `low` is not below `high`.
    """
    return span("uniform", float(low), float(high))


def log(low: float, high: float) -> Span:
    """A number between two, each factor alike: for what matters by its magnitude.

    Raises:
        ConvoyError: `low` is not above 0, or not below `high`.
    """
    return span("log", float(low), float(high))


def integer(low: int, high: int) -> Span:
    """A whole number between two, all alike.

    Raises:
        ConvoyError: `low` is not below `high`, or either is no whole number.
    """
    return span("integer", low, high)


def span(kind: str, low: float, high: float) -> Span:
    """A `Span`, checked.

    Raises:
        ConvoyError: its ends are in the wrong order, or not of its kind.
    """
    whole = kind != "integer" or (isinstance(low, int) and isinstance(high, int))
    if not (whole and math.isfinite(low) and math.isfinite(high) and low < high):
        raise ConvoyError(
            f"{kind}({low!r}, {high!r}) is no range: expected a low and a higher "
            f"{'whole ' * (kind == 'integer')}number, received {low!r} and {high!r}; give others."
        )
    if kind == "log" and low <= 0:
        raise ConvoyError(
            f"log({low!r}, {high!r}) has no magnitude to begin with: expected numbers above 0, "
            f"received {low!r}; give a small one, or take uniform."
        )
    return Span(kind, low, high)


KINDS = {"choice": choice, "uniform": uniform, "log": log, "integer": integer}


def parse(text: str) -> Values:
    """Read values as recipes write them: `log(1e-3, 1)`, `choice(8, 16, 32)`.

    Raises:
        ConvoyError: it is not written so.
    """
    found = re.fullmatch(r"\s*(\w+)\s*\((.*)\)\s*", text, re.DOTALL)
    name = found.group(1) if found else ""
    if found is None or name not in KINDS:
        hint = nearest(name, KINDS) if name else ""
        raise ConvoyError(
            f"`{text}` says no values: expected {', '.join(KINDS)} and values in brackets, such "
            f"as `log(1e-3, 1)`, received something else; {hint or 'write it so.'}"
        )
    try:
        values = ast.literal_eval(f"({found.group(2)},)")
    except (ValueError, SyntaxError) as error:
        raise ConvoyError(
            f"`{text}` cannot be read: expected numbers, words in quotes, True or False between "
            f"the brackets, received {found.group(2)!r}; write it so."
        ) from error
    if name != "choice" and len(values) != 2:
        raise ConvoyError(
            f"`{text}` is no range: expected a low and a high number, received {len(values)} "
            "values; give two."
        )
    return KINDS[name](*values)


def with_values(recipe: Recipe, values: Mapping[str, Any]) -> Recipe:
    """A recipe with other values in the fields of these dotted names.

    Another architecture has its own options, of which the others then change some.

    Raises:
        ConvoyError: there is no such field, or it does not take such a value.
    """
    architecture = values.get("network.architecture", recipe.network.architecture)
    if architecture != recipe.network.architecture:
        recipe = dataclasses.replace(recipe, network=network(architecture))
    known = field_names(recipe)
    for name, value in values.items():
        if name not in known:
            raise ConvoyError(
                f"a recipe with network `{architecture}` has no `{name}`: {nearest(name, known)}"
            )
        before = value_of(recipe, name)
        if isinstance(before, bool | str | int) and not same_kind(before, value):
            raise ConvoyError(
                f"`{name}` does not take {value!r}: expected a value like {before!r}, received "
                f"one of {type(value).__name__}; give others."
            )
        recipe = replaced(recipe, name.split("."), value)
    return recipe


def replaced(part: Any, path: list[str], value: Any) -> Any:
    """A part of a recipe in which the field at the end of a path has another value."""
    field, *rest = path
    new = replaced(getattr(part, field), rest, value) if rest else value
    return dataclasses.replace(part, **{field: new})


def same_kind(old: Any, new: Any) -> bool:
    """Whether a value may take another's place: of a truth value or a word only one of its kind."""
    if isinstance(old, bool) or isinstance(new, bool) or isinstance(old, str):
        return type(old) is type(new)
    return isinstance(new, int)


def field_names(part: Any, prefix: str = "") -> list[str]:
    """The dotted names of all fields."""
    found = []
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if dataclasses.is_dataclass(value):
            found += field_names(value, f"{prefix}{field.name}.")
        else:
            found.append(prefix + field.name)
    return found


def value_of(recipe: Recipe, name: str) -> Any:
    """What a recipe has in the field of this dotted name."""
    found: Any = recipe
    for part in name.split("."):
        found = getattr(found, part)
    return found


# What decides which data a search is scored on, and where it lies.
FIXED = (
    "name",
    "runs",
    "data.source",
    "data.folder",
    "data.split_seed",
    "data.validation_fraction",
)


def require_suitable(space: Space, recipe: Recipe) -> None:
    """Refuse a space with values that a recipe does not take, before anything is trained.

    Raises:
        ConvoyError: it is empty, or names a field that is not there or must stay, or a value out
            of a field's range.
    """
    if not space:
        raise ConvoyError(
            f"recipe `{recipe.name}` has nothing to search: expected `SPACE` beside its `RECIPE`, "
            "or --over, received neither; give `--over training.learning_rate 'log(0.01, 1)'`, "
            "for example."
        )
    architectures = space.get("network.architecture")
    for architecture in architectures.ends if architectures else (None,):
        chosen = {} if architecture is None else {"network.architecture": architecture}
        for name, values in space.items():
            if name in FIXED:
                raise ConvoyError(
                    f"`{name}` cannot be searched: expected a field that changes how well the "
                    "same images are learned, received one that changes where they are or how "
                    "they are split; leave it out."
                )
            for value in values.ends:
                with_values(recipe, {**chosen, name: value})
