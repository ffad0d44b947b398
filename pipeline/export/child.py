"""A process of its own for each conversion: converters leak memory, abort and hang."""

import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path


class ChildFailed(Exception):
    """The child did not end well: how, in a few words, and all that it said."""

    def __init__(self, how: str, said: str = "") -> None:
        super().__init__(how)
        self.said = said


def run_child(module: str, arguments: Sequence[str], seconds: float) -> None:
    """Run `python -m module arguments...` and wait for its end.

    Args:
        module: of this project, wherever the user stands.
        arguments: paths among them absolute.
        seconds: after which it is ended.

    Raises:
        ChildFailed: it failed, crashed or took too long.
    """
    try:
        child = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            # Where this very package lies: Python looks into the working folder first.
            cwd=Path(__file__).parents[2],
            capture_output=True,
            text=True,
            timeout=seconds,
        )
    except subprocess.TimeoutExpired:
        raise ChildFailed(f"no end within {seconds:g} s") from None
    if child.returncode < 0:
        raise ChildFailed(f"a crash (signal {-child.returncode})", child.stderr)
    if child.returncode > 0:
        raise ChildFailed(f"`{last_words(child.stderr)}`", child.stderr)


def last_words(said: str) -> str:
    """The line that names the error: Python's own, or the last one."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    errors = [line for line in lines if re.match(r"[\w.]+(Error|Exception)\b", line)]
    return (errors or lines or ["nothing"])[-1][:300]
