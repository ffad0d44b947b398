"""The whole road, once, on real images: what a finished run holds."""

import csv
import json

import keras
import numpy as np
from PIL import Image

from pipeline.cli import main
from serving.bundle import open_bundle


def test_a_run_folder_holds_what_its_words_promise(smoke_run):
    found = {path.relative_to(smoke_run.folder).as_posix() for path in smoke_run.folder.rglob("*")}
    assert {
        "recipe.json",
        "history.csv",
        "tensorboard/train",
        "tensorboard/validation",
        "model.keras",
        "metrics.json",
        "plots/curves.png",
        "plots/confusion.png",
        "plots/worst_mistakes.png",
        "plots/translation.png",
        "bundle/manifest.json",
        "bundle/verify.md",
        "bundle/verify.json",
        "bundle/golden.npz",
    } <= found


def test_latest_leads_to_the_last_finished_run(smoke_run, smoke_recipe):
    assert (smoke_recipe.runs / "latest").resolve() == smoke_run.folder.resolve()


def test_the_run_says_that_it_finished_and_what_it_scored(smoke_run, smoke_splits):
    metrics = smoke_run.metrics
    assert metrics["status"] == "finished"
    assert metrics["test_images"] == len(smoke_splits.test)
    # Ten classes: guessing gives 10%.
    assert metrics["test_accuracy"] > 0.6


def test_the_recorded_accuracy_is_that_of_the_stored_network(smoke_run, smoke_splits):
    network = keras.saving.load_model(smoke_run.network)
    logits = network.predict(smoke_splits.test.images.astype("float32"), verbose=0)["logits"]
    right = np.mean(logits.argmax(-1) == smoke_splits.test.labels)
    assert smoke_run.metrics["test_accuracy"] == right


def test_the_stored_network_holds_the_weights_that_validated_best(smoke_run):
    with (smoke_run.folder / "history.csv").open() as stream:
        scores = [float(row["val_accuracy"]) for row in csv.DictReader(stream)]
    assert smoke_run.metrics["validation_accuracy"] == max(scores)
    assert scores[smoke_run.metrics["best_epoch"] - 1] == max(scores)


def test_the_stored_network_computes_in_float32_whatever_it_was_trained_in(smoke_run):
    network = keras.saving.load_model(smoke_run.network)
    assert {layer.compute_dtype for layer in network.layers} == {"float32"}


def test_the_recipe_is_recorded_with_versions_and_data(smoke_run, smoke_recipe, smoke_splits):
    record = json.loads(smoke_run.recipe_json.read_text())
    assert smoke_run.recipe == smoke_recipe
    assert record["provenance"]["packages"]["keras"] == keras.__version__
    assert smoke_run.metrics["data"] == smoke_splits.fingerprint


def test_the_curve_of_moved_images_is_recorded_beside_its_plot(smoke_run):
    moved = smoke_run.metrics["moved_images"]
    assert set(moved) == {"agreement", "overlap"}
    for shares in moved.values():
        assert len(shares) == 7
        assert shares[0] == 1
        assert all(0 < share < 1 for share in shares[1:])


def test_the_plots_are_pictures(smoke_run):
    for path in (smoke_run.folder / "plots").iterdir():
        with Image.open(path) as picture:
            assert min(picture.size) > 300


def test_every_route_of_the_bundle_passed_the_gate(smoke_run):
    for route in open_bundle(smoke_run.bundle).manifest.routes:
        assert route.gate.passed, route.gate.reasons


def words_of(recipe, *flags):
    return ["train", "smoke", "--data.folder", str(recipe.data.folder), *flags]


def test_a_finished_run_is_found_finished_whatever_else_is_asked_of_it(run_copy, capsys):
    place, recipe = str(run_copy.folder), run_copy.recipe
    before = run_copy.metrics_json.read_bytes()
    same = words_of(recipe, "--run", place)
    assert main([*same, "--training.checkpoint-seconds", "5"]) == 0
    assert "test accuracy" in capsys.readouterr().out
    assert main([*same, "--training.epochs", "9"]) == 2
    said = capsys.readouterr().err
    assert "holds a finished training of another recipe" in said
    assert f"`training.epochs` was {recipe.training.epochs} and is 9;" in said
    assert main(["train", "--resume", place]) == 2
    assert "is finished: expected an interrupted" in capsys.readouterr().err
    assert main([*same, "--resume", place]) == 2
    assert "--run and --resume contradict each other" in capsys.readouterr().err
    assert run_copy.metrics_json.read_bytes() == before
