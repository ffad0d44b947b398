"""The last words of a verb: tables that fit a terminal."""

import rich.box
import rich.console
import rich.table

from pipeline.data.splits import Splits
from pipeline.export.page import optional, size
from pipeline.export.rounding import Diagnosis
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


def diagnosis_page(found: Diagnosis, run: Run) -> str:
    """What int8 costs each layer, and what to type next."""
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for heading in ("range", "squared error", "own dB", "answers dB"):
        table.add_column(heading, justify="right")
    for noise in found.noises:
        ends = f"{noise.low:.3g} to {noise.high:.3g}"
        figures = (f"{noise.error:.2g}", f"{noise.own:.1f}", f"{noise.answer:.1f}")
        table.add_row(noise.layer, ends, *figures)
    worst = found.noises[0].layer
    return (
        f"{render(table)}\n"
        "own, answers: signal over the noise that a layer's rounding alone brings, in its own\n"
        "values and in the network's answers; 6 dB less is noise twice as large.\n\n"
        f"of {found.images:,} validation images, answered rightly in floats "
        f"{found.float_accuracy:.2%}, in int8 {found.int8_accuracy:.2%},\n"
        f"and with `{worst}` left to floats {found.kept_accuracy:.2%}\n\n"
        f"plot     {run.rounding / 'layers.png'}\n"
        f"try it   convoy export {run.folder} --export.keep-float {worst}"
    )


def calibration_page(accuracies: dict[int, list[float]], run: Run) -> str:
    """What int8 scores for numbers of calibration images."""
    table = rich.table.Table(box=rich.box.SIMPLE_HEAD, pad_edge=False)
    for heading in ("calibration images", "worst draw", "mean", "best draw"):
        table.add_column(heading, justify="right")
    for count, found in accuracies.items():
        mean = sum(found) / len(found)
        table.add_row(f"{count:,}", *(f"{each:.2%}" for each in (min(found), mean, max(found))))
    return (
        f"{render(table)}\n"
        "accuracy in int8 on validation images\n\n"
        f"plot     {run.rounding / 'calibration.png'}"
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
