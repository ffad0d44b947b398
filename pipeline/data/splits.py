"""Images in memory, and how they are divided into train, validation and test."""

import hashlib
from dataclasses import dataclass

import numpy as np

from serving.errors import ConvoyError
from serving.image import Shape


@dataclass(frozen=True)
class Examples:
    """Labelled images: `images` uint8 (count, height, width, channels), `labels` int32 (count,)."""

    images: np.ndarray
    labels: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, chosen: np.ndarray) -> "Examples":
        """The examples at the positions `chosen`, in that order."""
        return Examples(self.images[chosen], self.labels[chosen])


@dataclass(frozen=True)
class Splits:
    """Train to learn from, validation to choose on, test for the last measurement alone."""

    train: Examples
    validation: Examples
    test: Examples
    labels: tuple[str, ...]

    @property
    def image_shape(self) -> Shape:
        """`(height, width, channels)`."""
        height, width, channels = self.train.images.shape[1:]
        return (height, width, channels)

    @property
    def fingerprint(self) -> str:
        """sha256 over every image and label, in order: the same exactly where the data are."""
        return fingerprint(self.train, self.validation, self.test)


def fingerprint(*splits: Examples) -> str:
    """sha256 over every image and label of these splits, in order."""
    sha256 = hashlib.sha256()
    for split in splits:
        sha256.update(np.ascontiguousarray(split.images).data)
        sha256.update(np.ascontiguousarray(split.labels).data)
    return sha256.hexdigest()


def check_labels(examples: Examples, num_classes: int, source: str) -> None:
    """Refuse labels that name no class, before they silently become a wrong loss.

    Raises:
        ConvoyError: a label is negative, or not below `num_classes`.
    """
    wrong = (examples.labels < 0) | (examples.labels >= num_classes)
    if wrong.any():
        raise ConvoyError(
            f"label out of range in `{source}`: expected 0 to {num_classes - 1}, received "
            f"{examples.labels[wrong][0]} at image {int(np.argmax(wrong))}; mend or remove it."
        )


def carve(examples: Examples, fraction: float, seed: int) -> tuple[Examples, Examples]:
    """Split off `fraction` of every class, chosen by `seed`; returns (rest, carved).

    Class by class, so that a rare one is in both parts.

    Raises:
        ConvoyError: a part would be empty.
    """
    generator = np.random.default_rng(seed)
    is_carved = np.zeros(len(examples), bool)
    for label in np.unique(examples.labels):
        members = np.flatnonzero(examples.labels == label)
        count = min(max(round(len(members) * fraction), 1), len(members) - 1)
        is_carved[generator.permutation(members)[:count]] = True
    if not is_carved.any() or is_carved.all():
        raise ConvoyError(
            f"too few images to split: expected at least 2 in a class, received {len(examples)} "
            "in all; add images."
        )
    return examples.take(np.flatnonzero(~is_carved)), examples.take(np.flatnonzero(is_carved))


def limit(examples: Examples, most: int | None, seed: int) -> Examples:
    """At most `most` examples, chosen by `seed`, in their old order."""
    if most is None or most >= len(examples):
        return examples
    chosen = np.random.default_rng(seed).permutation(len(examples))[:most]
    return examples.take(np.sort(chosen))


def balanced(examples: Examples, count: int, seed: int) -> np.ndarray:
    """Positions of up to `count` examples, spread evenly over the classes."""
    generator = np.random.default_rng(seed)
    queues = [
        generator.permutation(np.flatnonzero(examples.labels == label))
        for label in np.unique(examples.labels)
    ]
    longest = max(len(queue) for queue in queues)
    turns = (queue[turn] for turn in range(longest) for queue in queues if turn < len(queue))
    return np.fromiter(turns, dtype=np.int64)[:count]
