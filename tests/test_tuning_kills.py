"""Searches whose processes are killed for real: no trial is lost, and none is run twice."""

import json
import random
import signal
import time

import psutil
import pytest

from tests.killing import REPOSITORY, end, none_stays, start, wait_until  # noqa: F401 - a fixture.

DATA = str(REPOSITORY / "data")
FLAGS = (
    *(
        "--data.folder",
        DATA,
        "--data.max-train-images",
        "600",
        "--data.validation-fraction",
        "0.01",
    ),
    *("--network.width", "3", "--training.epochs", "3", "--training.checkpoint-seconds", "0.2"),
    *("--over", "training.learning_rate", "log(0.001, 1)", "--search.prune", "none"),
)


def begin(folder, *flags):
    return start("tune", "smoke", "--runs", str(folder), *FLAGS, *flags)


def sweep_in(folder):
    (sweep,) = (folder / "smoke-sweep").iterdir()
    return sweep


def ended(folder):
    """The trials that the oracle knows to have ended, and when their last score was written.

    Not those that others go on from, in the same folder.
    """
    try:
        state = json.loads((sweep_in(folder) / "oracle.json").read_text())
    except (OSError, ValueError):
        return {}
    trials = sweep_in(folder) / "trials"
    values = [each["hyperparameters"]["values"] for each in state["trials"]]
    promoted = {each["tuner/trial_id"] for each in values if "tuner/trial_id" in each}
    return {
        name: (trials / name / "history.csv").stat().st_mtime_ns
        for name in state["end_order"]
        if name not in promoted and (trials / name).exists()
    }


def finish(folder, *flags):
    process = start("tune", "--resume", str(sweep_in(folder)), *flags)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    return json.loads((sweep_in(folder) / "sweep.json").read_text())["trials"]


@pytest.mark.slow
@pytest.mark.parametrize("oracle", ["bayesian", "hyperband", "grid"])
def test_a_search_killed_again_and_again_loses_no_trial_and_repeats_none(oracle, tmp_path):
    dice = random.Random(oracle)
    process = begin(tmp_path, "--search.oracle", oracle, "--search.trials", "8")
    wait_until(lambda: len(list(tmp_path.glob("smoke-sweep/*/oracle.json"))) == 1, process)
    seen = {}
    for _ in range(4):
        time.sleep(dice.uniform(0, 12))
        end(process)
        now = ended(tmp_path)
        # What had ended before has not been touched since.
        assert all(now[name] == seen[name] for name in now if name in seen)
        assert oracle == "hyperband" or set(seen) <= set(now)
        seen = now
        process = start("tune", "--resume", str(sweep_in(tmp_path)))
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    now = ended(tmp_path)
    assert all(now[name] == seen[name] for name in now if name in seen)
    trials = json.loads((sweep_in(tmp_path) / "sweep.json").read_text())["trials"]
    fates = [each["fate"] for each in trials]
    assert fates.count("completed") + fates.count("pruned") == len(trials)
    assert len(trials) == (5 if oracle == "grid" else 8)


@pytest.mark.slow
def test_a_worker_killed_in_a_trial_is_begun_again_and_no_trial_is_lost(tmp_path):
    process = begin(tmp_path, "--workers", "2", "--search.trials", "6", "--search.oracle", "random")
    wait_until(lambda: len(list(tmp_path.glob("smoke-sweep/*/trials/*/checkpoints"))) >= 2, process)
    workers = psutil.Process(process.pid).children()
    assert len(workers) == 2
    workers[0].send_signal(signal.SIGKILL)
    _, said = process.communicate(timeout=300)
    assert process.returncode == 0, said
    trials = json.loads((sweep_in(tmp_path) / "sweep.json").read_text())["trials"]
    assert [each["fate"] for each in trials] == ["completed"] * 6
    assert {each["epochs"] for each in trials} == {3}


@pytest.mark.slow
def test_a_chief_killed_takes_its_workers_along_and_the_search_goes_on(tmp_path):
    process = begin(tmp_path, "--workers", "2", "--search.trials", "5", "--search.oracle", "random")
    wait_until(lambda: len(ended(tmp_path)) >= 1, process)
    workers = psutil.Process(process.pid).children()
    end(process)
    _, alive = psutil.wait_procs(workers, timeout=20)
    assert not alive
    seen = ended(tmp_path)
    trials = finish(tmp_path, "--workers", "2")
    now = ended(tmp_path)
    assert {name: now[name] for name in seen} == seen
    assert [each["fate"] for each in trials] == ["completed"] * 5


@pytest.mark.slow
@pytest.mark.parametrize("workers", ["1", "2"])
def test_an_interrupted_search_says_how_it_goes_on(workers, tmp_path):
    process = begin(tmp_path, "--workers", workers, "--search.trials", "50")
    wait_until(lambda: len(ended(tmp_path)) >= 1, process)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 130, said
    assert said.splitlines()[-1].endswith(f"`convoy tune --resume {sweep_in(tmp_path)}`")
