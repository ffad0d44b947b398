"""`convoy inspect`: a network layer by layer, as a table and as JSON."""

import dataclasses
import json
import re
import textwrap
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import rich.box
import rich.console
import rich.table

import models
from models.inspection import Row, inspect_network
from models.routes import ROUTES
from pipeline.light_keras import without_values
from pipeline.recipe import network, network_kind
from serving.errors import ConvoyError

# Of networks that take something else than images: a text's length, a volume.
INPUT_SHAPES = {"textcnn": (64,), "idcnn": (64,), "resnet3d": (16, 16, 16, 1)}
IMAGE_SHAPE = (28, 28, 1)
NETWORKS = models.ARCHITECTURES
WIDTH = 100
LEGEND = """\
sees: pixels along each side, /step to the next position's, @first pixel of the first position
mult-adds: of one example; as many weights the layer would have if no two positions shared any
dense: weights the layer would have if every output saw every input"""
# Figures of a layer that a total says something about.
SUMMED = ("parameters", "unshared", "dense", "multiply_adds", "activation_bytes")
UNITS = ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k"))


def usage() -> str:
    """How the verb is called, and with which networks."""
    return (
        "usage: convoy inspect NETWORK [--input 32x32x3] [--classes 10] [flags]\n"
        "       convoy inspect RUN_OR_KERAS_FILE [--json]\n\n"
        f"Networks: {', '.join(NETWORKS)}.\n"
        "The flags of a network: convoy inspect lenet --help"
    )


def with_network_options(options: type, name: str) -> type:
    """A dataclass with the fields of `options` and those of the network called `name`.

    Raises:
        ConvoyError: unknown network.
    """
    own = [(each.name, each.type, each) for each in dataclasses.fields(network_kind(name))]
    return dataclasses.make_dataclass(name, own[1:], bases=(options,), frozen=True)


def build(name: str, options: Any) -> Any:
    """Build the network called `name` from what `with_network_options` holds, without values.

    Raises:
        ConvoyError: the network refuses the input or an option.
    """
    shape = INPUT_SHAPES.get(name, IMAGE_SHAPE) if options.input is None else sizes(options.input)
    own = {each: getattr(options, each) for each in network(name).options}
    try:
        with without_values():
            return models.build(name, shape, options.classes, **own)
    except ValueError as error:
        raise ConvoyError(f"cannot build `{name}`: {error}") from error


def sizes(text: str) -> tuple[int, ...]:
    """`32x32x3` as ints.

    Raises:
        ConvoyError: something else is written there.
    """
    if not re.fullmatch(r"\d+(x\d+)*", text):
        raise ConvoyError(
            f"--input is no shape: expected sizes and channels such as 32x32x3, received `{text}`; "
            "write it like that."
        )
    return tuple(map(int, text.split("x")))


def open_network(path: Path) -> Any:
    """Build the network of a `.keras` file, or of the run folder that holds one, without values.

    Raises:
        ConvoyError: no such file, or not such a file.
    """
    file = path / "model.keras" if path.is_dir() else path
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
        with without_values():
            return keras.saving.deserialize_keras_object(config)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ConvoyError(
            f"{path} holds no network: expected the name of one, a run folder or a .keras file, "
            f"received {type(error).__name__}; see `convoy inspect --help`."
        ) from error


def report(inspected: Any) -> dict[str, Any]:
    """What each layer costs and sees, the totals, and which routes refuse which layers, and why.

    Ready for JSON; `null` stands for what depends on a size that is not known.
    """
    with without_values():
        rows = inspect_network(inspected)
    return {
        "network": inspected.name,
        "input": inspected.inputs[0].shape[1:],
        "layers": [record(row) for row in rows],
        "total": {name: sum(getattr(row, name) or 0 for row in rows) for name in SUMMED},
        "routes": {route: refused(rows, route) for route in ROUTES},
    }


def record(row: Row) -> dict[str, Any]:
    """One call of a layer."""
    fields = [
        {name: number(each) for name, each in field._asdict().items()} for field in row.fields
    ]
    return dataclasses.asdict(row) | {"fields": fields}


def number(value: Any) -> float | int | None:
    """A fraction as JSON can hold it."""
    return value if value is None or isinstance(value, int) else float(value)


def refused(rows: list[Row], route: str) -> list[dict[str, str]]:
    """Which layers cannot ship on a route; each once."""
    found = {row.layer: row.refusals[route] for row in rows if route in row.refusals}
    return [{"layer": layer, "reason": reason} for layer, reason in found.items()]


def page(content: dict[str, Any]) -> str:
    """A report for people, `WIDTH` columns wide."""
    table = rich.table.Table(
        box=rich.box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, show_footer=True
    )
    total = content["total"]
    columns = {
        "layer": "total",
        "output": "",
        "sees": "",
        "parameters": count(total["parameters"]),
        "dense": count(total["dense"]),
        "mult-adds": count(total["multiply_adds"]),
        "memory": count(total["activation_bytes"]) + "B",
    }
    for heading, footer in columns.items():
        right = heading not in ("layer", "output", "sees")
        table.add_column(heading, footer, justify="right" if right else "left", no_wrap=True)
    for layer in content["layers"]:
        table.add_row(*cells(layer))
    title = f"{content['network']}, input {by(content['input'])}"
    routes = "\n".join(route_line(*each) for each in content["routes"].items())
    return "\n".join([title, "", rendered(table), LEGEND, "", routes])


def rendered(table: rich.table.Table) -> str:
    """A table as plain text."""
    console = rich.console.Console(width=WIDTH)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def cells(layer: dict[str, Any]) -> tuple[str, ...]:
    """One layer of the table."""
    return (
        layer["layer"],
        by(layer["output_shape"]),
        sight(layer["fields"]),
        count(layer["parameters"]),
        # Without a kernel there is nothing to compare.
        count(layer["multiply_adds"] and layer["dense"]),
        count(layer["multiply_adds"]),
        count(layer["activation_bytes"]) + "B",
    )


def sight(fields: list[dict[str, Any]]) -> str:
    """A receptive field, an axis once where all are alike."""
    if not any(field["stride"] for field in fields):
        return "all"
    sizes, strides, offsets = (
        by(alike([field[name] for field in fields])) for name in ("size", "stride", "offset")
    )
    return f"{sizes} /{strides} @{offsets}"


def alike(values: list[Any]) -> list[Any]:
    """The one value, where all are the same."""
    return values[:1] if len(set(values)) == 1 else values


def by(sizes: Sequence[Any]) -> str:
    """Sizes as people write them, `?` for one that is not known."""
    return "x".join("?" if size is None else f"{size:g}" for size in sizes)


def count(value: int | None) -> str:
    """A number in three digits or so."""
    if value is None:
        return "?"
    for unit, letter in UNITS:
        if value >= unit:
            return f"{value / unit:.3g}{letter}"
    return str(value or "")


def route_line(route: str, refusals: list[dict[str, str]]) -> str:
    """Whether a network can take a route; else the layers that cannot, by their reason."""
    if not refusals:
        return f"{route:<13} yes"
    layers_of: dict[str, list[str]] = {}
    for each in refusals:
        layers_of.setdefault(each["reason"], []).append(each["layer"])
    said = [f"{reason} ({named(layers)})" for reason, layers in layers_of.items()]
    line = f"{route:<13} no: {'; '.join(said)}"
    return textwrap.fill(line, WIDTH, subsequent_indent=" " * 18)


def named(layers: list[str]) -> str:
    """The first of these layers, and how many more there are."""
    more = f" and {len(layers) - 1} more" if len(layers) > 1 else ""
    return layers[0] + more
