"""A training that was stopped goes on to the very weights it would have reached."""

import dataclasses
import json
import shutil
from concurrent import futures
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from pipeline import stages
from pipeline.recipe import Data, Recipe, Training, network
from pipeline.run import Run, create_run
from pipeline.task import Classification
from pipeline.training import checkpoints
from pipeline.training.fit import fit
from pipeline.training.prepare import prepare
from serving.bundle import digest
from serving.errors import ConvoyError
from tests.pipeline.stripes import stripe_splits, stripes

# What the network is built for.
BATCH = (tf.TensorSpec((32, 12, 12, 1), tf.uint8), tf.TensorSpec((32,), tf.int32))


@pytest.fixture
def splits():
    return stripe_splits()


def recipe(runs, **training):
    """Eight steps an epoch of a network with random numbers and moving statistics."""
    chosen = {"epochs": 3, "learning_rate": 0.05, "average": 0.9, "checkpoint_seconds": 0}
    return Recipe(
        name="stripes",
        network=network("lenet", width=3, dropout_rate=0.3),
        data=Data(batch_size=32),
        training=Training(**{**chosen, **training}),
        runs=runs,
    )


def train(wanted, splits, run, resume=False, stop_at=None):
    """Train, or raise at a step as Ctrl-C does; the learner, and what `fit` gave."""
    task = Classification(splits.labels)
    learner = prepare(wanted, splits, task)
    # A step a call, so that any of them can be the last.
    learner.adapt = lambda pace: None
    if stop_at is not None:
        train_steps_of(learner, stop_at)
    return learner, fit(learner, wanted, splits, task, run, resume)


def train_steps_of(learner, stop_at):
    """Let a learner raise as Ctrl-C does before the step after `stop_at`, or right after it."""
    step, moment = stop_at
    begin, end = learner.train_epoch, learner.scores

    def before_the_next(batches):
        if moment == "later" and learner.steps_done == step:
            raise KeyboardInterrupt
        return begin(batches)

    def right_after():
        if moment == "at once" and learner.steps_done == step:
            raise KeyboardInterrupt
        return end()

    learner.train_epoch, learner.scores = before_the_next, right_after


def state_of(learner, run):
    """All that a training changes, and its history."""
    arrays = {name: np.array(each) for name, each in checkpoints.variables(learner)}
    return arrays, run.history.read_text()


def assert_same(state, expected):
    assert state[1] == expected[1]
    assert state[0].keys() == expected[0].keys()
    for name, array in state[0].items():
        np.testing.assert_array_equal(array, expected[0][name], err_msg=name)


