"""On what a training runs: one device, several of one machine, or several machines together.

Every replica, that is every device, trains on its share of the same global batch; the gradients
are added up, so that all of them take the same step.
"""

import contextlib
import functools
import json
import os
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import tensorflow as tf

from pipeline.differences import differences
from serving.errors import ConvoyError, nearest

KINDS = ("none", "mirrored", "multi-worker")
# A dead worker breaks its connections at once; one that is cut off is given up after this.
SECONDS_WITHOUT_A_SIGN = 30
# How long a worker waits for all others to start, and for a sum that one of them holds up.
SECONDS_TO_START, SECONDS_TO_ADD = 300, 3600
# What no other worker is to blame for.
OWN_FAILURES = (tf.errors.InvalidArgumentError, tf.errors.OutOfRangeError)
# Room for what the chief says: a path, or a recipe in JSON.
TEXT_BYTES = 2**15
EXAMPLE = (
    '{"cluster": {"worker": ["one:2222", "two:2222"]}, "task": {"type": "worker", "index": 0}}'
)


@dataclass(frozen=True)
class Distribution:
    """The devices that train together; one where there is no strategy.

    Args:
        strategy: of TensorFlow, or none.
        worker: number of this process among those that train together.
        workers: how many these are.
    """

    strategy: tf.distribute.Strategy | None = None
    worker: int = 0
    workers: int = 1

    @property
    def is_chief(self) -> bool:
        """Whether this process writes what the training leaves behind; one of all does."""
        return self.worker == 0

    @property
    def replicas(self) -> int:
        """How many devices share a batch, in all processes together."""
        return self.strategy.num_replicas_in_sync if self.strategy else 1

    def scope(self) -> contextlib.AbstractContextManager:
        """Where networks and optimizers are made, so that every replica has them."""
        return self.strategy.scope() if self.strategy else contextlib.nullcontext()

    def added_up(self, *values: float) -> list[float]:
        """The sum over all processes of what each of them gives; every process must call it."""
        if self.workers == 1:
            return list(values)
        local = self.replicas // self.workers
        return (self.sum_of(tf.constant(values, tf.float64)).numpy() / local).tolist()

    @functools.cached_property
    def sum_of(self) -> Any:
        """Adds up what every replica holds, all replicas of a process the same."""
        strategy = self.strategy or tf.distribute.get_strategy()
        return tf.function(
            lambda mine: strategy.reduce("SUM", strategy.run(tf.identity, (mine,)), axis=None)
        )

    def of_chief(self, value: float) -> float:
        """What the chief gives; every process must call it."""
        return self.added_up(value if self.is_chief else 0.0)[0]

    def text_of_chief(self, text: str) -> str:
        """What the chief says; every process must call it."""
        padded = text.encode().ljust(TEXT_BYTES)
        said = self.added_up(*(padded if self.is_chief else bytes(len(padded))))
        return bytes(map(int, said)).decode().rstrip()

    def wait_for_all(self) -> None:
        """Wait until every process is here; Ctrl-C and SIGTERM end the wait."""
        if self.workers == 1:
            return
        # TensorFlow's own wait hears no signal: it is left to a thread.
        waiting = futures.ThreadPoolExecutor(1).submit(self.added_up, 0)
        while not futures.wait([waiting], timeout=1).done:
            pass
        # The chief comes last, with everything written: it misses nobody.
        if not self.is_chief:
            waiting.result()


ALONE = Distribution()


def make_distribution(kind: str = "none", replicas: int | None = None) -> Distribution:
    """Take the devices; to be called before TensorFlow does anything else.

    Args:
        kind: `none`, `mirrored` over the devices of this machine, or `multi-worker` with the
            processes that `TF_CONFIG` names.
        replicas: how many devices of this machine, for `mirrored`: GPUs, or, where there are none,
            parts of the processor. All GPUs where it is not given.

    Raises:
        ConvoyError: unknown kind, too few devices, `TF_CONFIG` missing or malformed, or the other
            processes do not start.
    """
    if kind not in KINDS:
        raise ConvoyError(f"unknown --distribute `{kind}`: {nearest(kind, KINDS)}")
    if replicas is not None and kind != "mirrored":
        raise ConvoyError(
            f"--replicas does not suit --distribute {kind}: expected it with `mirrored`, received "
            f"{replicas}; leave it out."
        )
    for gpu in tf.config.list_physical_devices("GPU"):
        # Others may work on it, too.
        tf.config.experimental.set_memory_growth(gpu, True)
    if kind == "mirrored":
        # TensorFlow would look for other machines there.
        os.environ.pop("TF_CONFIG", None)
        return Distribution(tf.distribute.MirroredStrategy(devices(replicas)))
    return multi_worker() if kind == "multi-worker" else ALONE


