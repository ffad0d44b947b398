"""All that a training needs to go on as if it had never stopped, in folders that are whole."""

import dataclasses
import hashlib
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np

from pipeline.differences import differences
from pipeline.files import remove, whole
from pipeline.training.learner import Learner
from serving.bundle import digest
from serving.errors import ConvoyError

# How many are kept: should the last be damaged, there is the one before.
KEPT = 2
STATE, NOTES = "state.npz", "notes.json"


@dataclass
class Progress:
    """How far a training came, beside what its variables hold.

    `step` counts batches, `epoch` finished passes, `history` holds a row of
    scores for each of these; `best` the weights that validated best.
    """

    step: int = 0
    epoch: int = 0
    seconds: float = 0.0
    history: list[dict[str, float]] = field(default_factory=list)
    best_score: float = float("-inf")
    best_epoch: int = 0
    best_is_average: bool = False
    best: list[np.ndarray] = field(default_factory=list)


def save(folder: Path, learner: Learner, progress: Progress, identity: dict[str, Any]) -> Path:
    """Write the folder `step-<number>` into `folder`, and keep the last two.

    Args:
        folder: of a run's checkpoints.
        learner: whose network, optimizer, averages, random state and metrics are kept.
        progress: where it is.
        identity: what must be the same when it goes on, as plain values for JSON.

    Raises:
        ConvoyError: it cannot be written; those before it stay.
    """
    path = folder / f"step-{progress.step:010}"
    # All workers read, since metrics are added up over them; one writes.
    arrays = {name: keras.ops.convert_to_numpy(each) for name, each in variables(learner)}
    if not learner.distribution.is_chief:
        return path
    arrays |= {f"best/{index}": array for index, array in enumerate(progress.best)}
    notes = {each.name: getattr(progress, each.name) for each in dataclasses.fields(progress)}
    del notes["best"]
    # One process at a time works on a run: what is unfinished, a killed one left.
    for left in folder.glob(".step-*"):
        remove(left)
    with whole(path) as scratch:
        scratch.mkdir()
        np.savez(scratch / STATE, **arrays)
        content = {**notes, "identity": identity, "state_sha256": digest(scratch / STATE)}
        content["sha256"] = hash_of(content)
        (scratch / NOTES).write_text(json.dumps(content, indent=2), encoding="utf-8")
    found = checkpoints(folder)
    here = found.index(path)
    # What is further on was damaged, or this training would have gone on from there.
    for other in [*found[: max(here + 1 - KEPT, 0)], *found[here + 1 :]]:
        remove(other)
    return path


def restore(folder: Path, learner: Learner, identity: dict[str, Any]) -> Progress:
    """Put a learner where its last whole checkpoint was; without any, where it begins.

    A damaged checkpoint is passed over for the one before it, with a word on stderr.

    Raises:
        ConvoyError: every checkpoint is damaged, or the last one is of another recipe or data.
    """
    found = checkpoints(folder)
    for path in reversed(found):
        problem = damage(path)
        if problem is None:
            return assign(path, learner, identity)
        print(f"convoy: {path} is damaged ({problem}): it is passed over.", file=sys.stderr)
    if found:
        raise ConvoyError(
            f"no checkpoint in {folder} is whole: expected one at least, received {len(found)} "
            "damaged ones; train again."
        )
    return Progress()


def assign(path: Path, learner: Learner, identity: dict[str, Any]) -> Progress:
    """Put a learner where a whole checkpoint was.

    Raises:
        ConvoyError: it is of another recipe or data, or was written by another version.
    """
    notes = json.loads((path / NOTES).read_text(encoding="utf-8"))
    require_same(notes.pop("identity"), identity)
    del notes["sha256"], notes["state_sha256"]
    with np.load(path / STATE) as state:
        arrays = dict(state)
    count = sum(name.startswith("best/") for name in arrays)
    best = [arrays.pop(f"best/{index}") for index in range(count)]
    wanted = dict(variables(learner))
    shapes = {name: str(array.shape) for name, array in arrays.items()}
    if changed := differences(
        shapes, {name: str(tuple(each.shape)) for name, each in wanted.items()}
    ):
        raise ConvoyError(
            f"{path} was written by another version of Convoy or Keras: expected the variables "
            f"that this one trains, received others: {changed}; go on with the versions that "
            "recipe.json names, or train anew."
        )
    for name, variable in wanted.items():
        variable.assign(arrays[name])
    return Progress(**notes, best=best)


def require_same(before: dict[str, Any], now: dict[str, Any]) -> None:
    """Refuse to go on with another recipe or other data than a training began with.

    Raises:
        ConvoyError: their identities differ.
    """
    if changed := differences(before, now):
        raise ConvoyError(
            f"this training cannot go on: expected the recipe it began with, received another: "
            f"{changed}; leave that as it was, or train anew without --resume."
        )


def variables(learner: Learner) -> Iterator[tuple[str, Any]]:
    """Everything that a training changes, by a name that the next process gives it, too."""
    groups = {
        "network": learner.variables,
        "optimizer": learner.optimizer.variables,
        "metrics": learner.metrics_variables,
        "average": learner.averages,
        "step": [learner.step],
    }
    for group, members in groups.items():
        yield from ((f"{group}/{index}", each) for index, each in enumerate(members))


def checkpoints(folder: Path) -> list[Path]:
    """The checkpoints in a folder, oldest first."""
    return sorted(folder.glob("step-*"))


def damage(path: Path) -> str | None:
    """What is wrong with a checkpoint; `None` where it is whole."""
    try:
        notes = json.loads((path / NOTES).read_text(encoding="utf-8"))
        if hash_of(notes) != notes["sha256"]:
            return f"{NOTES} is not as it was written"
        if digest(path / STATE) != notes["state_sha256"]:
            return f"{STATE} is not as it was written"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{NOTES} or {STATE} cannot be read: {error!r}"
    return None


def hash_of(notes: dict[str, Any]) -> str:
    """sha256 of all notes but itself."""
    content = {name: value for name, value in notes.items() if name != "sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
