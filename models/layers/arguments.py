"""Checks of constructor arguments: each returns the value in its standard form or says why not."""

import difflib

import numpy as np

from models.geometry import PADDINGS


def positive_int(value, name):
    """Return `value` as an int of at least 1."""
    if not _is_positive_int(value):
        raise ValueError(f"`{name}` must be a positive int. Received: {name}={value!r}")
    return int(value)


def positive_ints(value, count, name):
    """Return `value`, a sequence of `count` positive ints, as a tuple; `None` for one or more."""
    count_fits = isinstance(value, tuple | list) and len(value) == (count or max(1, len(value)))
    if not (count_fits and all(map(_is_positive_int, value))):
        how_many = f"{count} " if count else ""
        raise ValueError(
            f"`{name}` must be a tuple of {how_many}positive ints. Received: {name}={value!r}"
        )
    return tuple(map(int, value))


def per_axis(value, rank, name):
    """Return `rank` positive ints from a sequence of them, or from one int for every axis."""
    if isinstance(value, tuple | list):
        return positive_ints(value, rank, name)
    return (positive_int(value, name),) * rank


def padding_of(value, rank, name="padding"):
    """Return a padding by name, or as `rank` pairs of zeros before and after.

    Takes a name, one int for every end, or for each axis an int or a pair of them.
    """
    if isinstance(value, str):
        return one_of(value, PADDINGS, name)
    per_axis = list(value) if isinstance(value, tuple | list) else [value] * rank
    pairs = [tuple(each) if isinstance(each, tuple | list) else (each,) * 2 for each in per_axis]
    counts = [count for pair in pairs for count in pair]
    if len(counts) != 2 * rank or len(pairs) != rank or not all(map(_is_count, counts)):
        choices = ", ".join(map(repr, PADDINGS))
        raise ValueError(
            f"`{name}` must be one of {choices}, an int of at least 0, or {rank} such ints or "
            f"pairs of them. Received: {name}={value!r}"
        )
    return tuple((int(before), int(after)) for before, after in pairs)


def fraction(value, name):
    """Return `value` as a float of at least 0 and less than 1."""
    if not (isinstance(value, int | float | np.floating) and 0 <= value < 1):
        raise ValueError(
            f"`{name}` must be a number of at least 0 and less than 1. Received: {name}={value!r}"
        )
    return float(value)


def positive_number(value, name):
    """Return `value` as a finite float above 0."""
    if not (isinstance(value, int | float | np.floating) and 0 < value < float("inf")):
        raise ValueError(f"`{name}` must be a number above 0. Received: {name}={value!r}")
    return float(value)


def one_of(value, choices, name):
    """Return `value` if it is one of the `choices`, which are strings."""
    choices = tuple(choices)
    if value not in choices:
        nearest = difflib.get_close_matches(str(value), choices, n=1, cutoff=0)
        raise ValueError(
            f"`{name}` must be one of {', '.join(map(repr, choices))}. "
            f"Did you mean {nearest[0]!r}? Received: {name}={value!r}"
        )
    return value


def _is_positive_int(value):
    return _is_count(value) and value > 0


def _is_count(value):
    # A bool is an int to Python, but never a size.
    return isinstance(value, int | np.integer) and not isinstance(value, bool) and value >= 0
