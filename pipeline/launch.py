"""Several processes of this machine that train together: a cluster to try things on.

    convoy launch --workers 2 train fashion

Each is a `convoy train --distribute multi-worker` with its share of the cores. The first one, the
chief, speaks; what the others say is shown where they are the ones that fail.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import IO

from pipeline.console import console
from serving.errors import INTERRUPTED

# After one failed, the others may say by themselves what they miss; then they are told to end.
SECONDS_TO_FOLLOW, SECONDS_TO_END = 60, 30
SECONDS_BETWEEN_LOOKS = 0.1


@dataclass(frozen=True)
class Worker:
    """A process that trains, its number, and what it said on stderr if it is not the chief."""

    index: int
    process: subprocess.Popen[bytes]
    said: IO[bytes] | None

    @property
    def failure(self) -> str | None:
        """How it ended, where it did not end well."""
        code = self.process.poll()
        if not code:
            return None
        return f"code {code}" if code > 0 else f"signal {signal.Signals(-code).name}"

    @property
    def last_words(self) -> str:
        """The last line it wrote on stderr."""
        if self.said is None:
            return ""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("convoy: ") if lines else ""


def run_workers(count: int, args: Sequence[str]) -> int:
    """Start workers on this machine, and wait for them.

    Args:
        count: how many.
        args: of `convoy` for each of them, from `train` on.

    Returns:
        0 where all ended well, else the code of the chief; where that one was killed 1, or 130
        where all were told to end.
    """
    workers: list[Worker] = []
    killed = 1
    with contextlib.ExitStack() as files:
        # Whatever ends this process, but a SIGKILL, none of them outlives it.
        files.callback(kill, workers)
        try:
            with interrupt_held_back():
                for index, config in enumerate(configs(count)):
                    workers.append(start(index, config, args, files))
            if failed := wait(workers):
                follow(workers)
                print(blame(failed), file=sys.stderr)
        except KeyboardInterrupt:
            killed = INTERRUPTED
            end(workers)
        codes = [worker.process.wait() for worker in workers]
    # Of a signal the number is negative.
    return codes[0] if codes[0] > 0 else killed * any(codes)


@contextlib.contextmanager
def interrupt_held_back() -> Iterator[None]:
    """Raise KeyboardInterrupt at the end, if there was reason to: so all that began is known."""
    told: list[int] = []
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: told.append(1)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
    if told:
        raise KeyboardInterrupt


def configs(count: int) -> list[str]:
    """The `TF_CONFIG` of each worker, on ports that are free now."""
    with contextlib.ExitStack() as sockets:
        bound = [sockets.enter_context(socket.socket()) for _ in range(count)]
        for each in bound:
            each.bind(("127.0.0.1", 0))
        addresses = [f"127.0.0.1:{each.getsockname()[1]}" for each in bound]
    return [
        json.dumps({"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}})
        for index in range(count)
    ]


def start(index: int, config: str, args: Sequence[str], files: contextlib.ExitStack) -> Worker:
    """Start one worker."""
    said = tempfile.TemporaryFile() if index else None  # noqa: SIM115
    if said:
        files.enter_context(said)
    quiet = ["--quiet"] if console.quiet else []
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *args, "--distribute", "multi-worker", *quiet],
        env={**os.environ, "TF_CONFIG": config},
        stdout=subprocess.DEVNULL if index else None,
        stderr=said,
        # Ctrl-C comes from here, once.
        start_new_session=True,
    )
    count = len(json.loads(config)["cluster"]["worker"])
    with contextlib.suppress(ProcessLookupError):
        keep_to(share_of_cores(index, count), process.pid)
    return Worker(index, process, said)


def share_of_cores(index: int, count: int) -> list[int]:
    """The cores of one of `count` workers: all are divided, or shared where they are too few."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    share = cores[index * len(cores) // count : (index + 1) * len(cores) // count]
    return share or cores[index % len(cores) :][:1] if cores else []


def count_cores() -> int:
    """How many cores this process may use."""
    return len(share_of_cores(0, 1)) or os.cpu_count() or 1


def keep_to(cores: Sequence[int], process: int) -> None:
    """Run a process on these cores alone: all its libraries then start as many threads."""
    if cores:
        os.sched_setaffinity(process, cores)


def wait(workers: Sequence[Worker]) -> Worker | None:
    """Wait until all ended, or one failed; that one."""
    for _ in looks():
        failed = [worker for worker in workers if worker.failure]
        if failed:
            return failed[0]
        if all(worker.process.poll() is not None for worker in workers):
            break
    return None


def looks(seconds: float = float("inf")) -> Iterator[None]:
    """Come round now and then, for so long."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        yield
        time.sleep(SECONDS_BETWEEN_LOOKS)


def follow(workers: Sequence[Worker]) -> None:
    """Let the others end by themselves, or else end them."""
    for _ in looks(SECONDS_TO_FOLLOW):
        if all(worker.process.poll() is not None for worker in workers):
            return
    end(workers)


def end(workers: Sequence[Worker]) -> None:
    """Have all workers stop at the same step and keep it; kill who does not."""
    for worker in workers:
        worker.process.terminate()
    for _ in looks(SECONDS_TO_END):
        if all(worker.process.poll() is not None for worker in workers):
            return
    kill(workers)


def kill(workers: Sequence[Worker]) -> None:
    """End what still runs, at once."""
    for worker in workers:
        worker.process.kill()
    for worker in workers:
        worker.process.wait()


def blame(worker: Worker) -> str:
    """Who failed first, and what it said."""
    words = worker.last_words
    return (
        f"convoy: worker {worker.index} ended with {worker.failure}{': ' if words else '.'}{words}"
    )
