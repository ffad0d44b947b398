"""What was changed between two descriptions of a training, in words."""

from collections.abc import Iterator
from typing import Any


def differences(before: dict[str, Any], now: dict[str, Any]) -> str:
    """What was changed in a recipe or its data, in words; nothing where all is the same."""
    old, new = dict(flat(before)), dict(flat(now))
    return ", ".join(
        f"`{name}` was {old.get(name)!r} and is {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    )


def flat(content: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """The leaves of nested dictionaries, `outer.inner` their names."""
    for name, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
