"""Several processes or devices that train together, for real: as one would, to the last rounding.

Run as a script this file is one of the processes.
"""

import dataclasses
import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pytest
import tensorflow as tf
import yaml

from models import kernels
from pipeline import cli, launch
from pipeline.recipe import Data, Recipe, Training, network
from pipeline.run import Run, create_run
from pipeline.task import Classification
from pipeline.train_verbs import taken_out
from pipeline.training.distribution import (
    ALONE,
    Distribution,
    failures_named,
    make_distribution,
    read_cluster,
)
from pipeline.training.fit import batches_from, fit
from pipeline.training.prepare import prepare
from pipeline.training.shares import evaluation_shares, shares_of
from pipeline.verbs import launch as launch_verb
from serving.errors import ConvoyError
from tests.pipeline.stripes import stripe_splits, stripes

REPOSITORY = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "TF_CPP_MIN_LOG_LEVEL": "3"}
SEEN = 3


def recipe(runs, **training):
    """Eight steps an epoch of a small network with norms; averages and clipping as well."""
    chosen = {"epochs": 2, "learning_rate": 0.02, "precision": "float32", "clip_norm": 1.0}
    return Recipe(
        name="stripes",
        network=network("vgg7", width=4),
        data=Data(batch_size=32, validation_fraction=0.2),
        training=Training(**{**chosen, "average": 0.9, **training}),
        runs=Path(runs),
    )


def learn(wanted, distribution, run=None):
    """Train on stripes; weights, scores of every epoch, and what the first steps saw."""
    splits = stripe_splits()
    task = Classification(splits.labels)
    learner = prepare(wanted, splits, task, distribution)
    resume = run is not None
    if run is None:
        made = str(create_run(wanted).folder) if distribution.is_chief else ""
        run = Run(Path(distribution.text_of_chief(made)))
    fit(learner, wanted, splits, task, run, resume)
    batches = iter(shares_of(batches_from(0, wanted, splits), distribution))
    strategy = learner.distribute_strategy
    seen = [np.concatenate(numbers(strategy, next(batches)[0])) for _ in range(SEEN)]
    copies = [numbers(strategy, weight.value) for weight in learner.weights]
    # Those of this process; the test compares processes.
    assert all((copy == each[0]).all() for each in copies for copy in each)
    return {
        "weights": [np.array(weight) for weight in learner.get_weights()],
        "history": learner.history.history,
        "seen": np.array(seen),
    }


def save(path, found):
    """Leave what a process found to the test."""
    history = json.dumps(found["history"])
    weights = {f"weight{index:03}": each for index, each in enumerate(found["weights"])}
    np.savez(path, history=history, seen=found["seen"], **weights)


def load(path):
    """What a process found."""
    with np.load(path) as content:
        names = sorted(name for name in content if name.startswith("weight"))
        return {
            "weights": [content[name] for name in names],
            "history": json.loads(str(content["history"])),
            "seen": content["seen"],
        }


