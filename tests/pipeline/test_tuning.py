"""Searches for a better recipe, on images small enough to train on often."""

import csv
import dataclasses
import json
import runpy

import numpy as np
import pytest

from models.fold import fold_batch_norm
from pipeline.data.splits import Splits
from pipeline.export.tflite import write_tflite
from pipeline.recipe import Data, Recipe, Training, network
from pipeline.run import Run, create_run
from pipeline.task import Classification
from pipeline.training.fit import fit
from pipeline.training.prepare import build, prepare
from pipeline.tuning import sweep as sweeping
from pipeline.tuning.costs import Costs
from pipeline.tuning.folder import Sweep
from pipeline.tuning.search import Limits, Search
from pipeline.tuning.space import choice, log, value_of, with_values
from pipeline.tuning.sweep import go_on
from pipeline.tuning.teller import Teller
from serving.errors import ConvoyError
from tests.pipeline.stripes import stripe_splits

ORACLES = ("random", "bayesian", "hyperband", "grid")
SPACE = {"training.learning_rate": log(1e-4, 1), "network.width": choice(2, 3)}


class Unseen:
    """A test split that nobody may look at."""

    def __getattr__(self, name):
        raise AssertionError("a search looked at the test split")


def recipe(**changes):
    return Recipe(
        name="stripes",
        network=network("lenet", width=3),
        data=Data(batch_size=32, flip="none", shift=0),
        training=Training(epochs=changes.pop("epochs", 2), learning_rate=0.05, **changes),
    )


def searched(folder, space=SPACE, base=None, **options):
    """The folder of a search over stripes, and what it wrote of each trial, the best first."""
    seen = stripe_splits()
    splits = Splits(seen.train, seen.validation, Unseen(), seen.labels)
    sweep = Sweep(folder)
    folder.mkdir(exist_ok=True)
    go_on(sweep, base or recipe(), space, Search(**options), splits)
    return sweep, json.loads(sweep.sweep_json.read_text())["trials"]


def rows_of(path):
    return list(csv.DictReader(path.read_text().splitlines()))


@pytest.fixture(scope="module", params=ORACLES)
def interrupted(request, tmp_path_factory):
    """A search interrupted after its third trial, which went on, and the trials it told of."""
    folder, told = tmp_path_factory.mktemp(request.param) / "sweep", []

    def interrupt(self, trial):
        original(self, trial)
        told.append(trial.trial_id)
        if len(told) == 3:
            raise KeyboardInterrupt

    original = Teller.__call__
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Teller, "__call__", interrupt)
        with pytest.raises(KeyboardInterrupt, match="convoy tune --resume"):
            searched(folder, oracle=request.param, trials=6)
        sweep, trials = searched(folder, oracle=request.param, trials=6)
    return sweep, trials, told


def test_a_search_that_is_interrupted_goes_on_and_repeats_no_trial(interrupted):
    _, trials, told = interrupted
    assert len(told) == len(set(told)) == len(trials) == 6
    assert {each["fate"] for each in trials} <= {"completed", "pruned"}


def test_the_best_recipe_can_be_trained(interrupted):
    sweep, trials, _ = interrupted
    best = runpy.run_path(str(sweep.best))["RECIPE"]
    for name, value in trials[0]["values"].items():
        assert value_of(best, name) == value
        assert value in SPACE[name]
    assert best == with_values(
        dataclasses.replace(recipe(), name="stripes-tuned"), trials[0]["values"]
    )


def test_results_are_ordered_by_score_and_told_three_ways(interrupted):
    sweep, trials, _ = interrupted
    scores = [each["score"] for each in trials]
    assert scores == sorted(scores, reverse=True)
    rows = rows_of(sweep.sweep_csv)
    assert [row["trial"] for row in rows] == [each["trial"] for each in trials]
    assert (sweep.plots / "scores.png").read_bytes()[:4] == b"\x89PNG"


def test_the_recipe_s_own_values_are_the_first_trial(interrupted):
    sweep, trials, _ = interrupted
    first = min(trials, key=lambda each: int(each["trial"]))
    # A grid begins at the low end of a span.
    expected = 1e-4 if sweep.folder.parent.name.startswith("grid") else 0.05
    assert first["values"] == {"training.learning_rate": expected, "network.width": 3}


def test_a_score_is_the_best_of_its_training_s_own_history(tmp_path):
    sweep, trials = searched(tmp_path / "sweep", oracle="random", trials=3, prune="none")
    for trial in trials:
        rows = rows_of(sweep.trials / trial["trial"] / "history.csv")
        assert len(rows) == trial["epochs"] == 2
        assert trial["score"] == max(float(row["val_accuracy"]) for row in rows)


def test_what_costs_too_much_is_refused_before_it_is_trained(tmp_path):
    space = {"network.width": choice(2, 3, 40, 50)}
    most = 100_000
    for oracle in ("bayesian", "grid"):
        sweep, trials = searched(
            tmp_path / oracle,
            space=space,
            oracle=oracle,
            trials=8,
            limits=Limits(max_parameters=most),
        )
        trained = [each for each in trials if each["fate"] != "refused"]
        never_begun = json.loads(sweep.sweep_json.read_text())["never_begun"]
        refused = [each["values"] for each in never_begun]
        refused += [each["values"] for each in trials if each["fate"] == "refused"]
        assert {each["network.width"] for each in refused} == {40, 50}
        assert {each["values"]["network.width"] for each in trained} <= {2, 3}
        assert {path.name for path in sweep.trials.iterdir()} <= {each["trial"] for each in trained}


