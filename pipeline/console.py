"""What people see while it runs: on stderr, on a terminal only, silent with `--quiet`."""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import rich.console
import rich.progress

console = rich.console.Console(stderr=True, highlight=False)
console.quiet = not console.is_terminal


@contextlib.contextmanager
def progress(task: str, total: int, done: int = 0) -> Iterator[Callable[..., None]]:
    """Show a bar with the time left; yields `advance(steps=1, note="")`.

    Example:

    >>> with progress("scoring", total=2) as advance:
    ...     advance()
    ...     advance(note="98.0%")
    """
    bar = rich.progress.Progress(
        rich.progress.TextColumn("{task.description:<22}"),
        rich.progress.BarColumn(bar_width=24),
        rich.progress.TextColumn("{task.percentage:>3.0f}%"),
        rich.progress.TimeRemainingColumn(compact=True, elapsed_when_finished=True),
        rich.progress.TextColumn("{task.fields[note]}"),
        console=console,
        disable=console.quiet,
    )
    with bar:
        task_id = bar.add_task(task, total=total, completed=done, note="")

        def advance(steps: int = 1, note: str | None = None) -> None:
            fields: dict[str, Any] = {} if note is None else {"note": note}
            bar.update(task_id, advance=steps, **fields)

        yield advance
