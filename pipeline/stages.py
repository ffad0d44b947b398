"""The road from a recipe to a proven bundle, whole or stage by stage."""

import dataclasses
from pathlib import Path

import keras

from pipeline import plots
from pipeline.console import console
from pipeline.data.sources import load
from pipeline.data.splits import Examples, Splits
from pipeline.differences import differences
from pipeline.evaluate import evaluate as measure
from pipeline.export.calibration import calibration_images
from pipeline.export.rounding import Diagnosis, Rounding, require_unrounded
from pipeline.export.rounding import calibration_curve as accuracies_by_count
from pipeline.export.rounding import diagnose as rounding_diagnosis
from pipeline.export.verify import load_network, probabilities, require_shippable
from pipeline.export.verify import verify as prove
from pipeline.export.write import require_exportable, write_bundle
from pipeline.files import whole, write_json
from pipeline.recipe import Export, Recipe
from pipeline.run import Run, create_run, point_latest
from pipeline.task import Classification
from pipeline.training.checkpoints import checkpoints, require_same
from pipeline.training.distribution import (
    ALONE,
    Distribution,
    failures_named,
    require_same_training,
)
from pipeline.training.fit import fit, identity_of
from pipeline.training.learner import Learner
from pipeline.training.prepare import prepare
from serving.bundle import Bundle, digest, open_bundle
from serving.errors import ConvoyError


def train(recipe: Recipe, distribution: Distribution = ALONE, folder: Path | None = None) -> Run:
    """Train, evaluate, export and verify a recipe.

    Args:
        recipe: says what and how.
        distribution: the devices; a process that is not the chief's trains, and does no more.
        folder: of the run; where it holds an unfinished one, that goes on.

    Raises:
        ConvoyError: bad input; nothing is left behind.
        GateFailed: an exported file may not ship; the run folder says which and why.
    """
    if folder and distribution.of_chief((folder / "recipe.json").exists()):
        return resume(Run(folder), recipe, distribution)
    console.print(f"Reading {recipe.data.source} ...", soft_wrap=True)
    splits = load(recipe.data)
    require_same_training(distribution, identity_of(recipe, splits))
    task = Classification(splits.labels)
    learner = prepare(recipe, splits, task, distribution)
    require_exportable(learner, recipe.export)
    # Folders are named by the clock, and clocks differ: the chief's name is taken by all.
    made = str(create_run(recipe, folder).folder) if distribution.is_chief else ""
    run = Run(Path(distribution.text_of_chief(made)))
    carry_on(run, recipe, learner, splits, task, resume=False)
    return run


def is_finished(run: Run, recipe: Recipe) -> bool:
    """Whether there is nothing left to do for a recipe in a run's folder.

    Raises:
        ConvoyError: it is finished, but of another recipe.
        GateFailed: it is finished, and an exported file may not ship.
    """
    if not run.recipe_json.exists() or run.metrics["status"] != "finished":
        return False
    if changed := differences(run.recipe.identity(), recipe.identity()):
        raise ConvoyError(
            f"{run.folder} holds a finished training of another recipe: expected the one given "
            f"now, received others: {changed}; give another folder, or the flags it was trained "
            "with."
        )
    require_shippable(open_bundle(run.bundle))
    return True


def resume(run: Run, recipe: Recipe | None = None, distribution: Distribution = ALONE) -> Run:
    """Go on with an unfinished run from its last checkpoint, as if it had never stopped.

    Args:
        run: the run.
        recipe: what it should be of; that of the run when not given.
        distribution: the devices, which may be others than it began on.

    Raises:
        ConvoyError: the run is finished or still at work, its recipe or data are not those it
            began with, or its checkpoints are damaged.
        GateFailed: an exported file may not ship; the run folder says which and why.
    """
    if run.metrics.get("status") == "finished":
        raise ConvoyError(
            f"{run.folder} is finished: expected an interrupted, failed or killed training; "
            f"`convoy evaluate`, `export` and `verify` work on it."
        )
    wanted = recipe or run.recipe
    splits = load(wanted.data)
    # Checkpoints say it too, but a run may have none yet.
    require_same(identity_of(run.recipe, splits), identity_of(wanted, splits))
    require_same_training(distribution, identity_of(wanted, splits))
    task = Classification(splits.labels)
    begun = bool(checkpoints(run.checkpoints))
    learner = prepare(wanted, splits, task, distribution, begun)
    carry_on(run, wanted, learner, splits, task, resume=True)
    return run


