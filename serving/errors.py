"""The two ways Convoy says no, and the one sentence each carries."""

import difflib
from collections.abc import Iterable

# The exit code of what Ctrl-C or SIGTERM ended, as shells have it.
INTERRUPTED = 130


class ConvoyError(Exception):
    """Bad input: one sentence that says what, what was expected, what came, and the remedy."""

    exit_code = 2


class GateFailed(ConvoyError):
    """An exported file did not prove itself and may not ship."""

    exit_code = 3


def nearest(name: str, known: Iterable[str]) -> str:
    """Say which known names come closest to `name`, or list them when none does.

    Example:

    >>> nearest("fashon", ["fashion", "lenet"])
    'did you mean `fashion`?'
    """
    known = sorted(known)
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    if close:
        return f"did you mean `{close[0]}`?"
    listed = ", ".join(f"`{each}`" for each in known[:20])
    return f"choose one of {listed}" + (", ..." if len(known) > 20 else ".")
