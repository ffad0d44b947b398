"""The table of docs/support.md, made from the outcomes of the conformance tests.

A test marked `support("column")` fills that column for the row its fixture `row` names: `yes` when
it passes, `no` with the reason where it recorded a refusal. Rows whose every column ran must stand
in the page as they came out, or the session fails.
"""

from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
COLUMNS = ("train", ".keras", "SavedModel", "TFLite float32", "TFLite int8", "TFLite Micro", "JAX")
INTRODUCTION = """\
# What ships where

Made from the outcomes of the conformance tests by `pytest tests/models --write-support`, and held
by them: each `yes` is a test that trains, saves, converts or runs the layer or network and compares
its numbers, each `no` a test that it is refused, for the reason below the table.

- **train**: every weight and input gets a gradient; a network's loss falls. Also in bfloat16 and
  float16.
- **.keras**, **SavedModel**, **TFLite float32**: the reloaded or converted file gives the same
  numbers.
- **TFLite int8**: every operation on integers, near the float numbers.
- **TFLite Micro**: the int8 file runs in the runtime of microcontrollers, with the same numbers.
- **JAX**: the same numbers under `KERAS_BACKEND=jax`.
"""


class Support:
    """What the tests of this session found: `(table, row, column)` to `yes` or a reason."""

    def __init__(self):
        self.found = {}

    def record(self, table, row, column, passed, refusal=None):
        """Keep one outcome."""
        assert column in COLUMNS, column
        self.found[table, row, column] = (refusal or "yes") if passed else "fails"

    def rows(self):
        """Rows of which every column ran, in the tests' order."""
        rows = dict.fromkeys((table, row) for table, row, _ in self.found)
        return [row for row in rows if all((*row, column) in self.found for column in COLUMNS)]

    def lines(self, table, row):
        """The row's line of the table, and a line for each refusal."""
        cells = {column: self.found[table, row, column] for column in COLUMNS}
        shown = [cell if cell in ("yes", "fails") else "no" for cell in cells.values()]
        yield f"| {row} | {' | '.join(shown)} |"
        for column, cell in cells.items():
            if cell not in ("yes", "fails"):
                yield f"- {row}, {column}: {cell}"

    def stale(self):
        """Lines that docs/support.md should hold and does not."""
        page = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
        return [line for row in self.rows() for line in self.lines(*row) if line not in page]

    def page(self):
        """The whole page."""
        parts = [INTRODUCTION]
        for table in dict.fromkeys(table for table, _ in self.rows()):
            lines = [line for row in self.rows() if row[0] == table for line in self.lines(*row)]
            rows = [line for line in lines if line.startswith("|")]
            reasons = [line for line in lines if line.startswith("-")]
            head = [f"| {table.rstrip('s')} | {' | '.join(COLUMNS)} |", "|---" * 8 + "|"]
            parts.append("\n".join([f"## {table} ({len(rows)})", "", *head, *rows]))
            parts.append("\n".join(reasons))
        return "\n\n".join(part.strip() for part in parts if part) + "\n"
