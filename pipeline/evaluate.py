"""The one look at the test split: what the trained network scores, in figures and pictures."""

import csv
from pathlib import Path

import keras
import numpy as np

from models.translation import Invariance, invariance
from pipeline import plots
from pipeline.data.splits import Examples, Splits, balanced
from pipeline.export.verify import probabilities
from pipeline.files import whole
from pipeline.run import Run
from pipeline.task import Classification

# For the curve of moved images: one of so many of the test split, but so many at most, each moved
# by up to so many pixels.
MOVED_SHARE, MOVED_IMAGES, MOST_PIXELS = 20, 500, 6


def evaluate(run: Run, network: keras.Model, splits: Splits, task: Classification) -> np.ndarray:
    """Measure on the test split, record it and draw the plots.

    Returns:
        The network's probabilities on the test split, `(images, classes)`.
    """
    reference = probabilities(network, task, splits.test)
    predicted, labels = reference.argmax(axis=-1), splits.test.labels
    counts = confusion(labels, predicted, len(task.labels))
    per_class = np.diag(counts) / np.maximum(counts.sum(axis=1), 1)
    moved = moved_answers(network, splits.test)
    run.record(
        test_accuracy=task.score(reference, labels),
        test_images=len(labels),
        test_accuracy_per_class=dict(zip(task.labels, per_class.round(4).tolist(), strict=True)),
        # By how many pixels the images move is the place in each list.
        moved_images={name: values.round(4).tolist() for name, values in moved._asdict().items()},
    )
    with whole(run.folder / "plots") as folder:
        folder.mkdir()
        plots.curves(history(run.folder / "history.csv"), task.metric, folder / "curves.png")
        plots.confusion(counts, task.labels, folder / "confusion.png")
        plots.worst_mistakes(splits.test, reference, task.labels, folder / "worst_mistakes.png")
        plots.translation(*moved, folder / "translation.png")
    return reference


def moved_answers(network: keras.Model, test: Examples) -> Invariance:
    """How little the answers change when images move, on a few of the test split."""
    count = min(MOVED_IMAGES, -(-len(test) // MOVED_SHARE))
    images = test.images[balanced(test, count, seed=0)]
    return invariance(network, images, min(MOST_PIXELS, *images.shape[1:3]))


def confusion(labels: np.ndarray, predicted: np.ndarray, num_classes: int) -> np.ndarray:
    """Count each pair: row is the true class, column the predicted one."""
    pairs = labels * num_classes + predicted
    return np.bincount(pairs, minlength=num_classes**2).reshape(num_classes, num_classes)


def history(path: Path) -> dict[str, list[float]]:
    """The columns of `history.csv`, by name; NaN where an epoch was not measured."""
    with path.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {name: [float(row[name] or "nan") for row in rows] for name in rows[0]}