def carry_on(
    run: Run,
    recipe: Recipe,
    learner: Learner,
    splits: Splits,
    task: Classification,
    resume: bool,
) -> None:
    """Train, evaluate, export and verify, from the beginning or from the last checkpoint."""
    console.print(
        f"Training {describe(recipe, splits, learner)}\n  in {run.folder}", soft_wrap=True
    )
    distribution = learner.distribution
    named = failures_named(distribution, run.folder)
    if not distribution.is_chief:
        with named:
            fit(learner, recipe, splits, task, run, resume)
            # Until all is proven, so that a chief that fails is begun again with its workers.
            distribution.wait_for_all()
        return
    with run.at_work(), run.recording(), named:
        network = fit(learner, recipe, splits, task, run, resume)
        save_network(network, run, splits)
        reference = measure(run, network, splits, task)
        write_bundle(run, network, splits, task, recipe.export)
        bundle = prove(run, task, splits.test, reference)
    point_latest(run)
    distribution.wait_for_all()
    require_shippable(bundle)


def evaluate(run: Run) -> float:
    """Measure a run's network on the test split again and draw its plots again."""
    splits, task = recall(run)
    measure(run, load_network(run), splits, task)
    return run.metrics["test_accuracy"]


def export(run: Run, wanted: Export | None = None) -> Bundle:
    """Write a run's bundle again, unproven until it is verified.

    Args:
        run: a finished one.
        wanted: which files, and what they must prove; as its recipe says where `None`.

    Raises:
        ConvoyError: the network cannot become one of these files.
    """
    splits, task = recall(run)
    network, wanted = load_network(run), wanted or run.recipe.export
    require_exportable(network, wanted)
    return Bundle(run.bundle, write_bundle(run, network, splits, task, wanted))


def diagnose(run: Run, wanted: Export) -> Diagnosis:
    """Find out what int8 costs each layer of a run's network; figures and a plot are kept.

    Raises:
        ConvoyError: the network was trained to round.
    """
    rounding, _ = rounding_of(run, wanted)
    found = rounding_diagnosis(rounding)
    layers = [noise._asdict() for noise in found.noises]
    write_json(run.rounding / "layers.json", {**dataclasses.asdict(found), "noises": layers})
    with whole(run.rounding / "layers.png") as scratch:
        plots.noises(found.noises, scratch)
    return found


def calibration_curve(run: Run, wanted: Export) -> dict[int, list[float]]:
    """Find out what int8 scores for numbers of calibration images; figures and a plot are kept.

    Raises:
        ConvoyError: the network was trained to round.
    """
    rounding, train = rounding_of(run, wanted)
    found = accuracies_by_count(rounding, train, run.recipe.seed)
    write_json(run.rounding / "calibration.json", found)
    floats = rounding.accuracy(rounding.reference)
    with whole(run.rounding / "calibration.png") as scratch:
        plots.calibration(found, floats, scratch)
    return found


def rounding_of(run: Run, wanted: Export) -> tuple[Rounding, Examples]:
    """A run's network, ready to be looked at layer by layer, and the images it learned from."""
    splits, task = recall(run)
    network = load_network(run)
    require_unrounded(network)
    run.rounding.mkdir(exist_ok=True)
    calibration = calibration_images(splits.train, wanted.calibration_images, run.recipe.seed)
    rounding = Rounding(network, task, calibration, splits.validation, wanted.equalize)
    return rounding, splits.train


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
