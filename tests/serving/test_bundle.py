"""A bundle says clearly what is wrong with it, and lets nothing unproven pass."""

import dataclasses
import json

import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from serving.bundle import SCHEMA, Evidence, File, Gate, Manifest, Route, open_bundle
from serving.errors import ConvoyError, GateFailed, nearest
from tests.serving.conftest import with_gate


def rewrite(bundle, **changes):
    """Change fields of the manifest's JSON behind the library's back; `None` removes one."""
    path = bundle.folder / "manifest.json"
    content = json.loads(path.read_text()) | changes
    path.write_text(json.dumps({key: value for key, value in content.items() if value is not None}))


def test_manifest_survives_the_disk(bundle):
    signatures, gate = {"classify": 1.0}, Gate(False, ("slow", "wrong"))
    evidence = Evidence(10000, 0.9, 0.99, "shirt", 0.01, 0.1, 0.2, signatures, 0.1, 0.2, 9.0, 64)
    route = Route("tflite-micro", "micro/x.c", (), evidence, gate, model_bytes=7)
    manifest = dataclasses.replace(
        bundle.manifest,
        routes=(*bundle.manifest.routes, route),
        export={"tflite": ["fp32"], "gate": {}},
        golden=File("golden.npz", "ab", 3),
    )
    assert Manifest.from_json(manifest.to_json(), "here") == manifest


def test_a_manifest_from_before_there_were_golden_images_is_read(bundle):
    evidence = Evidence(10, 0.9, 0.9, "bag", 0.0, 0.1, 0.2)
    route = dataclasses.replace(bundle.manifest.routes[0], evidence=evidence)
    older = dataclasses.replace(bundle.manifest, routes=(route,))
    content = json.loads(older.to_json())
    del content["golden"], content["export"], content["routes"][0]["model_bytes"]
    later = ("mean_difference", "largest_difference", "images_per_second", "arena_bytes")
    for name in later:
        del content["routes"][0]["evidence"][name]
    assert Manifest.from_json(json.dumps(content), "here") == older


@given(st.integers(1, 10**6), st.data())
def test_the_interval_of_an_accuracy_is_wilsons(images, data):
    right = data.draw(st.integers(0, images))
    evidence = Evidence(images, right / images, 1.0, "bag", 0.0, 0.1, 0.2)
    expected = scipy.stats.binomtest(right, images).proportion_ci(0.95, method="wilson")
    assert evidence.accuracy_interval == pytest.approx(expected, abs=1e-6)


def test_bundle_on_disk_reads_as_it_was_written(bundle):
    assert open_bundle(bundle.folder) == bundle
    assert open_bundle(str(bundle.folder)).manifest.input.shape == (8, 6, 1)


def test_folder_without_manifest_is_no_bundle(tmp_path):
    with pytest.raises(ConvoyError, match=r"is not a bundle.*manifest\.json.*pass the `bundle`"):
        open_bundle(tmp_path)


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"text"', "{}", '{"schema": []}', "[" * 9])
def test_damaged_manifest_is_said_to_be_damaged(bundle, text):
    (bundle.folder / "manifest.json").write_text(text)
    with pytest.raises(ConvoyError, match="is damaged.*export the run again") as caught:
        open_bundle(bundle.folder)
    assert caught.value.exit_code == 2


def test_binary_manifest_is_no_bundle(bundle):
    (bundle.folder / "manifest.json").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConvoyError, match="UnicodeDecodeError"):
        open_bundle(bundle.folder)


@pytest.mark.parametrize("field", ["name", "version", "labels", "input", "output", "routes"])
def test_manifest_without_a_field_is_damaged(bundle, field):
    rewrite(bundle, **{field: None})
    with pytest.raises(ConvoyError, match=f"is damaged.*{field}"):
        open_bundle(bundle.folder)


def test_newer_schema_asks_for_the_version_that_made_it(bundle):
    rewrite(bundle, schema=SCHEMA + 1, routes=None)
    with pytest.raises(ConvoyError, match=f"newer version.*received {SCHEMA + 1}; read it with"):
        open_bundle(bundle.folder)


def test_proven_whole_file_is_handed_out(bundle):
    path = bundle.checked("tflite-int8")
    assert path == bundle.folder / "tflite/tiny.int8.tflite"


def test_changed_file_is_refused(bundle):
    path = bundle.folder / bundle.route("tflite-fp32").path
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with pytest.raises(ConvoyError, match="is damaged: expected sha256") as caught:
        bundle.checked("tflite-fp32")
    assert caught.value.exit_code == 2


def test_missing_file_is_refused(bundle):
    (bundle.folder / bundle.route("tflite-fp32").path).unlink()
    with pytest.raises(ConvoyError, match="cannot be read.*copy the bundle again"):
        bundle.checked("tflite-fp32")


def test_damage_is_refused_even_where_unproven_files_are_allowed(bundle):
    (bundle.folder / bundle.route("tflite-fp32").path).write_bytes(b"")
    with pytest.raises(ConvoyError, match="is damaged"):
        bundle.checked("tflite-fp32", allow_unproven=True)


@pytest.mark.parametrize(
    ("gate", "message"),
    [(None, "is unproven: no gate has run"), (Gate(False, ("a", "b")), "may not ship: a; b")],
)
def test_only_a_passed_gate_opens(bundle, gate, message):
    closed = with_gate(bundle, gate)
    with pytest.raises(GateFailed, match=message) as caught:
        closed.checked("tflite-fp32")
    assert caught.value.exit_code == 3
    assert closed.checked("tflite-fp32", allow_unproven=True).exists()


def test_mistyped_route_is_told_the_nearest(bundle):
    with pytest.raises(ConvoyError, match="did you mean `tflite-int8`"):
        bundle.checked("tflite-int-8")


def test_foreign_route_is_told_all_there_are():
    assert nearest("zzz", ["b", "a"]) == "choose one of `a`, `b`."
    assert nearest("zzz", [f"r{i:02}" for i in range(30)]).endswith("`r19`, ...")
