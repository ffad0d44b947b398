"""The table of docs/support.md, made from the outcomes of the conformance tests.

A test marked `support("column")` fills that column for the row its fixture `row` names: `yes` when
it passes, in all its variants, and `no` with the reason where it recorded a refusal. Rows whose
every column ran must stand in the page as they came out, or the session fails. A row is a layer or
network in one form: the name, and what it was given after a comma.
"""

from pathlib import Path

from models.routes import refusals

PAGE = Path(__file__).parents[2] / "docs" / "support.md"
COLUMNS = ("train", ".keras", "SavedModel", "TFLite float32", "TFLite int8", "TFLite Micro", "JAX")
YES, FAILS = "yes", "fails"
INTRODUCTION = """\
# What ships where

Made from the outcomes of the conformance tests by `make support`, and held by them: each `yes` is
a test that trains, saves, converts or runs the layer or network and compares its numbers, each `no`
a test that it cannot be done, for the reason below the table.

- **train**: every weight and input of a layer gets a gradient, a network's loss falls; in bfloat16
  and float16, too, every gradient is finite.
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
        """Keep one outcome; a cell that several tests fill holds the worst."""
        assert column in COLUMNS, column
        if self.found.get((table, row, column)) != FAILS:
            self.found[table, row, column] = (refusal or YES) if passed else FAILS

    def rows(self):
        """Rows of which every column ran, in the tests' order."""
        rows = dict.fromkeys((table, row) for table, row, _ in self.found)
        return [row for row in rows if all((*row, column) in self.found for column in COLUMNS)]

    def lines(self, table, row):
        """The row's line of the table, and a line for each refusal."""
        cells = {column: self.found[table, row, column] for column in COLUMNS}
        shown = [cell if cell in (YES, FAILS) else "no" for cell in cells.values()]
        yield f"| {row} | {' | '.join(shown)} |"
        for column, cell in cells.items():
            if cell not in (YES, FAILS):
                yield f"- {row}, {column}: {cell}"

    def stale(self):
        """Lines of docs/support.md about these rows that it lacks, or holds and should not."""
        page = PAGE.read_text(encoding="utf-8").splitlines() if PAGE.exists() else []
        for row in self.rows():
            about = (f"| {row[1]} |", *(f"- {row[1]}, {column}:" for column in COLUMNS))
            yield from set(self.lines(*row)) ^ {line for line in page if line.startswith(about)}

    def page(self):
        """The whole page."""
        parts = [INTRODUCTION]
        for table in dict.fromkeys(table for table, _ in self.rows()):
            names = [row for found, row in self.rows() if found == table]
            lines = [line for name in names for line in self.lines(table, name)]
            rows = [line for line in lines if line.startswith("|")]
            reasons = [line for line in lines if line.startswith("-")]
            head = [f"| {table.rstrip('s')} | {' | '.join(COLUMNS)} |", "|---" * 8 + "|"]
            parts.append("\n".join([heading(table, names), "", *head, *rows]))
            parts.append("\n".join(reasons))
        return "\n\n".join(part.strip() for part in parts if part) + "\n"


def heading(table, rows):
    """Count the layers or networks, and their forms."""
    names = {row.partition(",")[0] for row in rows}
    return f"## {table}: {len(names)} in {len(rows)} forms"


def rows_of(page):
    """The names in the first column of each table, by the table's heading."""
    tables = {}
    for line in page.splitlines():
        if line.startswith("## "):
            rows = tables.setdefault(line, [])
        elif line.startswith("| ") and line.count("|") == len(COLUMNS) + 2:
            rows.append(line.split("|")[1].strip())
    return {head: names[1:] for head, names in tables.items()}


def refused(model, route, record_property):
    """Why a layer or network cannot ship on a route, told to the table; `None` where it can."""
    for _, reason in refusals(model)[route]:
        record_property("refusal", reason)
        return reason
    return None
