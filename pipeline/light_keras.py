"""Keras for verbs that look at shapes alone: there in a second, without TensorFlow."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

# What Keras takes along where it finds it, for drawing and for sending progress to a server.
NOT_NEEDED = ("matplotlib", "requests")
# What its NumPy backend computes with, and what takes longest to import.
COMPUTING = ("jax", "keras.src.backend.jax.math")


class Absent(ModuleType):
    """Stands for a module of which nothing will be used; so does everything in it."""

    def __getattr__(self, name: str) -> "Absent":
        if name.startswith("__"):
            raise AttributeError(name)
        return Absent(f"{self.__name__}.{name}")


def import_lightly() -> None:
    """Import Keras so that it can tell shapes and cannot compute.

    Does nothing where Keras is there already, or where the user chose a backend.
    """
    if "keras" in sys.modules or "KERAS_BACKEND" in os.environ:
        return
    os.environ["KERAS_BACKEND"] = "numpy"
    # `None` is how an import is barred.
    stand_ins = dict.fromkeys(NOT_NEEDED) | {name: Absent(name) for name in COMPUTING}
    kept = {name: sys.modules[name] for name in stand_ins if name in sys.modules}
    sys.modules.update(stand_ins)  # pyright: ignore
    try:
        import keras  # noqa: F401
    finally:
        for name in stand_ins:
            del sys.modules[name]
        sys.modules.update(kept)


@contextmanager
def without_values() -> Iterator[None]:
    """Let networks be built whose weights have shapes and no values, which costs no time."""
    import keras

    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        # Keras has a list of them, and would give all of them values with the next network.
        keras.utils.clear_session(free_memory=False)
