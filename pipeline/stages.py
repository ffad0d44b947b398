"""The road from a recipe to a proven bundle, whole or stage by stage."""

import keras

from pipeline.console import console
from pipeline.data.sources import load
from pipeline.data.splits import Splits
from pipeline.evaluate import evaluate as measure
from pipeline.export.tflite import require_convertible
from pipeline.export.verify import load_network, probabilities, require_shippable
from pipeline.export.verify import verify as prove
from pipeline.export.write import write_bundle
from pipeline.files import whole
from pipeline.recipe import Recipe
from pipeline.run import Run, create_run, point_latest
from pipeline.task import Classification
from pipeline.training.fit import fit, prepare
from serving.bundle import Bundle, digest
from serving.errors import ConvoyError


def train(recipe: Recipe) -> Run:
    """Train, evaluate, export and verify a recipe.

    Raises:
        ConvoyError: bad input; nothing is left behind.
        GateFailed: an exported file may not ship; the run folder says which and why.
    """
    console.print(f"Reading {recipe.data.source} ...", soft_wrap=True)
    splits = load(recipe.data)
    task = Classification(splits.labels)
    network = prepare(recipe, splits, task)
    require_convertible(network, recipe.export.tflite)
    run = create_run(recipe)
    console.print(
        f"Training {describe(recipe, splits, network)}\n  in {run.folder}", soft_wrap=True
    )
    with run.recording():
        network = fit(network, recipe, splits, task, run)
        save_network(network, run, splits)
        reference = measure(run, network, splits, task)
        write_bundle(run, network, splits, task)
        bundle = prove(run, task, splits.test, reference)
    point_latest(run)
    require_shippable(bundle)
    return run


def evaluate(run: Run) -> float:
    """Measure a run's network on the test split again and draw its plots again."""
    splits, task = recall(run)
    measure(run, load_network(run), splits, task)
    return run.metrics["test_accuracy"]


def export(run: Run) -> Bundle:
    """Write a run's bundle again, unproven until it is verified."""
    splits, task = recall(run)
    return Bundle(run.bundle, write_bundle(run, load_network(run), splits, task))


def verify(run: Run) -> Bundle:
    """Prove a run's bundle again, in full.

    Raises:
        GateFailed: an exported file may not ship.
    """
    splits, task = recall(run)
    bundle = prove(run, task, splits.test, probabilities(load_network(run), task, splits.test))
    require_shippable(bundle)
    return bundle


def recall(run: Run) -> tuple[Splits, Classification]:
    """The very data a run was trained on.

    Raises:
        ConvoyError: they have changed since.
    """
    splits = load(run.recipe.data)
    expected = run.metrics.get("data")
    if expected and splits.fingerprint != expected:
        raise ConvoyError(
            f"the data of {run.folder} have changed: expected fingerprint {expected[:12]}..., "
            f"received {splits.fingerprint[:12]}...; restore "
            f"`{run.recipe.data.source}` or train again."
        )
    return splits, Classification(splits.labels)


def save_network(network: keras.Model, run: Run, splits: Splits) -> None:
    """Keep the trained network, and what tells later whether it or the data were changed."""
    with whole(run.network) as scratch:
        network.save(scratch)
    run.record(model_sha256=digest(run.network), data=splits.fingerprint)


def describe(recipe: Recipe, splits: Splits, network: keras.Model) -> str:
    """One line: what is trained on what."""
    return (
        f"{recipe.name}: {network.name}, {network.count_params():,} parameters, on "
        f"{len(splits.train):,} images of `{recipe.data.source}`, {recipe.training.epochs} epochs, "
        f"{network.dtype_policy.name}"
    )
