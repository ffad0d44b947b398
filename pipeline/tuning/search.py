"""How a search goes about it: which oracle, how long, and what a network may cost."""

from dataclasses import dataclass
from typing import Literal

from pipeline.recipe import MANY, SEEDS, Ranged

METRIC = "accuracy"


@dataclass(frozen=True)
class Limits(Ranged):
    """What a network may cost; one that costs more is refused before it is trained."""

    section = "search.limits."
    ranges = {"max_parameters": (1, MANY), "max_multiply_adds": (1, MANY), "max_bytes": (1, MANY)}

    max_parameters: int | None = None
    """Weights of the network."""
    max_multiply_adds: int | None = None
    """Multiplications of one image's answer."""
    max_bytes: int | None = None
    """Size of the int8 file."""


@dataclass(frozen=True)
class Search(Ranged):
    """How a search goes about it."""

    section = "search."
    ranges = {"trials": (1, MANY), "minutes": (0, MANY), "keep": (0, MANY), "seed": (0, SEEDS)}

    oracle: Literal["random", "bayesian", "hyperband", "grid"] = "bayesian"
    """What proposes values: KerasTuner's oracle of that name."""
    trials: int = 30
    """Trainings to begin at most; refused ones do not count."""
    minutes: float | None = None
    """Begin no training after this time."""
    prune: Literal["median", "halving", "none"] = "median"
    """End trainings early: below the median of others at their epoch, or not among the best third
    after 1, 3, 9, ... epochs."""
    limits: Limits = Limits()
    keep: int = 3
    """Of so many trials, the best, checkpoints stay on disk."""
    seed: int = 0
    """Of the proposals; trainings have that of the recipe."""
