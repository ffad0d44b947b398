"""The degradation problem: a deeper plain network trains worse, a deeper residual one does not.

Plain and residual networks of 20 and 56 layers, the same weights counted, see the same images for
the same number of steps. What is compared is the error on the training images themselves, so that
it is not overfitting that is seen: the mean over the batches of an epoch, as in the paper.

Reference: He et al., 2015, figures 1 and 6. https://arxiv.org/abs/1512.03385
"""

import csv
import json
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from pipeline.data.sources import load
from pipeline.data.splits import Splits
from pipeline.files import whole
from pipeline.plots import tidy
from pipeline.recipe import Data, Recipe, Training, network
from pipeline.run import create_run
from pipeline.task import Classification
from pipeline.training.fit import fit
from pipeline.training.prepare import prepare
from serving.errors import ConvoyError

# Network -> colour and dash of its curve.
NETWORKS = {
    "plain20": ("#d1495b", "--"),
    "plain56": ("#d1495b", "-"),
    "resnet20": ("#0b6bcb", "--"),
    "resnet56": ("#0b6bcb", "-"),
}


def recipe(name: str, images: int, epochs: int, seed: int, folder: Path) -> Recipe:
    """The same training for every network: that of the paper, shortened, without augmentation."""
    return Recipe(
        name=name,
        network=network(name, width=16),
        data=Data(max_train_images=images, batch_size=128, flip="none", shift=0),
        training=Training(epochs=epochs, learning_rate=0.1, weight_decay=1e-4, label_smoothing=0.0),
        seed=seed,
        runs=folder,
    )


def train(wanted: Recipe, splits: Splits) -> dict[str, Any]:
    """Train one network; its error and loss on the training images, epoch by epoch."""
    task = Classification(splits.labels)
    learner = prepare(wanted, splits, task)
    run = create_run(wanted)
    with run.recording():
        trained = fit(learner, wanted, splits, task, run)
    with (run.folder / "history.csv").open(newline="", encoding="utf-8") as file:
        epochs = list(csv.DictReader(file))
    return {
        "parameters": trained.count_params(),
        "seconds": run.metrics["training_seconds"],
        "error": [1 - float(epoch["accuracy"]) for epoch in epochs],
        "loss": [float(epoch["loss"]) for epoch in epochs],
    }


def run(images: int, epochs: int, seed: int, folder: Path) -> dict[str, Any]:
    """Train every network and draw `degradation.png` beside `degradation.json` in `folder`.

    Raises:
        ConvoyError: too few images or epochs, or the folder cannot be written to.
    """
    for name, value, least in (("images", images, 2), ("epochs", epochs, 1)):
        if value < least:
            raise ConvoyError(
                f"`{name}` is too small: expected at least {least}, received {name}={value}."
            )
    recipes = {name: recipe(name, images, epochs, seed, folder) for name in NETWORKS}
    splits = load(recipes["plain20"].data)  # That of all.
    found = {name: train(wanted, splits) for name, wanted in recipes.items()}
    count = len(splits.train.images)
    result = {"images": count, "epochs": epochs, "seed": seed, "networks": found}
    with whole(folder / "degradation.json") as path:
        path.write_text(json.dumps(result, indent=2), encoding="utf-8")
    with whole(folder / "degradation.png") as path:
        draw(result, path)
    return result


def draw(result: dict[str, Any], path: Path) -> None:
    """Draw training error and loss over the epochs."""
    figure = Figure(figsize=(9, 3.8), layout="constrained")
    figure.suptitle(f"{result['images']:,} Fashion-MNIST images, {result['epochs']} epochs")
    for axes, quantity in zip(figure.subplots(1, 2), ("error", "loss"), strict=True):
        for name, (color, dash) in NETWORKS.items():
            values = result["networks"][name][quantity]
            axes.plot(range(1, len(values) + 1), values, color=color, linestyle=dash, label=name)
        axes.set(title=f"training {quantity}", xlabel="epoch")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if quantity == "error":
            axes.yaxis.set_major_formatter(PercentFormatter(1))
        else:
            axes.set_yscale("log")
        tidy(axes)
    axes.legend(frameon=False)
    figure.savefig(path, dpi=110)


def table(result: dict[str, Any]) -> str:
    """Render the last epoch of each network."""
    head = (
        f"{'network':10}{'parameters':>12}{'training error':>16}{'training loss':>15}{'seconds':>9}"
    )
    rows = [
        f"{name:10}{each['parameters']:>12,}{each['error'][-1]:>15.2%} {each['loss'][-1]:>14.4f}"
        f"{each['seconds']:>9.0f}"
        for name, each in result["networks"].items()
    ]
    return "\n".join([head, *rows])
