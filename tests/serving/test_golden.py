"""A device can be held against what its files answered where they were proven."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from serving import edge, golden
from serving.bundle import file_entry, open_bundle
from serving.errors import ConvoyError, GateFailed
from serving.golden import Golden, read_golden, self_test
from serving.tflite import EdgeModel
from tests.serving.conftest import SHAPE

ROUTES = ("tflite-fp32", "tflite-int8")


@pytest.fixture
def proven(bundle):
    """A bundle with golden images, answered by its own files."""
    images = np.random.default_rng(3).integers(0, 256, (10, *SHAPE), np.uint8)
    answers = {
        route: np.stack([EdgeModel(bundle.checked(route)).probabilities(image) for image in images])
        for route in ROUTES
    }
    return with_golden(bundle, Golden(images, answers))


def with_golden(bundle, golden_images):
    """The bundle with these golden images."""
    golden_images.save(bundle.folder / golden.GOLDEN)
    return listed(bundle)


def listed(bundle):
    """The bundle, whose manifest names the golden file as it is now."""
    entry = file_entry(bundle.folder, golden.GOLDEN)
    changed = dataclasses.replace(bundle.manifest, golden=entry)
    (bundle.folder / "manifest.json").write_text(changed.to_json())
    return open_bundle(bundle.folder)


def shifted(bundle, route, by):
    """The bundle, one of whose golden probabilities was another where it was proven."""
    kept = read_golden(bundle)
    kept.answers[route][4, 1] += by
    return with_golden(bundle, kept)


@pytest.mark.parametrize("route", ROUTES)
def test_a_device_that_answers_as_it_should_passes(proven, route):
    result = self_test(edge.load(proven.folder, route), proven)
    assert (result.route, result.images, result.difference) == (route, 10, 0)


@pytest.mark.parametrize(
    ("route", "by", "passes"),
    [
        ("tflite-fp32", 0.0005, True),
        ("tflite-fp32", 0.002, False),
        ("tflite-int8", 0.015, True),
        ("tflite-int8", -0.03, False),
        ("tflite-fp32", np.nan, False),
    ],
)
def test_a_device_may_round_otherwise_and_no_more(proven, route, by, passes):
    bundle = shifted(proven, route, by)
    model = edge.load(bundle.folder, route)
    if passes:
        assert self_test(model, bundle).difference == pytest.approx(abs(by), rel=1e-3)
    else:
        with pytest.raises(GateFailed, match="answers otherwise than where it was proven"):
            self_test(model, bundle)


def test_the_command_tests_the_route_it_would_run(proven, capsys):
    assert edge.main([str(proven.folder), "--self-test"]) == 0
    assert capsys.readouterr().out.startswith("tflite-fp32 answers 10 golden images as it did")
    assert edge.main([str(proven.folder), "--self-test", "--route", "tflite-int8", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["route"] == "tflite-int8"


def test_a_file_inside_a_bundle_is_tested_with_it(proven, capsys):
    assert edge.main([str(proven.folder / "tflite/tiny.int8.tflite"), "--self-test"]) == 0
    assert capsys.readouterr().out.startswith("tflite-int8")


def test_a_test_that_fails_exits_with_3_and_answers_no_image(proven, photo, capsys):
    bundle = shifted(proven, "tflite-fp32", 0.1)
    assert edge.main([str(bundle.folder), str(photo), "--self-test"]) == 3
    said = capsys.readouterr()
    assert said.out == ""
    assert "update the runtime, or take another route" in said.err


def test_images_are_answered_after_a_test_that_passes(proven, photo, capsys):
    assert edge.main([str(proven.folder), str(photo), "--self-test"]) == 0
    first, heading, *_ = capsys.readouterr().out.splitlines()
    assert first.startswith("tflite-fp32 answers")
    assert heading.startswith("image")


@pytest.mark.parametrize("kind", ["none", "damaged", "missing", "another route"])
def test_without_golden_images_it_says_how_to_get_them(bundle, proven, kind, capsys):
    match kind:
        case "none":
            (proven.folder / "manifest.json").write_text(bundle.manifest.to_json())
        case "damaged":
            (proven.folder / golden.GOLDEN).write_bytes(b"PK")
        case "missing":
            (proven.folder / golden.GOLDEN).unlink()
        case "another route":
            kept = read_golden(proven)
            with_golden(proven, Golden(kept.images, {"tflite-int8": kept.answers["tflite-int8"]}))
    assert edge.main([str(proven.folder), "--self-test"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert any(remedy in said for remedy in ("run `convoy verify`", "copy the bundle again"))


def test_a_file_without_a_bundle_has_none(proven, tmp_path, capsys):
    alone = shutil.copy(proven.folder / "tflite/tiny.fp32.tflite", tmp_path / "alone.tflite")
    assert edge.main([str(alone), "--self-test"]) == 2
    assert "copy the whole bundle" in capsys.readouterr().err


def test_neither_an_image_nor_a_test_is_nothing_to_do(proven, capsys):
    with pytest.raises(SystemExit) as ended:
        edge.main([str(proven.folder)])
    assert ended.value.code == 2
    assert "expected an image at least, --self-test or --benchmark" in capsys.readouterr().err


def test_golden_images_hold_no_program(proven):
    objects = np.array([{"an": "object"}], dtype=object)
    with (proven.folder / golden.GOLDEN).open("wb") as stream:
        np.savez(stream, images=objects)
    with pytest.raises(ConvoyError, match="golden"):
        read_golden(listed(proven))
