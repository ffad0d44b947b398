"""Quiet about what native code says by the way, and where nobody listens."""

import contextlib
import os
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def muted() -> Iterator[None]:
    """Keep off the standard error stream what TFLite and TensorFlow write from C++.

    They remark on delegates, processors and missing GPUs, before any setting of
    theirs is heard.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    with open(os.devnull, "wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def hang_up() -> None:
    """Send the rest of stdout nowhere: the reader, `head` perhaps, has seen enough."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