def test_limits_that_nothing_meets_are_told(tmp_path):
    with pytest.raises(ConvoyError, match="the limits leave nothing to search"):
        searched(tmp_path / "sweep", oracle="random", limits=Limits(max_parameters=10))


def test_the_size_of_the_int8_file_is_known_before_a_training(tmp_path):
    space = {"network.width": choice(2, 8)}
    _, trials = searched(
        tmp_path / "sweep", space=space, oracle="grid", limits=Limits(max_bytes=30_000)
    )
    fates = {each["values"]["network.width"]: each["fate"] for each in trials}
    assert fates == {2: "completed", 8: "refused"}


@pytest.mark.slow
def test_an_untrained_network_s_int8_file_is_as_large_as_the_trained_one_s(tmp_path):
    splits, task = stripe_splits(), Classification(("horizontal", "vertical"))
    costs = Costs(recipe(), splits, Limits(max_bytes=1))
    own = dataclasses.replace(recipe(), runs=tmp_path)
    trained = fit(prepare(own, splits, task), own, splits, task, create_run(own))
    file = tmp_path / "int8.tflite"
    write_tflite(fold_batch_norm(trained), task, splits.train.images[:10], {"int8": file})
    assert costs.bytes_of(build(own, splits)) == file.stat().st_size


def test_trials_without_hope_end_early_and_the_best_does_not(tmp_path):
    space = {"training.learning_rate": choice(0.05, 0.04, 0.03, 0.02, 1e-7, 2e-7)}
    _, trials = searched(
        tmp_path / "sweep", base=recipe(epochs=4), space=space, oracle="grid", trials=8
    )
    assert trials[0]["fate"] == "completed"
    assert trials[0]["epochs"] == 4
    pruned = [each for each in trials if each["fate"] == "pruned"]
    assert pruned
    assert all(each["epochs"] < 4 for each in pruned)


def test_a_training_that_diverges_ends_its_trial_and_not_the_search(tmp_path):
    space = {"training.learning_rate": choice(0.05, 1e6)}
    _, trials = searched(tmp_path / "sweep", space=space, oracle="grid")
    assert [each["values"]["training.learning_rate"] for each in trials] == [0.05, 1e6]
    assert trials[1]["score"] == 0


def test_values_that_do_not_suit_each_other_are_refused_with_the_reason(tmp_path):
    base = dataclasses.replace(recipe(), network=network("topology", width=3, kernel_size=3))
    space = {"network.kernel_size": choice(3, 5), "network.n": choice(1, 2, 3)}
    _, trials = searched(tmp_path / "sweep", base=base, space=space, oracle="grid", trials=9)
    refused = {
        tuple(each["values"].values()): each["reason"]
        for each in trials
        if each["fate"] == "refused"
    }
    assert (5, 3) in refused
    assert "cannot build `topology`" in refused[5, 3]


def test_a_promoted_trial_goes_on_as_if_it_had_never_stopped(tmp_path):
    base = recipe(epochs=3, average=0.9)
    space = {"training.learning_rate": choice(0.05, 0.04, 0.03, 0.02)}
    sweep, trials = searched(
        tmp_path / "sweep", base=base, space=space, oracle="hyperband", trials=5, prune="none"
    )
    state = json.loads(sweep.oracle_json.read_text())
    (promoted,) = [
        each
        for each in state["trials"]
        if each["hyperparameters"]["values"].get("tuner/initial_epoch")
    ]
    values = promoted["hyperparameters"]["values"]
    folder = sweep.trials / values["tuner/trial_id"]
    own = Run(folder).recipe
    splits, task = stripe_splits(), Classification(("horizontal", "vertical"))
    run = create_run(dataclasses.replace(own, runs=tmp_path))
    fit(prepare(own, splits, task), own, splits, task, run)
    (*_, mine), (*_, theirs) = (
        sorted(each.glob("checkpoints/step-*/state.npz")) for each in (folder, run.folder)
    )
    assert mine.parent.name == theirs.parent.name
    with np.load(mine) as found, np.load(theirs) as expected:
        assert set(found) == set(expected)
        for name in expected:
            # Numbers that are dials are rounded last, constants first.
            np.testing.assert_allclose(
                found[name], expected[name], rtol=1e-4, atol=1e-5, err_msg=name
            )


def test_only_the_best_keep_their_checkpoints(tmp_path):
    sweep, trials = searched(tmp_path / "sweep", oracle="random", trials=5, keep=2)
    kept = {path.parent.name for path in sweep.trials.glob("*/checkpoints")}
    assert kept == {each["trial"] for each in trials[:2]}


def test_no_training_begins_once_the_time_is_over(tmp_path):
    with pytest.raises(ConvoyError, match="found nothing"):
        searched(tmp_path / "sweep", minutes=0)


def test_a_folder_that_is_no_sweep_is_refused(tmp_path):
    with pytest.raises(ConvoyError, match="is no sweep: expected a readable search.json"):
        sweeping.resume(Sweep(tmp_path))
