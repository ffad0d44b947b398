"""The last words of a search: its best trials, and what to type next."""

import json
from typing import Any

import rich.box
import rich.table

from pipeline.summary import render
from pipeline.tuning.folder import Sweep
from pipeline.tuning.outcomes import short

SHOWN = 5


def summary(sweep: Sweep) -> str:
    """The best trials of a sweep that has ended, how many there were, and what to type next."""
    content: dict[str, Any] = json.loads(sweep.sweep_json.read_text("utf-8"))
    trials: list[dict[str, Any]] = content["trials"]
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("trial", justify="right")
    table.add_column("validation", justify="right")
    table.add_column("epochs", justify="right")
    for name in trials[0]["values"]:
        table.add_column(name.rpartition(".")[2].replace("_", " "), justify="right")
    for trial in [each for each in trials if each["score"] is not None][:SHOWN]:
        values = [short(each) for each in trial["values"].values()]
        table.add_row(trial["trial"], f"{trial['score']:.2%}", str(trial["epochs"]), *values)
    fates = [each["fate"] for each in trials] + ["refused"] * len(content["never_begun"])
    counts = [
        f"{fates.count(fate)} {fate}"
        for fate in ("completed", "pruned", "refused", "failed")
        if fate in fates
    ]
    return (
        f"{len(fates)} trials: {', '.join(counts)}\n\n{render(table)}\n"
        f"sweep    {sweep.folder}\n"
        f"train it convoy train {sweep.best}"
    )
