"""The last words of a verb: tables that fit a terminal."""

import rich.box
import rich.console
import rich.table

from pipeline.data.splits import Splits
from pipeline.export.page import optional, size
from pipeline.recipe import Data
from pipeline.run import Run
from serving.bundle import Route, open_bundle


def summary(run: Run) -> str:
    """What a finished run scored, route by route, and what to type next."""
    metrics, bundle = run.metrics, open_bundle(run.bundle)
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("route")
    table.add_column("gate")
    for heading in ("accuracy", "agrees", "differs", "size", "p50 ms"):
        table.add_column(heading, justify="right")
    for route in bundle.manifest.routes:
        table.add_row(*cells(route))
    return (
        f"test accuracy {metrics['test_accuracy']:.2%} on {metrics['test_images']:,} images, "
        f"trained in {metrics['training_seconds']:.0f} s"
        f"{' (the average of its weights)' * metrics.get('best_is_average', False)}"
        f"\n\n{render(table)}\n"
        f"bundle   {run.bundle}\n"
        f"try it   convoy predict {run.bundle} IMAGE"
    )


def cells(route: Route) -> tuple[str, ...]:
    """One route of the table."""
    if route.evidence is None or route.gate is None:
        return (route.route, "not run", "", "", "", size(route.bytes), "")
    return (
        route.route,
        "pass" if route.gate.passed else "FAIL",
        f"{route.evidence.accuracy:.2%}",
        f"{route.evidence.agreement:.2%}",
        optional(route.evidence.largest_difference, ".2g"),
        size(route.bytes),
        f"{route.evidence.latency_p50_ms:.2f}",
    )


def data_summary(data: Data, splits: Splits) -> str:
    """What a data set holds."""
    height, width, channels = splits.image_shape
    counts = ", ".join(
        f"{len(getattr(splits, name)):,} {name}" for name in ("train", "validation", "test")
    )
    return (
        f"{data.source}: {height}x{width}x{channels}, {len(splits.labels)} classes, {counts}\n"
        f"classes: {', '.join(splits.labels)}"
    )


def render(table: rich.table.Table) -> str:
    """A table as plain text."""
    console = rich.console.Console(width=80)
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())
