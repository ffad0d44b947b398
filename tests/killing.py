"""Processes of the command line that tests start, and end in every way."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
# A crash in native code says where.
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONFAULTHANDLER": "1"}
STARTED = []


@pytest.fixture(autouse=True)
def none_stays():
    """End what a test that failed has left at work."""
    yield
    for process in STARTED:
        if process.poll() is None:
            end(process)
    STARTED.clear()


def start(*args, **options):
    process = subprocess.Popen(
        [sys.executable, "-m", "pipeline.cli", *args],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell in the background passes on that Ctrl-C is to be ignored.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        **options,
    )
    STARTED.append(process)
    return process


def wait_until(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def end(process):
    """Kill a process, and wait until it is gone."""
    process.kill()
    process.communicate()