def devices(replicas: int | None) -> list[str]:
    """The names of this machine's GPUs, or of parts of its processor.

    Raises:
        ConvoyError: there are fewer.
    """
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus and replicas:
        parts = [tf.config.LogicalDeviceConfiguration() for _ in range(replicas)]
        processor, *_ = tf.config.list_physical_devices("CPU")
        tf.config.set_logical_device_configuration(processor, parts)
        return [f"/cpu:{index}" for index in range(replicas)]
    wanted = replicas or max(len(gpus), 1)
    if len(gpus) < wanted:
        remedy = (
            f"give --replicas {len(gpus)} at most"
            if gpus
            else "give --replicas to divide the processor"
        )
        raise ConvoyError(
            f"too few GPUs for --distribute mirrored: expected {wanted} or more, received "
            f"{len(gpus)}; {remedy}, or leave --distribute out."
        )
    return [f"/gpu:{index}" for index in range(wanted)]


def multi_worker() -> Distribution:
    """Join the processes of `TF_CONFIG`.

    Raises:
        ConvoyError: it is missing or malformed, or the others do not start.
    """
    workers, index = read_cluster(os.environ.get("TF_CONFIG", ""))
    watch_over(workers)
    options = tf.distribute.experimental.CommunicationOptions(timeout_seconds=SECONDS_TO_ADD)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy(communication_options=options)
    except tf.errors.OpError as error:
        raise ConvoyError(
            f"the workers did not come together: expected {len(workers)} within "
            f"{SECONDS_TO_START} s, received `{first_line(error)}`; start one process for each "
            "address in TF_CONFIG."
        ) from error
    return Distribution(strategy, index, len(workers))


def read_cluster(text: str) -> tuple[list[str], int]:
    """The addresses of all workers in `TF_CONFIG`, and which of them this process is.

    Raises:
        ConvoyError: it is missing or malformed.
    """
    try:
        content = json.loads(text)
        workers, task = content["cluster"]["worker"], content["task"]
        index = int(task["index"])
        if not (all(":" in each for each in workers) and 0 <= index < len(workers)):
            raise ValueError(f"worker {index} of {workers}")
        if task["type"] != "worker" or list(content["cluster"]) != ["worker"]:
            raise ValueError("other tasks than workers")
    except (ValueError, KeyError, TypeError) as error:
        raise ConvoyError(
            f"--distribute multi-worker needs TF_CONFIG in the environment: expected such as "
            f"`{EXAMPLE}`, received {f'`{text}` ({error!r})' if text else 'none'}; set it, or "
            "start local workers by `convoy launch`."
        ) from error
    return workers, index


def watch_over(workers: list[str]) -> None:
    """Have TensorFlow notice within bounds when a worker does not start, or falls silent."""
    # Its public face takes none of these, and its defaults wait for an hour.
    from tensorflow.compiler.xla.tsl.protobuf import coordination_config_pb2
    from tensorflow.python.eager import context

    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader="/job:worker/replica:0/task:0",
        cluster_register_timeout_in_ms=SECONDS_TO_START * 1000,
        heartbeat_timeout_in_ms=SECONDS_WITHOUT_A_SIGN * 1000,
        coordinated_jobs=[
            coordination_config_pb2.CoordinatedJob(name="worker", num_tasks=len(workers))
        ],
    )


@contextlib.contextmanager
def failures_named(distribution: Distribution, folder: Path | str = "RUN") -> Iterator[None]:
    """Turn what TensorFlow says of devices that fail into one sentence.

    Raises:
        ConvoyError: another worker is gone, or a device has no memory left.
    """
    try:
        yield
    except tf.errors.ResourceExhaustedError as error:
        raise ConvoyError(
            f"a device has no memory left: expected room for a batch and the network, received "
            f"`{first_line(error)}`; lower --data.batch-size, or the network's width."
        ) from error
    except tf.errors.OpError as error:
        if distribution.workers == 1 or isinstance(error, OWN_FAILURES):
            raise
        raise ConvoyError(
            f"worker {distribution.worker} lost another one: expected {distribution.workers} "
            f"workers at work, received `{first_line(error)}`; go on with "
            f"`convoy train --resume {folder}`, with any number of workers."
        ) from error


def first_line(error: tf.errors.OpError) -> str:
    """What went wrong, without where in the graph."""
    lines = [line for line in error.message.splitlines() if line.strip()]
    said = [line for line in lines if "abort" in line.lower() or "timeout" in line.lower()]
    return (said or lines or [type(error).__name__])[0].strip()


def require_same_training(distribution: Distribution, identity: dict[str, Any]) -> None:
    """Refuse to train with workers that would not do the same.

    Args:
        distribution: the devices.
        identity: of what this worker would train, as plain values for JSON.

    Raises:
        ConvoyError: the chief would train something else.
    """
    if distribution.workers == 1:
        return
    of_chief = json.loads(distribution.text_of_chief(json.dumps(identity)))
    if changed := differences(of_chief, json.loads(json.dumps(identity))):
        raise ConvoyError(
            f"worker {distribution.worker} would not train what the chief trains: expected the "
            f"same recipe, images and precision, received others: {changed}; give all workers the "
            "same flags and data, and the precision by its name."
        )


def require_same_step(distribution: Distribution, step: int, folder: Path) -> None:
    """Refuse to go on where workers stand at different steps.

    Raises:
        ConvoyError: another worker found another checkpoint.
    """
    if distribution.added_up(step)[0] != distribution.workers * step:
        raise ConvoyError(
            f"the workers found different checkpoints in {folder}: expected the same for all, "
            f"received step {step} here; let all of them see one shared folder."
        )
