"""The pictures of a run: how it learned, what it mixes up, where it was most wrong."""

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from models.quantize import Noise
from pipeline.data.splits import Examples

# Of more classes a cell has no room for its figure, nor an axis for every name.
READABLE = 40
TRAIN, VALIDATION = "#9aa5b1", "#0b6bcb"


def curves(history: dict[str, list[float]], metric: str, path: Path) -> None:
    """Draw loss and metric over the epochs, for train and validation."""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    epochs = np.arange(len(history["loss"])) + 1
    for axes, name in zip(figure.subplots(1, 2), ("loss", metric), strict=True):
        axes.plot(epochs, history[name], color=TRAIN, label="train (augmented)", marker=".")
        validation = np.array(history[f"val_{name}"])
        known = np.isfinite(validation)
        axes.plot(
            epochs[known], validation[known], color=VALIDATION, label="validation", marker="."
        )
        axes.set(title=name, xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        tidy(axes)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def confusion(counts: np.ndarray, labels: tuple[str, ...], path: Path) -> None:
    """Draw how often each true class (row) was answered as each class (column), in percent.

    Only mistakes are shaded: the diagonal would drown them.
    """
    shares = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    mistakes = np.where(np.eye(len(labels), dtype=bool), 0, shares)
    side = 2.5 + 0.5 * min(len(labels), READABLE)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    axes.imshow(mistakes, cmap="Reds", vmin=0, vmax=max(mistakes.max(), 1) * 1.4)
    for row, column in np.ndindex(counts.shape) if len(labels) <= READABLE else ():
        if shares[row, column] >= 0.05:
            weight = "bold" if row == column else "normal"
            text = f"{shares[row, column]:.1f}"
            axes.text(column, row, text, ha="center", va="center", fontsize=8, weight=weight)
    ticks = range(0, len(labels), -(-len(labels) // READABLE))
    named = [labels[tick] for tick in ticks]
    axes.set_xticks(ticks, named, rotation=45, ha="right")
    axes.set_yticks(ticks, named)
    axes.set(xlabel="answered", ylabel="is", title="of each class, percent answered as")
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    figure.savefig(path, dpi=120)


def worst_mistakes(
    examples: Examples,
    probabilities: np.ndarray,
    labels: tuple[str, ...],
    path: Path,
    most: int = 20,
) -> None:
    """Show the images that were answered wrongly with most confidence."""
    answered, confidence = probabilities.argmax(axis=-1), probabilities.max(axis=-1)
    wrong = np.flatnonzero(answered != examples.labels)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:most]
    figure = Figure(figsize=(10, 9), layout="constrained")
    figure.suptitle(f"{len(wrong):,} of {len(examples):,} test images wrong; the most confident")
    for position, axes in enumerate(figure.subplots(4, 5).flat):
        axes.axis("off")
        if position < len(worst):
            image = worst[position]
            axes.imshow(examples.images[image].squeeze(), cmap="gray", vmin=0, vmax=255)
            said, truth = labels[answered[image]], labels[examples.labels[image]]
            axes.set_title(f"{said} {confidence[image]:.0%}\nis {truth}", fontsize=9)
    figure.savefig(path, dpi=110)


def translation(agreement: np.ndarray, overlap: np.ndarray, path: Path) -> None:
    """Draw what is left of the answers when images move by 0, 1, 2, ... pixels."""
    figure = Figure(figsize=(5, 3.6), layout="constrained")
    axes = figure.subplots()
    distances = np.arange(len(agreement))
    axes.plot(distances, agreement, color=VALIDATION, label="same class", marker=".")
    axes.plot(distances, overlap, color=TRAIN, label="probability in common", marker=".")
    axes.set(title="when the image moves", xlabel="pixels", ylim=(0, 1.03))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.legend(frameon=False)
    tidy(axes)
    figure.savefig(path, dpi=120)


def noises(found: Sequence[Noise], path: Path) -> None:
    """Draw how far each layer's rounding moves values, in percent, the most harmful on top."""
    names = [noise.layer for noise in found]
    figure = Figure(figsize=(7.5, 1.4 + 0.26 * len(names)), layout="constrained")
    axes = figure.subplots()
    places = np.arange(len(names))
    answers, own = 100 * 10 ** (-np.array([(each.answer, each.own) for each in found]).T / 20)
    axes.barh(places, answers, height=0.6, color=VALIDATION, label="of the network's answers")
    axes.plot(own, places, "o", color=TRAIN, label="of the layer's own values")
    axes.set_yticks(places, names)
    axes.invert_yaxis()
    axes.set(xlabel="noise / signal, %", title="what rounding one layer alone to int8 changes")
    figure.legend(frameon=False, loc="outside lower center", ncols=2)
    tidy(axes, grid="x")
    figure.savefig(path, dpi=120)


def calibration(accuracies: dict[int, list[float]], floats: float, path: Path) -> None:
    """Draw accuracy in int8 over the number of calibration images, and that in floats."""
    figure = Figure(figsize=(6, 3.6), layout="constrained")
    axes = figure.subplots()
    counts = list(accuracies)
    for count, found in accuracies.items():
        axes.plot([count] * len(found), found, ".", color=TRAIN)
    means = [float(np.mean(found)) for found in accuracies.values()]
    axes.plot(counts, means, color=VALIDATION, marker=".", label="int8, mean of the draws")
    axes.axhline(floats, color="#333333", linewidth=1, linestyle="--", label="floats")
    axes.set(xscale="log", xlabel="calibration images", title="accuracy on validation images")
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.yaxis.set_major_formatter(PercentFormatter(1, decimals=1))
    axes.legend(frameon=False)
    tidy(axes)
    figure.savefig(path, dpi=120)


def search(scores: Sequence[float], path: Path) -> None:
    """Draw the score of every trial in the order in which they ended, and the best so far."""
    figure = Figure(figsize=(7, 3.6), layout="constrained")
    axes = figure.subplots()
    numbers = np.arange(len(scores)) + 1
    axes.plot(numbers, scores, color=TRAIN, linestyle="none", marker=".", label="trial")
    best = np.maximum.accumulate(scores)
    axes.step(numbers, best, color=VALIDATION, where="post", label="best so far")
    axes.set(title="validation accuracy", xlabel="trial")
    # The worst would press all others into a line.
    axes.set_ylim(bottom=max(0, np.quantile(scores, 0.1) - 0.02))
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    tidy(axes)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=120)


def tidy(axes: Axes, grid: Literal["x", "y"] = "y") -> None:
    """Leave only what carries information."""
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis=grid, alpha=0.25)
