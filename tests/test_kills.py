"""Processes killed for real: whatever carries a final name is whole."""

import json
import resource
import signal
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

from pipeline.training import checkpoints
from tests.killing import (  # noqa: F401 - a fixture among them.
    ENVIRONMENT,
    REPOSITORY,
    end,
    none_stays,
    start,
    wait_until,
)

DATA = str(REPOSITORY / "data")


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM], ids=["ctrl-c", "terminate"])
def test_an_interrupted_training_leaves_a_run_folder_that_says_so(tmp_path, sent):
    process = start(
        *("train", "smoke", "--training.epochs", "500"),
        *("--data.folder", DATA, "--runs", str(tmp_path)),
    )
    wait_until(lambda: list(tmp_path.glob("smoke/*/history.csv")), process)
    process.send_signal(sent)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    (run,) = (tmp_path / "smoke").iterdir()
    assert said.splitlines()[-1] == (
        "convoy: interrupted; no file is left half-written; go on with `convoy train --resume "
        f"{run}`"
    )
    assert json.loads((run / "metrics.json").read_text())["status"] == "interrupted"
    assert not (run / "bundle").exists()
    assert not (tmp_path / "latest").exists()


def test_a_disk_that_refuses_to_grow_a_file_gets_one_sentence_and_no_half_file(tmp_path):
    limit = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)); "
        "from pipeline import cli; sys.exit(cli.main(sys.argv[1:]))"
    )
    arguments = ["train", "smoke", "--data.folder", DATA, "--runs", str(tmp_path)]
    done = subprocess.run(
        [sys.executable, "-c", limit, *arguments, "--training.epochs", "1"],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2, done.stderr
    assert done.stderr.splitlines()[-1].startswith("convoy: cannot write")
    assert "Traceback" not in done.stderr
    (run,) = (tmp_path / "smoke").iterdir()
    assert json.loads((run / "metrics.json").read_text())["status"] == "failed"
    assert not list((run / "checkpoints").iterdir())


LONGER = (
    *("train", "smoke", "--data.folder", DATA, "--training.epochs", "12"),
    *("--training.checkpoint-seconds", "0.3", "--training.average", "0.99"),
    *("--network.dropout-rate", "0.2"),
)


def only_run(runs):
    """The run folder, once there is one."""
    found = list(runs.glob("smoke/*/checkpoints"))
    return found[0].parent if found else None


def steps_kept(run):
    """The numbers of the steps that checkpoints were made at."""
    return {path.name for path in (run / "checkpoints").glob("step-*")}


def is_writing(run):
    return any((run / "checkpoints").glob(".step-*"))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_training_killed_twenty_times_ends_with_the_weights_of_an_undisturbed_one(tmp_path):
    calm = start(*LONGER, "--runs", str(tmp_path / "calm"))
    _, said = calm.communicate()
    assert calm.returncode == 0, said
    random = np.random.default_rng(0)
    runs, writing = tmp_path / "killed", 0
    process = start(*LONGER, "--runs", str(runs))
    # Before there is any checkpoint, or right after the first.
    wait_until(lambda: list(runs.glob("smoke/*/recipe.json")), process)
    (run,) = (runs / "smoke").iterdir()
    end(process)
    process = resume(run)
    for kill in range(18):
        wait_until(lambda: steps_kept(run), process)
        before = steps_kept(run)
        # Each life adds a checkpoint; it ends at some moment after it, or while one is written.
        wait_until(lambda before=before: steps_kept(run) - before, process)
        if kill % 4 == 0:
            wait_until(lambda: is_writing(run), process)
        else:
            time.sleep(random.uniform(0, 1.5))
        end(process)
        writing += is_writing(run)
        process = resume(run)
    # While what it learned is measured and exported. Slow machines have most of it still to learn.
    wait_until((run / "model.keras").exists, process, seconds=600)
    time.sleep(random.uniform(0, 3))
    end(process)
    process = resume(run)
    _, said = process.communicate()
    assert process.returncode == 0, said
    assert writing >= 2
    assert_same_training(only_run(tmp_path / "calm"), run)


def resume(run):
    """Go on with a training in another process."""
    return start("train", "--resume", str(run))


def assert_same_training(one, other):
    """Weights, history and everything in the last checkpoint are the same, bit by bit."""
    assert (one / "history.csv").read_text() == (other / "history.csv").read_text()
    last = [sorted((run / "checkpoints").glob("step-*"))[-1] for run in (one, other)]
    assert last[0].name == last[1].name
    with np.load(last[0] / "state.npz") as state, np.load(last[1] / "state.npz") as expected:
        assert state.files == expected.files
        for name in state.files:
            np.testing.assert_array_equal(state[name], expected[name], err_msg=name)
    networks = [keras.saving.load_model(run / "model.keras") for run in (one, other)]
    for weights in zip(*(network.get_weights() for network in networks), strict=True):
        np.testing.assert_array_equal(*weights)


def test_a_disk_that_fills_up_leaves_the_last_checkpoints_whole(tmp_path):
    process = start(*LONGER, "--runs", str(tmp_path))
    wait_until(lambda: only_run(tmp_path) and len(steps_kept(only_run(tmp_path))) == 2, process)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (10_000, 10_000))
    _, said = process.communicate(timeout=60)
    assert process.returncode == 2, said
    assert said.splitlines()[-1].startswith("convoy: cannot write")
    run = only_run(tmp_path)
    kept = checkpoints.checkpoints(run / "checkpoints")
    assert len(kept) == 2
    assert [checkpoints.damage(path) for path in kept] == [None, None]
    assert not is_writing(run)