@pytest.mark.parametrize(
    "training",
    [
        {"precision": "float32"},
        {"precision": "bfloat16", "optimizer": "adamw", "learning_rate": 0.003},
        {"precision": "float16", "validate_every": 2},
    ],
    ids=["float32", "bfloat16-adamw", "float16-seldom"],
)
def test_a_training_stopped_anywhere_ends_as_if_it_had_not_been(tmp_path, splits, training):
    wanted = recipe(tmp_path, **training)
    run = create_run(wanted)
    learner, network = train(wanted, splits, run)
    expected = state_of(learner, run)

    stopped = create_run(wanted)
    resume = False
    # At the end of an epoch, before and after it was validated, and within one.
    for stop_at in ((8, "at once"), (8, "later"), (13, "at once")):
        with pytest.raises(KeyboardInterrupt):
            train(wanted, splits, stopped, resume, stop_at)
        resume = True
    learner, again = train(wanted, splits, stopped, resume=True)
    assert_same(state_of(learner, stopped), expected)
    for weight, same in zip(network.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


@pytest.fixture(scope="module")
def stopped_once(tmp_path_factory):
    """A recipe and a run of it that was stopped in its second epoch."""
    wanted = recipe(tmp_path_factory.mktemp("runs"))
    run = create_run(wanted)
    with pytest.raises(KeyboardInterrupt):
        train(wanted, stripe_splits(), run, stop_at=(11, "at once"))
    return wanted, run


@pytest.fixture
def stopped(stopped_once, tmp_path):
    """The same, to be spoilt."""
    wanted, run = stopped_once
    return wanted, Run(Path(shutil.copytree(run.folder, tmp_path / "run")))


def resumed(wanted, splits, run):
    return train(wanted, splits, run, resume=True)


def test_the_last_two_checkpoints_are_kept(stopped):
    kept = [path.name for path in checkpoints.checkpoints(stopped[1].checkpoints)]
    assert kept == ["step-0000000010", "step-0000000011"]


@pytest.mark.parametrize("spoilt", ["state.npz", "notes.json"])
@pytest.mark.parametrize("harm", ["cut", "bit", "lost"])
def test_a_damaged_checkpoint_is_passed_over_for_the_one_before(
    stopped, splits, capsys, spoilt, harm
):
    wanted, run = stopped
    path = checkpoints.checkpoints(run.checkpoints)[-1] / spoilt
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    if harm == "lost":
        path.unlink()
    else:
        path.write_bytes(content if harm == "bit" else content[: len(content) // 2])
    learner = prepare(wanted, splits, Classification(splits.labels))
    learner.build_for(BATCH)
    identity = json.loads((path.parents[1] / "step-0000000010" / "notes.json").read_text())
    progress = checkpoints.restore(run.checkpoints, learner, identity["identity"])
    assert progress.step == 10 == int(learner.step)
    assert f"{path.parent} is damaged" in capsys.readouterr().err


def test_a_training_without_a_whole_checkpoint_is_refused(stopped, splits):
    wanted, run = stopped
    for path in checkpoints.checkpoints(run.checkpoints):
        (path / "state.npz").write_bytes(b"")
    with pytest.raises(ConvoyError, match="no checkpoint .* is whole: expected one .* received 2"):
        resumed(wanted, splits, run)


def test_a_changed_recipe_is_refused_with_every_difference(stopped, splits):
    wanted, run = stopped
    changed = dataclasses.replace(
        wanted, seed=7, training=dataclasses.replace(wanted.training, momentum=0.8)
    )
    with pytest.raises(ConvoyError) as refusal:
        resumed(changed, splits, run)
    assert "`seed` was 0 and is 7, `training.momentum` was 0.9 and is 0.8;" in str(refusal.value)


def test_a_run_without_a_checkpoint_goes_on_with_its_own_recipe_alone(smoke_recipe, tmp_path):
    few = dataclasses.replace(smoke_recipe.data, max_train_images=600, max_test_images=100)
    brief = dataclasses.replace(smoke_recipe.training, epochs=1)
    wanted = dataclasses.replace(smoke_recipe, data=few, training=brief, runs=tmp_path)
    run = create_run(wanted)
    with pytest.raises(ConvoyError, match="cannot go on: .* `seed` was 0 and is 5;"):
        stages.resume(run, dataclasses.replace(wanted, seed=5))
    assert not run.checkpoints.exists()
    stages.resume(run, wanted)
    assert run.metrics["status"] == "finished"


def test_a_checkpoint_of_other_variables_is_refused(stopped, splits):
    """As another version may have written it."""
    wanted, run = stopped
    path = checkpoints.checkpoints(run.checkpoints)[-1]
    notes = json.loads((path / "notes.json").read_text())
    with np.load(path / "state.npz") as state:
        arrays = dict(state)
    arrays["optimizer/99"] = arrays.pop("optimizer/0")
    np.savez(path / "state.npz", **arrays)
    notes["state_sha256"] = digest(path / "state.npz")
    notes["sha256"] = checkpoints.hash_of(notes)
    (path / "notes.json").write_text(json.dumps(notes))
    with pytest.raises(ConvoyError, match="was written by another version") as refusal:
        resumed(wanted, splits, run)
    assert "`optimizer/0` was None and is '()', `optimizer/99` was '()'" in str(refusal.value)


def test_other_images_are_refused(stopped, splits):
    wanted, run = stopped
    other = dataclasses.replace(splits, validation=stripes(64, 5))
    with pytest.raises(ConvoyError, match="`images` was .* and is .*; leave that as it was"):
        resumed(wanted, other, run)


def test_a_training_may_go_on_in_another_place(stopped, splits, tmp_path):
    wanted, run = stopped
    moved = dataclasses.replace(wanted, runs=tmp_path / "elsewhere")
    assert int(resumed(moved, splits, run)[0].step) == 24


def test_what_lies_beyond_a_new_checkpoint_was_damaged_and_goes(stopped, splits):
    wanted, run = stopped
    last = checkpoints.checkpoints(run.checkpoints)[-1]
    (last / "state.npz").write_bytes(b"")
    learner = prepare(wanted, splits, Classification(splits.labels))
    learner.build_for(BATCH)
    identity = json.loads((last / "notes.json").read_text())["identity"]
    progress = checkpoints.restore(run.checkpoints, learner, identity)
    kept = checkpoints.save(run.checkpoints, learner, progress, identity)
    assert last not in checkpoints.checkpoints(run.checkpoints)
    assert checkpoints.damage(kept) is None


def test_a_run_that_a_process_is_at_work_on_is_left_alone(stopped):
    _, run = stopped
    with (
        run.at_work(),
        pytest.raises(ConvoyError, match="is at work: expected a run that no process trains"),
        Run(run.folder).at_work(),
    ):
        pass
    with run.at_work():
        pass


def test_what_another_process_began_meanwhile_is_not_begun_again(tmp_path):
    wanted, place = recipe(tmp_path), tmp_path / "place"
    run = create_run(wanted, place)
    run.record(mine=1)
    with pytest.raises(ConvoyError, match="is a run already: .* give the same command again"):
        create_run(wanted, place)
    with run.at_work(), pytest.raises(ConvoyError, match="is at work"):
        create_run(wanted, place)
    assert run.metrics["mine"] == 1


def test_runs_that_begin_in_one_second_get_folders_of_their_own(tmp_path):
    with futures.ThreadPoolExecutor(8) as pool:
        runs = list(pool.map(lambda _: create_run(recipe(tmp_path)), range(8)))
    assert len({run.folder for run in runs}) == 8


def test_a_training_goes_on_without_the_run_it_started_from(smoke_recipe, run_copy, monkeypatch):
    """Its weights are in the checkpoint."""
    brief = dataclasses.replace(smoke_recipe.training, epochs=1, start_from=run_copy.folder)
    few = dataclasses.replace(smoke_recipe.data, max_train_images=600, max_test_images=100)
    wanted = dataclasses.replace(
        smoke_recipe, data=few, training=brief, runs=run_copy.folder.parent / "runs"
    )

    def stop(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(stages, "save_network", stop)
        with pytest.raises(KeyboardInterrupt):
            stages.train(wanted)
    (run,) = map(Run, (wanted.runs / wanted.name).iterdir())
    shutil.rmtree(run_copy.folder)
    stages.resume(run)
    assert run.metrics["status"] == "finished"
