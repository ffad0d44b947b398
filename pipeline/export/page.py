"""`verify.md`: the evidence as a page people read."""

from pipeline.export.gate import points
from pipeline.recipe import Gate as Limits
from serving.bundle import Evidence, Manifest, Route


def verify_page(manifest: Manifest, accuracy: float, images: int, limits: Limits) -> str:
    """Render the verdict, one row per route, and how to read it."""
    failed = manifest.held_back
    verdict = (
        f"**{len(failed)} of {len(manifest.routes)} routes may not ship.**"
        if failed
        else "**Every route may ship.**"
    )
    lines = [
        f"# {manifest.name}, version {manifest.version}",
        "",
        f"{verdict} The trained network answers {accuracy:.2%} of {images:,} test images rightly; "
        "each exported file was run on all of them.",
        "",
        required(limits),
        "",
        *left_to_floats(manifest),
        "| Route | Gate | Accuracy (95%) | Agrees | Differs | Worst class | Size | p50 | p99 | "
        "Images/s |",
        "|---|---|--:|--:|--:|---|--:|--:|--:|--:|",
        *[row(route) for route in manifest.routes],
        "",
        *[
            f"- `{route.route}` may not ship: {reason}."
            for route in failed
            for reason in route.reasons
        ],
        *([""] if failed else []),
        "*Agrees*: share of images on which the file chooses the class the trained network "
        "chooses; for the SavedModel the lowest of its signatures. *Accuracy*: in brackets where "
        "it lies on other images of this kind, at 95% confidence. *Differs*: probabilities from "
        "those of the trained network, in the mean and at most. *Worst class*: the one that "
        "loses most accuracy against the trained network, in percentage points. *p50*, *p99*: "
        "milliseconds for one image on the machine that ran the proof, all "
        "but the SavedModel on one thread. *Images/s*: on all cores, the SavedModel in batches, "
        "other files image by image with a model on each core.",
        "",
    ]
    return "\n".join(lines)


def required(limits: Limits) -> str:
    """What the gate asked for."""
    asked = [
        f"files that compute in floats agree with it on {limits.min_float_agreement:.2%} of images",
        f"files with integers lose at most {points(limits.max_quantized_loss)} of accuracy",
    ]
    if limits.max_class_drop is not None:
        asked.append(f"no class loses more than {points(limits.max_class_drop)}")
    if limits.max_bytes is not None:
        asked.append(f"no file exceeds {size(limits.max_bytes)}")
    if limits.max_arena_bytes is not None:
        asked.append(f"no microcontroller needs more than {size(limits.max_arena_bytes)} of memory")
    if limits.max_latency_ms is not None:
        asked.append(f"no image takes longer than {limits.max_latency_ms:.3g} ms")
    return f"Asked for: {'; '.join(asked)}."


def left_to_floats(manifest: Manifest) -> list[str]:
    """Which layers the int8 file does not round, if any."""
    layers = manifest.export.get("keep_float", ())
    if not layers:
        return []
    return [f"The int8 file leaves to floats: {', '.join(f'`{each}`' for each in layers)}.", ""]


def row(route: Route) -> str:
    """One route of the table."""
    evidence = route.evidence
    if evidence is None or route.gate is None:
        return f"| {route.route} | not run | | | | | {size(route.bytes)} | | | |"
    agrees = min([evidence.agreement, *evidence.signatures.values()])
    cells = [
        route.route,
        "pass" if route.gate.passed else "**FAIL**",
        f"{evidence.accuracy:.2%} ({interval(evidence)})",
        f"{agrees:.2%}",
        differs(evidence),
        worst_class(evidence),
        size(route.bytes) + arena(evidence),
        f"{evidence.latency_p50_ms:.2f}",
        f"{evidence.latency_p99_ms:.2f}",
        optional(evidence.images_per_second, ",.0f"),
    ]
    return f"| {' | '.join(cells)} |"


def interval(evidence: Evidence) -> str:
    """From where to where the accuracy lies, in percent."""
    low, high = evidence.accuracy_interval
    return f"{100 * low:.1f}-{100 * high:.1f}"


def differs(evidence: Evidence) -> str:
    """How far probabilities lie from the trained network's: the mean, and the most."""
    figures = (evidence.mean_difference, evidence.largest_difference)
    return ", ".join(f"{figure:.2g}" for figure in figures if figure is not None)


def arena(evidence: Evidence) -> str:
    """What a microcontroller needs beside the file."""
    return "" if evidence.arena_bytes is None else f" + {size(evidence.arena_bytes)} memory"


def worst_class(evidence: Evidence) -> str:
    """The class that loses most and by how much, or that none loses."""
    if evidence.worst_class_drop <= 0:
        return "none loses"
    return f"{evidence.worst_class} -{100 * evidence.worst_class_drop:.1f}"


def optional(figure: float | None, form: str) -> str:
    """A figure that older bundles do not tell."""
    return "" if figure is None else format(figure, form)


def size(count: int) -> str:
    """Bytes for people: powers of ten, as disks are sold."""
    return f"{count / 1e6:.2f} MB" if count >= 1e6 else f"{count / 1e3:.1f} kB"
