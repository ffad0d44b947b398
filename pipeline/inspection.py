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
from models.outlines import without_values
from models.routes import ROUTES
from pipeline.recipe import network, network_kind
from serving.errors import ConvoyError

NETWORKS = models.ARCHITECTURES
WIDTH = 100
LEGEND = """\
sees: pixels along each side, /step to the next position's, @first pixel of the first position
mult-adds: of one example; also how many weights there would be if each position had its own
dense: how many weights there would be if every output saw every input
memory: of the outputs for one example in float32; the total is that of all layers together
?: not known; it depends on a size of the input, or on a layer of another kind"""
# Arguments of networks that are called otherwise on the command line.
ASKED = {"input_shape": "input", "num_classes": "classes"}
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

    Its `input` is the network's own where none is given.

    Raises:
        ConvoyError: unknown network.
    """
    _, *fields = dataclasses.fields(network_kind(name))
    own = [(each.name, each.type, each) for each in fields]
    shape = dataclasses.field(default=by(models.default_input_shape(name)))
    return dataclasses.make_dataclass(
        name, [("input", str, shape), *own], bases=(options,), frozen=True
    )


def build(name: str, options: Any) -> Any:
    """Build the network called `name` from what `with_network_options` holds, without values.

    Raises:
        ConvoyError: the network refuses the input or an option.
    """
    shape = sizes(options.input)
    own = {each: getattr(options, each) for each in network(name).options}
    try:
        with without_values():
            return models.build(name, shape, options.classes, **own)
    except ValueError as error:
        raise ConvoyError(refusal(name, options, str(error))) from error


def refusal(name: str, options: Any, said: str) -> str:
    """What a network said about an argument, in words of the command line."""
    match = re.match(r"`(\w+)` must (.+?)\. ", said)
    option = ASKED.get(match[1], match[1]) if match else ""
    if not match or not hasattr(options, option):
        return (
            f"cannot build `{name}` ({said.splitlines()[0]}); see `convoy inspect {name} --help`."
        )
    return (
        f"--{option.replace('_', '-')} does not suit `{name}`: it must {match[2]}, received "
        f"`{getattr(options, option)}`; give another, such as {getattr(type(options)(), option)}."
    )


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


def is_path(text: str) -> bool:
    """Whether somebody means a run folder or a file, and not a network by its name."""
    path = Path(text)
    return text not in NETWORKS and (path.exists() or path.name != text or path.suffix != "")


def open_network(path: Path) -> Any:
    """Build the network of a `.keras` file, or of the run folder that holds one, without values.

    Raises:
        ConvoyError: no such file, or not such a file.
    """
    config = config_of(path)
    try:
        with without_values():
            found = keras.saving.deserialize_keras_object(config)
    except Exception as error:  # Whatever a stranger's layers may raise.
        raise no_network(path, "one with layers that only its own program can make") from error
    if not isinstance(found, keras.Model) or not isinstance(getattr(found, "inputs", None), list):
        raise no_network(path, "one that does not say which layer follows which")
    return found


def config_of(path: Path) -> dict[str, Any]:
    """What a `.keras` file, or the one in a run folder, says about its network.

    Raises:
        ConvoyError: no such file, or not such a file.
    """
    file = path / "model.keras" if path.is_dir() else path
    try:
        with zipfile.ZipFile(file) as archive:
            config = json.loads(archive.read("config.json"))
        config.pop("compile_config", None)
    except FileNotFoundError as error:
        raise ConvoyError(
            f"there is no file {file}: expected a run folder or a .keras file, received a path "
            "that leads nowhere; check the path."
        ) from error
    except OSError as error:
        raise no_network(path, f"one that cannot be opened ({error.strerror})") from error
    except Exception as error:  # Whatever the damage.
        raise no_network(path, "a file that Keras did not write, or a damaged one") from error
    return config


def no_network(path: Path, received: str) -> ConvoyError:
    """The refusal of a file that is there and cannot be inspected."""
    return ConvoyError(
        f"{path} holds no network to inspect: expected a run folder, or a .keras file of a "
        f"functional network, received {received}; give another file, or a network by its name."
    )


def report(inspected: Any) -> dict[str, Any]:
    """What each layer costs and sees, the totals, and which routes refuse which layers, and why.

    Ready for JSON; `null` stands for what depends on a size that is not known, totals included.
    """
    with without_values():
        rows = inspect_network(inspected)
    return {
        "network": inspected.name,
        "input": inspected.inputs[0].shape[1:],
        "layers": [record(row) for row in rows],
        "total": {name: total([getattr(row, name) for row in rows]) for name in SUMMED},
        "routes": {route: refused(rows, route) for route in ROUTES},
    }


def total(values: list[int | None]) -> int | None:
    """The sum, `None` where one of the values is not known."""
    known = [value for value in values if value is not None]
    return sum(known) if len(known) == len(values) else None


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
    sums = content["total"]
    columns = {
        "layer": "total",
        "output": "",
        "sees": "",
        "parameters": count(sums["parameters"]),
        "dense": count(sums["dense"]),
        "mult-adds": count(sums["multiply_adds"]),
        "memory": count(sums["activation_bytes"], "B"),
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
        count(layer["dense"]),
        count(layer["multiply_adds"]),
        count(layer["activation_bytes"], "B"),
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


def count(value: int | None, of: str = "") -> str:
    """A number in three digits or so, of what; nothing for none, `?` for one that is not known."""
    if value is None:
        return "?"
    for unit, letter in UNITS:
        if value >= unit:
            return f"{value / unit:.3g}{letter}{of}"
    return f"{value}{of}" if value else ""


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
