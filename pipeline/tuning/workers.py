"""Several processes that run trials of one search, by KerasTuner's own protocol.

The chief has the oracle and all files but those of trials; workers ask it what to train. A worker
that was killed is begun again, and goes on with its trial.
"""

import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass
from typing import IO, Any

import grpc
from keras_tuner.src import protos
from keras_tuner.src.distribute.oracle_chief import OracleServicer

from pipeline.launch import end, interrupt_held_back, keep_to, kill, looks, share_of_cores
from pipeline.tuning.oracles import SweepOracle
from serving.errors import ConvoyError

# A worker that ends so often, while no trial does, would do so for ever.
MOST_DEATHS = 3
SECONDS_BETWEEN_LOOKS = 0.5


class Servicer(OracleServicer):
    """Answers workers, and keeps what the oracle says to the user."""

    def __init__(self, oracle: SweepOracle):
        super().__init__(oracle)
        self.failure: ConvoyError | None = None

    def CreateTrial(self, request, context):  # noqa: N802 - the protocol's name.
        """Propose a trial."""
        with self.told(context):
            return super().CreateTrial(request, context)

    def EndTrial(self, request, context):  # noqa: N802 - the protocol's name.
        """Hear how a trial went."""
        with self.told(context):
            return super().EndTrial(request, context)

    @contextlib.contextmanager
    def told(self, context: Any) -> Iterator[None]:
        """Keep a sentence for the user, who does not see what workers say."""
        try:
            yield
        except ConvoyError as error:
            self.failure = error
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, str(error))


@dataclass
class Worker:
    """A process that runs trials; what `launch` knows to end."""

    name: str
    process: subprocess.Popen[bytes]
    said: IO[bytes]
    deaths: int = 0

    @property
    def last_words(self) -> str:
        """The last line it wrote on stderr."""
        self.said.seek(0)
        lines = self.said.read().decode(errors="replace").strip().splitlines()
        return lines[-1].removeprefix("convoy: ") if lines else ""


def search_by(count: int, folder: str, oracle: SweepOracle) -> None:
    """Have workers run the trials of a search until it ends.

    Args:
        count: of workers.
        folder: of the sweep.
        oracle: proposes the trials.

    Raises:
        ConvoyError: a worker ends again and again, or the oracle gives up.
    """
    # One call at a time: oracles are not made for more.
    server = grpc.server(futures.ThreadPoolExecutor(max_workers=1))
    servicer = Servicer(oracle)
    protos.get_service_grpc().add_OracleServicer_to_server(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    workers: list[Any] = []
    with contextlib.ExitStack() as files:
        files.callback(server.stop, None)
        files.callback(kill, workers)

        def begin(index: int) -> Worker:
            return start(index, count, folder, port, files)

        try:
            with interrupt_held_back():
                workers += [begin(index) for index in range(count)]
            watch(workers, begin, oracle, servicer)
        except KeyboardInterrupt:
            end(workers)
            raise


def watch(workers: list[Worker], begin: Any, oracle: SweepOracle, servicer: Servicer) -> None:
    """Wait for workers to end well, and begin those again that do not.

    Raises:
        ConvoyError: one ends again and again, or the oracle gives up.
    """
    ended = len(oracle.end_order)
    for _ in looks():
        if servicer.failure:
            raise servicer.failure
        if len(oracle.end_order) > ended:
            ended = len(oracle.end_order)
            for worker in workers:
                worker.deaths = 0
        codes = [worker.process.poll() for worker in workers]
        if not any(code is None or code for code in codes):
            return
        for index, (worker, code) in enumerate(zip(workers, codes, strict=True)):
            if not code:
                continue
            if worker.deaths + 1 >= MOST_DEATHS:
                raise ConvoyError(
                    f"{worker.name} ended {MOST_DEATHS} times with code {code}: expected trials "
                    f"that end, received `{worker.last_words}`; mend that, or search without "
                    "--workers."
                )
            again = begin(index)
            again.deaths = worker.deaths + 1
            workers[index] = again


def start(index: int, count: int, folder: str, port: int, files: contextlib.ExitStack) -> Worker:
    """Start one worker, on its share of the cores."""
    said = tempfile.TemporaryFile()  # noqa: SIM115
    files.enter_context(said)
    name = f"worker-{index}"
    address = {
        "KERASTUNER_TUNER_ID": name,
        "KERASTUNER_ORACLE_IP": "127.0.0.1",
        "KERASTUNER_ORACLE_PORT": str(port),
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", "tune", "--worker", folder, "--quiet"],
        env={**os.environ, **address},
        stdout=subprocess.DEVNULL,
        stderr=said,
        # Ctrl-C comes from here, once.
        start_new_session=True,
    )
    with contextlib.suppress(ProcessLookupError):
        keep_to(share_of_cores(index, count), process.pid)
    return Worker(name, process, said)


def end_with_parent() -> None:
    """End this process when the one that started it is gone: nobody hears of its trials then."""
    parent = os.getppid()

    def watch_parent() -> None:
        while os.getppid() == parent:
            time.sleep(SECONDS_BETWEEN_LOOKS)
        os._exit(1)

    threading.Thread(target=watch_parent, daemon=True).start()
