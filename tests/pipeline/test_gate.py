"""The gate at its limits."""

import dataclasses

import pytest

from pipeline.export.gate import judge
from pipeline.recipe import Gate as Limits
from serving.bundle import Evidence, File, Route

EVIDENCE = Evidence(
    images=10_000,
    accuracy=0.94,
    agreement=1.0,
    worst_class="Shirt",
    worst_class_drop=0.0,
    latency_p50_ms=0.5,
    latency_p99_ms=0.9,
)


def verdict(route, limits=None, reference_accuracy=0.94, **scored):
    described = Route(route, "file", (File("a", "", 600), File("b", "", 400)))
    evidence = dataclasses.replace(EVIDENCE, **scored)
    return judge(described, evidence, reference_accuracy, limits or Limits())


def test_a_float_route_may_disagree_on_one_image_in_a_thousand_and_no_more():
    assert verdict("tflite-fp32", agreement=0.9990).passed
    assert not verdict("tflite-fp32", agreement=0.9989).passed


def test_an_integer_route_may_lose_half_a_point_and_no_more():
    assert verdict("tflite-int8", agreement=0.9, accuracy=0.9350).passed
    assert not verdict("tflite-int8", agreement=0.9, accuracy=0.9349).passed


def test_an_integer_route_may_gain():
    assert verdict("tflite-int8", accuracy=0.95).passed


@pytest.mark.parametrize("signature", ["serve_bytes", "classify"])
def test_each_signature_of_the_saved_model_must_agree(signature):
    gate = verdict("saved_model", signatures={signature: 0.5})
    assert not gate.passed
    assert signature in gate.reasons[0]


@pytest.mark.parametrize(
    ("limits", "word"),
    [
        (Limits(max_class_drop=0.01), "Shirt"),
        (Limits(max_bytes=999), "1,000 bytes"),
        (Limits(max_latency_ms=0.4), "ms"),
    ],
)
def test_a_limit_of_the_recipe_holds_a_file_back_and_says_why(limits, word):
    gate = verdict("tflite-fp32", limits, worst_class_drop=0.02)
    assert not gate.passed
    assert word in gate.reasons[0]


def test_a_microcontroller_has_so_much_memory_and_no_more():
    limits = Limits(max_arena_bytes=65_536)
    assert verdict("tflite-micro", limits, arena_bytes=65_536).passed
    assert (
        "65,537 bytes of memory" in verdict("tflite-micro", limits, arena_bytes=65_537).reasons[0]
    )
    # Other routes need none.
    assert verdict("tflite-int8", limits).passed


def test_limits_that_are_kept_let_pass():
    limits = Limits(max_class_drop=0.02, max_bytes=1000, max_latency_ms=0.5)
    assert verdict("tflite-fp32", limits, worst_class_drop=0.02).passed


def test_every_reason_is_named():
    gate = verdict("tflite-fp32", Limits(max_bytes=1), agreement=0.5)
    assert len(gate.reasons) == 2
