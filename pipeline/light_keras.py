"""Keras for verbs that look at shapes alone: there in a second, without TensorFlow."""

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from types import ModuleType

from serving.silence import muted

# What Keras takes along where it finds it, for drawing and for sending progress to a server.
NOT_NEEDED = ("matplotlib", "requests")
# What its NumPy backend computes with, and what takes longest to import.
COMPUTING = ("jax", "keras.src.backend.jax.math")
# Packages whose modules hold on to the Keras that they were imported with.
HOLDING = ("keras", "models", "pipeline")


class Absent(ModuleType):
    """Stands for a module of which nothing will be used; so does everything in it."""

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")


@contextmanager
def light_keras() -> Iterator[None]:
    """Lend a Keras that can tell shapes and cannot compute, whichever backend the user chose.

    Whoever imports Keras afterwards gets the one that computes. Where Keras is there already, it
    serves as it is.
    """
    if "keras" in sys.modules:
        yield
        return
    known = set(sys.modules)
    try:
        with muted(), environment(KERAS_BACKEND="numpy"), stand_ins():
            import keras  # noqa: F401
        yield
    finally:
        forget(set(sys.modules) - known)


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """Set environment variables for a while, and undo what else is set meanwhile."""
    before = dict(os.environ)
    os.environ.update(values)
    try:
        yield
    finally:
        for name in os.environ.keys() - before.keys():
            del os.environ[name]
        os.environ.update(before)


@contextmanager
def stand_ins() -> Iterator[None]:
    """Keep modules from being imported that take long and are not needed."""
    # `None` is how an import is barred.
    absent = dict.fromkeys(NOT_NEEDED) | {name: Absent(name) for name in COMPUTING}
    kept = {name: sys.modules[name] for name in absent if name in sys.modules}
    sys.modules.update(absent)  # pyright: ignore
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
        sys.modules.update(kept)


def forget(names: Iterable[str]) -> None:
    """Let those of the modules that hold on to Keras be imported anew."""
    for name in names:
        package, _, own = name.rpartition(".")
        if name.partition(".")[0] in HOLDING:
            module = sys.modules.pop(name)
            if vars(sys.modules.get(package, module)).get(own) is module:
                delattr(sys.modules[package], own)