def start(folder, kind, replicas=None, config=None, **training):
    """One process of a training into `folder`."""
    arguments = json.dumps([str(folder), kind, replicas, training])
    return subprocess.Popen(
        [sys.executable, __file__, arguments],
        env={**ENVIRONMENT, "TF_CONFIG": config or ""},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finished(processes):
    """Wait for all; they must end well."""
    said = [process.communicate(timeout=600) for process in processes]
    for process, (_, errors) in zip(processes, said, strict=True):
        assert process.returncode == 0, errors
    return [output for output, _ in said]


def workers(folder, count, **training):
    """Start so many processes that train together."""
    return [
        start(folder, "multi-worker", config=config, **training) for config in launch.configs(count)
    ]


def digest(found):
    return hashlib.sha256(b"".join(weight.tobytes() for weight in found["weights"])).hexdigest()


def assert_same_training(found, expected):
    """Scores and weights, statistics of norms included, but for rounding."""
    assert found["history"].keys() == expected["history"].keys()
    for name, scores in expected["history"].items():
        np.testing.assert_allclose(found["history"][name], scores, atol=2e-3, err_msg=name)
    for weight, other in zip(found["weights"], expected["weights"], strict=True):
        np.testing.assert_allclose(weight, other, atol=2e-3 * np.abs(other).max())


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """What a single process learns."""
    return learn(recipe(tmp_path_factory.mktemp("alone")), ALONE)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_workers_see_one_batch_and_end_with_the_same_bits_as_near_as_can_be_to_one_process(
    tmp_path, alone, count
):
    finished(workers(tmp_path, count))
    found = [load(tmp_path / f"{index}.npz") for index in range(count)]
    together = np.concatenate([each["seen"] for each in found], axis=1)
    np.testing.assert_array_equal(together, alone["seen"])
    assert len({digest(each) for each in found}) == 1
    for each in found:
        assert each["history"] == found[0]["history"]
    assert_same_training(found[0], alone)
    (run,) = (tmp_path / "stripes").iterdir()
    assert len((run / "history.csv").read_text().splitlines()) == 3


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
def test_devices_of_one_machine_learn_what_one_does(tmp_path, alone, count):
    (said,) = finished([start(tmp_path, "mirrored", replicas=count)])
    found = load(tmp_path / "0.npz")
    np.testing.assert_array_equal(found["seen"], alone["seen"])
    assert_same_training(found, alone)
    facts = json.loads(said.splitlines()[-1])
    for name, difference in facts["norm"].items():
        assert difference < 1e-5, name
    assert len(set(facts["dropped"])) == 2 * count
    for refused, words in zip(facts["refused"], ["divide evenly", "too few valid"], strict=True):
        assert words in refused


@pytest.mark.parametrize("dead", [1, 0], ids=["worker", "chief"])
def test_a_worker_that_dies_is_named_by_the_others_and_one_process_goes_on(tmp_path, dead):
    """And float16 scales its loss by the gradients of all."""
    epochs = 12
    training = {"epochs": epochs, "checkpoint_seconds": 0, "precision": "float16"}
    started = workers(tmp_path, 2, **training)
    other, left = started[dead], started[1 - dead]
    deadline = time.monotonic() + 200
    while not list(tmp_path.glob("stripes/*/checkpoints/step-*[1-9]*")):
        assert left.poll() is None, left.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)
    other.kill()
    killed = time.monotonic()
    _, said = left.communicate(timeout=90)
    other.communicate()
    assert time.monotonic() - killed < 60
    assert left.returncode == 2, said
    words = f"convoy: worker {1 - dead} lost another one: expected 2 workers"
    assert said.splitlines()[-1].startswith(words)
    assert "Traceback" not in said

    (folder,) = (tmp_path / "stripes").iterdir()
    reached = max(int(path.name.removeprefix("step-")) for path in folder.glob("checkpoints/*"))
    assert 0 < reached < 8 * epochs
    found = learn(recipe(tmp_path, **training), ALONE, Run(folder))
    assert len(found["history"]["loss"]) == epochs - reached // 8
    assert len((folder / "history.csv").read_text().splitlines()) == epochs + 1


@pytest.mark.slow
@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_launch_trains_ends_and_goes_on(tmp_path, sent):
    def command(verb, *flags):
        return subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", *verb, *flags],
            env=ENVIRONMENT,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    place = tmp_path / "run"
    flags = ["smoke", "--run", str(place), "--data.folder", str(REPOSITORY / "data")]
    flags += ["--runs", str(tmp_path), "--training.checkpoint-seconds", "0"]
    first = command(["launch", "--workers", "2", "train"], *flags)
    while not list(place.glob("checkpoints/step-*[1-9]*")):
        assert first.poll() is None, first.stderr.read()
        time.sleep(0.1)
    if sent == signal.SIGKILL:
        os.kill(child_with(first.pid, '"index": 1'), sent)
    else:
        first.send_signal(sent)
    _, said = first.communicate(timeout=120)
    assert first.returncode == (2 if sent == signal.SIGKILL else 130), said
    words = "lost another one" if sent == signal.SIGKILL else "convoy: interrupted"
    assert words in said
    assert "Traceback" not in said

    second = command(["train"], *flags)
    said, errors = second.communicate(timeout=300)
    assert second.returncode == 0, errors
    assert "test accuracy" in said


