"""The gate: does what a route scored let its file ship?"""

from pipeline.recipe import Gate as Limits
from serving.bundle import Evidence, Gate, Route

# Routes whose weights or activations are integers: they may lose a little accuracy, not just
# rounding.
QUANTIZED = ("tflite-dynamic", "tflite-int8", "tflite-int16x8", "tflite-micro")


def judge(route: Route, evidence: Evidence, reference_accuracy: float, limits: Limits) -> Gate:
    """Hold a route's evidence against the recipe's limits.

    Args:
        route: its name decides which limits apply; its files are weighed.
        evidence: what it scored.
        reference_accuracy: of the trained network on the same images, 0-1.
        limits: of the recipe.

    Returns:
        Passed, or every reason why not.
    """
    reasons = []
    if route.route in QUANTIZED:
        lost = reference_accuracy - evidence.accuracy
        # Accuracies are whole images over a count; the margin absorbs the division's rounding.
        if lost > limits.max_quantized_loss + 1e-9:
            reasons.append(
                f"loses {points(lost)} of accuracy, {points(limits.max_quantized_loss)} allowed"
            )
    else:
        agreements = {"": evidence.agreement, **evidence.signatures}
        for signature, agreement in agreements.items():
            if agreement < limits.min_float_agreement - 1e-9:
                through = f" through `{signature}`" if signature else ""
                reasons.append(
                    f"agrees with the trained network on {agreement:.2%} of images{through}, "
                    f"{limits.min_float_agreement:.2%} needed"
                )
    if (
        limits.max_class_drop is not None
        and evidence.worst_class_drop > limits.max_class_drop + 1e-9
    ):
        reasons.append(
            f"class `{evidence.worst_class}` loses {points(evidence.worst_class_drop)}, "
            f"{points(limits.max_class_drop)} allowed"
        )
    if limits.max_bytes is not None and route.bytes > limits.max_bytes:
        reasons.append(f"takes {route.bytes:,} bytes, {limits.max_bytes:,} allowed")
    arena = evidence.arena_bytes
    if limits.max_arena_bytes is not None and (arena or 0) > limits.max_arena_bytes:
        reasons.append(
            f"needs {arena:,} bytes of memory beside the file, {limits.max_arena_bytes:,} allowed"
        )
    if limits.max_latency_ms is not None and evidence.latency_p50_ms > limits.max_latency_ms:
        reasons.append(
            f"takes {evidence.latency_p50_ms:.3g} ms an image, "
            f"{limits.max_latency_ms:.3g} ms allowed"
        )
    return Gate(not reasons, tuple(reasons))


def points(fraction: float) -> str:
    """A difference of accuracies in percentage points."""
    return f"{100 * fraction:.2f} points"
