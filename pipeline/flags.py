"""Flags from a dataclass, by tyro, with its complaints in one sentence."""

import contextlib
import dataclasses
import io
from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import tyro

from serving.errors import ConvoyError, nearest

Options = TypeVar("Options")


def parse(
    kind: type[Options], args: Sequence[str], command: str, default: Options | None = None
) -> Options:
    """Read flags into a dataclass; `--help` prints them and exits.

    Args:
        kind: the dataclass; a field is a flag, a nested one `--outer.inner`.
        args: from the command line.
        command: what to call it in help and errors, `convoy train fashion`.
        default: values of what is not given.

    Raises:
        ConvoyError: unknown flag, missing or unsuitable value.
    """
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options, unknown = tyro.cli(
                kind,
                args=args,
                prog=command,
                return_unknown_args=True,
                default=tyro.MISSING_NONPROP if default is None else default,
            )
    except SystemExit as end:
        if not end.code:
            raise
        raise ConvoyError(f"{complaint(said.getvalue())} See `{command} --help`.") from None
    if unknown:
        flags = list(flag_names(default if default is not None else kind))
        hint = (
            nearest(unknown[0], flags) if unknown[0].startswith("--") and flags else "leave it out."
        )
        raise ConvoyError(
            f"`{command}` does not know `{unknown[0]}`: {hint} See `{command} --help`."
        )
    return options


def flag_names(options: Any, prefix: str = "--") -> Iterator[str]:
    """Every flag of a dataclass or of one of its instances, nested ones too."""
    for field in dataclasses.fields(options):
        value = getattr(options, field.name, None)
        if dataclasses.is_dataclass(value):
            yield from flag_names(value, f"{prefix}{field.name}.")
        else:
            yield prefix + field.name.replace("_", "-")


def complaint(box: str) -> str:
    """The first paragraph inside the frame that tyro draws around an error."""
    words = []
    for line in box.splitlines()[1:]:
        # Frames are drawn in ASCII where the terminal knows no better.
        inside = line.strip("│╭╮╰╯─|+- ")
        if not inside and words:
            break
        words.append(inside)
    return " ".join(filter(None, words)).removesuffix(".") + "."
