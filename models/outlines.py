"""Networks of any size at no cost: weights that have shapes and no values."""

import contextlib
import random

import keras
from keras.src.backend.common import global_state

# Where Keras lists the weights that it will give values later, and its source of random numbers.
WAITING, GENERATOR = "uninitialized_variables", "global_seed_generator"


@contextlib.contextmanager
def without_values():
    """Let networks be built, or called, whose weights have shapes and no values.

    Keras would give values to all of them at the end of the next scope of its own, which takes
    gigabytes for a large network. Here they are left off its list; all else, such as the dtype
    policy, the random numbers to come and weights that wait already, stays as it was.

    Example:

    >>> with without_values():
    ...     network = build("vgg16", (224, 224, 3), num_classes=1000, head="dense")
    >>> network.count_params()
    138370216
    """
    kept = {name: global_state.get_global_attribute(name) for name in (WAITING, GENERATOR)}
    # Layers draw seeds from Python's own generator when they are made.
    seeds = random.getstate()
    global_state.set_global_attribute(WAITING, [])
    try:
        with keras.StatelessScope(initialize_variables=False):
            yield
    finally:
        random.setstate(seeds)
        for name, value in kept.items():
            global_state.set_global_attribute(name, value)