@pytest.mark.slow
def test_workers_that_would_not_train_the_same_do_not_begin(tmp_path):
    flags = ["smoke", "--data.folder", REPOSITORY / "data", "--runs", tmp_path]
    started = [
        subprocess.Popen(
            [sys.executable, "-m", "pipeline.cli", "train", *flags]
            + ["--distribute", "multi-worker", "--training.epochs", str(2 + index)],
            env={**ENVIRONMENT, "TF_CONFIG": config},
            stderr=subprocess.PIPE,
            text=True,
        )
        for index, config in enumerate(launch.configs(2))
    ]
    said = [process.communicate(timeout=200)[1] for process in started]
    assert [process.returncode for process in started] == [2, 2]
    assert "worker 1 would not train what the chief trains" in said[1]
    assert "`training.epochs` was 2 and is 3;" in said[1]
    assert said[0].splitlines()[-1].startswith("convoy: worker 0 lost another one")
    assert not any(tmp_path.iterdir())


@pytest.mark.slow
def test_no_worker_outlives_the_launch(tmp_path):
    started = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "launch", "--workers", "2", "train", "smoke"]
        + ["--data.folder", REPOSITORY / "data", "--runs", tmp_path],
        env=ENVIRONMENT,
        stderr=subprocess.DEVNULL,
    )
    listed = Path(f"/proc/{started.pid}/task/{started.pid}/children")
    while len(children := listed.read_text().split()) < 2:
        time.sleep(0.05)
    # The second one ends the wait for what the first one asked for.
    started.send_signal(signal.SIGTERM)
    time.sleep(0.2)
    started.send_signal(signal.SIGTERM)
    assert started.wait(timeout=60) == 130
    deadline = time.monotonic() + 10
    while any(Path(f"/proc/{child}").exists() for child in children):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def child_with(parent, words):
    """The process below `parent` whose environment holds these words."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    (found,) = [child for child in children if words in Path(f"/proc/{child}/environ").read_text()]
    return int(found)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "nothing",
        "{}",
        '{"cluster": {"worker": ["a:1"]}}',
        '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
        '{"cluster": {"worker": ["a"]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": [1]}, "task": {"type": "worker", "index": 0}}',
        '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
    ],
)
def test_a_cluster_that_is_not_described_gets_one_sentence(text):
    with pytest.raises(ConvoyError, match="^--distribute multi-worker needs TF_CONFIG"):
        read_cluster(text)


def test_a_cluster_that_is_described_is_read():
    assert [read_cluster(config) for config in launch.configs(1)][0][1] == 0
    config = '{"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}'
    assert read_cluster(config) == (["a:1", "b:2"], 1)


@pytest.mark.parametrize(
    ("kind", "replicas", "words"),
    [
        ("miror", None, "unknown --distribute `miror`: did you mean `mirrored`"),
        ("none", 2, "--replicas does not suit --distribute none"),
        ("mirrored", None, "too few GPUs for --distribute mirrored: expected 1 or more"),
    ],
)
def test_devices_that_there_are_not_get_one_sentence(monkeypatch, kind, replicas, words):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: [])
    with pytest.raises(ConvoyError, match=words):
        make_distribution(kind, replicas)


@pytest.fixture
def two_gpus(monkeypatch):
    """What memory is said to grow on: the processor passes for both."""
    grown = []
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind=None: ["one", "two"])
    monkeypatch.setattr(tf.config.experimental, "set_memory_growth", lambda *gpu: grown.append(gpu))
    return grown


@pytest.mark.parametrize("replicas", [None, 1, 2])
def test_all_gpus_are_taken_or_as_many_as_asked_for(two_gpus, monkeypatch, replicas):
    monkeypatch.setattr(tf.distribute, "MirroredStrategy", list)
    taken = make_distribution("mirrored", replicas).strategy
    assert taken == ["/gpu:0", "/gpu:1"][:replicas]
    assert two_gpus == [("one", True), ("two", True)]


def test_more_gpus_than_there_are_get_one_sentence(two_gpus):
    with pytest.raises(ConvoyError, match="expected 3 or more, received 2; give --replicas 2 at m"):
        make_distribution("mirrored", 3)


def test_what_a_device_or_a_worker_fails_by_is_told_apart():
    several = Distribution(workers=2)
    lost = tf.errors.UnavailableError(None, None, "Socket closed")
    full = tf.errors.ResourceExhaustedError(None, None, "OOM when allocating")
    wrong = tf.errors.InvalidArgumentError(None, None, "no such shape")
    with pytest.raises(ConvoyError, match="worker 0 lost another one: .* `Socket closed`"):
        raise_named(lost, several)
    for distribution in (ALONE, several):
        with pytest.raises(ConvoyError, match="no memory left: .* lower --data.batch-size"):
            raise_named(full, distribution)
        with pytest.raises(tf.errors.InvalidArgumentError):
            raise_named(wrong, distribution)


def raise_named(error, distribution):
    with failures_named(distribution):
        raise error


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        ([], "does not know what to start"),
        (["--workers", "2"], "does not know what to start"),
        (["--workers", "2", "evaluate", "runs/latest"], "does not know what to start"),
        (["--workers", "two", "train", "smoke"], "--workers is no count: .* received `two`"),
        (["--workers", "0", "train", "smoke"], "--workers is no count: .* received `0`"),
        (
            ["--workers", "2", "train", "smoke", "--distribute", "none"],
            "--distribute does not suit",
        ),
        (["--workers=", "train", "smoke"], "--workers has no value"),
    ],
)
def test_launch_refuses_what_it_cannot_start(words, answer):
    with pytest.raises(ConvoyError, match=answer):
        launch_verb(words)


def test_a_flag_is_taken_out_with_its_own_value_alone():
    words = ["smoke", "--training.epochs", "2", "--replicas", "2", "--data.shift", "2"]
    left = ["smoke", "--training.epochs", "2", "--data.shift", "2"]
    assert taken_out(words, "--replicas") == ("2", left)
    assert taken_out([*left, "--replicas=2"], "--replicas") == ("2", left)
    assert taken_out(left, "--replicas") == (None, left)
    with pytest.raises(ConvoyError, match="--replicas comes twice"):
        taken_out([*words, "--replicas=3"], "--replicas")
    for empty in (["--run", ""], ["--run="], ["--run"]):
        with pytest.raises(ConvoyError, match="--run has no value"):
            taken_out(["smoke", *empty], "--run")


def test_launch_gives_every_worker_cores_of_its_own(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 5, 6, 7})
    assert [launch.share_of_cores(index, 2) for index in range(2)] == [[3, 4], [5, 6, 7]]
    shares = [launch.share_of_cores(index, 7) for index in range(7)]
    assert all(len(share) == 1 for share in shares)
    assert {core for (core,) in shares} == {3, 4, 5, 6, 7}


def test_the_manifest_describes_a_cluster_whose_pods_have_these_names(tmp_path):
    service, job = yaml.safe_load_all((REPOSITORY / "docs/kubernetes/training.yaml").read_text())
    spec = job["spec"]
    pod = spec["template"]["spec"]
    (container,) = pod["containers"]
    count, name = spec["completions"], job["metadata"]["name"]
    assert spec["completionMode"] == "Indexed"
    assert spec["parallelism"] == count
    assert service["spec"]["clusterIP"] == "None"
    assert service["spec"]["selector"] == {"job-name": name}
    assert pod["subdomain"] == service["metadata"]["name"]

    # Its script runs as it is; what it would start says what it was told.
    told = tmp_path / "convoy"
    told.write_text('#!/bin/sh\necho "$TF_CONFIG"\necho "$@"\n')
    told.chmod(0o755)
    environment = {each["name"]: each["value"] for each in container["env"]}
    for index in (0, count - 1):
        config, words = subprocess.run(
            [*container["command"], *container["args"]],
            env={
                "PATH": f"{tmp_path}:{os.defpath}",
                "JOB_COMPLETION_INDEX": str(index),
                **environment,
            },
            capture_output=True,
            text=True,
            check=True,
        ).stdout.splitlines()
        port = container["ports"][0]["containerPort"]
        pods = [f"{name}-{each}.{pod['subdomain']}:{port}" for each in range(count)]
        assert read_cluster(config) == (pods, index)
    assert words.startswith("train fashion --distribute multi-worker --run ")
    size = int(re.search(r"--data.batch-size (\d+)", words).group(1))
    assert size % count == 0


def norm_differences(strategy):
    """How far batch normalization on several devices is from NumPy on the whole batch."""
    generator = np.random.default_rng(0)
    replicas = strategy.num_replicas_in_sync
    x = generator.normal(3, 2, (4 * replicas, 5, 3)).astype("float32")
    shown = generator.random((4 * replicas, 5)) > 0.3
    gamma, beta = generator.normal(1, 0.3, 3), generator.normal(size=3)

    def normalize(part, mask):
        return kernels.batch_norm_training(part, gamma, beta, 1e-3, mask)

    def part_of(array):
        return strategy.experimental_distribute_values_from_function(
            lambda context: tf.constant(np.split(array, replicas)[context.replica_id_in_sync_group])
        )

    found = {}
    for name, mask in {"whole": np.ones_like(shown), "masked": shown}.items():
        y, mean, variance = strategy.run(normalize, (part_of(x), part_of(mask)))
        values = x[mask]
        expected = (x - values.mean(0)) / np.sqrt(values.var(0) + 1e-3) * gamma + beta
        found[f"{name} outputs"] = np.abs(np.concatenate(numbers(strategy, y)) - expected).max()
        found[f"{name} mean"] = np.abs(numbers(strategy, mean)[-1] - values.mean(0)).max()
        unbiased = values.var(0, ddof=1)
        found[f"{name} variance"] = np.abs(numbers(strategy, variance)[-1] - unbiased).max()
    return {name: float(value) for name, value in found.items()}


def dropped(wanted, distribution):
    """Which units each device drops in one step and in the next, as text."""
    splits = stripe_splits()
    some = dataclasses.replace(wanted, network=network("lenet", width=3, dropout_rate=0.5))
    learner = prepare(some, splits, Classification(splits.labels), distribution)
    layer = next(each for each in learner.layers if isinstance(each, keras.layers.Dropout))

    @tf.function
    def step():
        return distribution.strategy.run(lambda: layer(tf.ones((1, 64)), training=True))

    return [str(np.sign(each)) for _ in range(2) for each in numbers(distribution.strategy, step())]


def numbers(strategy, value):
    """What the replicas of this process hold."""
    return [each.numpy() for each in strategy.experimental_local_results(value)]


def refusals(distribution):
    """What is said where replicas and images do not suit one another."""
    odd = batches_from(
        0, Recipe(name="odd", network=network("lenet"), data=Data(batch_size=31)), stripe_splits()
    )
    for attempt in (
        lambda: shares_of(odd, distribution),
        lambda: evaluation_shares(stripes(1, 0), distribution),
    ):
        try:
            attempt()
        except ConvoyError as error:
            yield str(error)


def main():
    """One process of a training."""
    folder, kind, replicas, training = json.loads(sys.argv[1])
    distribution = make_distribution(kind, replicas)
    wanted = recipe(folder, **training)
    with failures_named(distribution):
        save(Path(folder) / f"{distribution.worker}.npz", learn(wanted, distribution))
        distribution.wait_for_all()
    if kind == "mirrored":
        strategy = distribution.strategy
        facts = {
            "norm": norm_differences(strategy),
            "refused": list(refusals(distribution)),
            "dropped": dropped(wanted, distribution),
        }
        print(json.dumps(facts))


if __name__ == "__main__":
    try:
        main()
    except ConvoyError as problem:
        code = cli.complain(str(problem), problem.exit_code)
        sys.stderr.flush()
        # TensorFlow's threads still wait for the one that is gone.
        os._exit(code)
