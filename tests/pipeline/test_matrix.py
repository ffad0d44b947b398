"""Every form that a bundle can hold, exported by one command and proven by the next."""

import json
import os
import shutil
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from flatbuffers.number_types import Float32Flags, Uint8Flags
from flatbuffers.table import Table
from hypothesis import given
from hypothesis import strategies as st

from pipeline import cli
from pipeline.export import routes
from pipeline.export.mediapipe import in_colour, metadata
from pipeline.export.micro import c_identifier, c_string
from pipeline.export.verify import load_network
from pipeline.run import Run
from serving import edge
from serving.bundle import open_bundle
from serving.errors import ConvoyError
from serving.image import to_channels
from serving.micro import ALIGNMENT, MicroModel, read_source, smallest_arena, start
from serving.tflite import EdgeModel

FLAGS = ["--export.tflite", "int8", "--export.onnx", "--export.mediapipe", "--export.micro"]


@pytest.fixture(scope="module")
def matrix(smoke_run, tmp_path_factory):
    """A copy of the smoke run, exported into other forms under a limit that one of them breaks."""
    run = Run(shutil.copytree(smoke_run.folder, tmp_path_factory.mktemp("matrix") / "run"))
    limit = ["--export.gate.max-bytes", "2500000"]
    assert cli.main(["export", str(run.folder), *FLAGS, *limit]) == 0
    code = cli.main(["verify", str(run.folder)])
    return run, code, open_bundle(run.bundle)


@pytest.fixture
def bundle(matrix):
    return matrix[2]


def answers(model, images):
    return np.stack([model.probabilities(image) for image in images])


def test_the_bundle_holds_what_was_asked_for_and_each_was_proven(bundle):
    routes = ["saved_model", "tflite-int8", "mediapipe", "onnx", "tflite-micro"]
    assert [route.route for route in bundle.manifest.routes] == routes
    assert all(route.evidence.images == 1000 for route in bundle.manifest.routes)


def test_the_gate_holds_it_to_the_limits_of_the_export(matrix):
    _, code, bundle = matrix
    assert code == 3
    assert [route.route for route in bundle.manifest.held_back] == ["saved_model"]
    assert "2,500,000 allowed" in bundle.route("saved_model").reasons[0]


@pytest.mark.parametrize("route", ["onnx", "mediapipe"])
def test_float_files_answer_as_the_trained_network(bundle, route):
    evidence = bundle.route(route).evidence
    assert evidence.agreement >= 0.999
    assert evidence.mean_difference <= evidence.largest_difference < 1e-4


@pytest.mark.parametrize("route", ["tflite-int8", "onnx", "mediapipe", "tflite-micro"])
def test_each_passes_its_own_golden_images(bundle, route, capsys):
    assert edge.main([str(bundle.folder), "--self-test", "--route", route]) == 0
    assert capsys.readouterr().out.startswith(f"{route} answers 10 golden images")


def test_the_onnx_file_is_valid_and_takes_many_images_at_once(bundle, smoke_splits):
    path = str(bundle.checked("onnx"))
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    ((image,), (answer,)) = (model.graph.input, model.graph.output)
    assert (image.name, answer.name) == ("image", "probabilities")
    images = smoke_splits.test.images[:50]
    session = onnxruntime.InferenceSession(path)
    (together,) = session.run(None, {"image": images.astype(np.float32)})
    single = answers(edge.load(bundle.folder, "onnx"), images)
    np.testing.assert_allclose(together, single, atol=1e-5)


def test_the_file_for_mediapipe_takes_colour_and_holds_the_labels(bundle):
    path = bundle.checked("mediapipe")
    assert EdgeModel(path).shape == (28, 28, 3)
    with zipfile.ZipFile(path) as archive:
        assert archive.read("labels.txt").decode().splitlines() == list(bundle.manifest.labels)


def field(table, slot):
    """Where a table of a FlatBuffer holds a field."""
    offset = table.Offset(4 + 2 * slot)
    assert offset, "the field is not there"
    return table.Pos + offset


def inner(table, slot):
    """A table that another holds."""
    return Table(table.Bytes, table.Indirect(field(table, slot)))


def first(table, slot):
    """The first and only table of a list."""
    offset = field(table, slot) - table.Pos
    assert table.VectorLen(offset) == 1
    return Table(table.Bytes, table.Indirect(table.Vector(offset)))


def byte(table, slot):
    return table.Get(Uint8Flags, field(table, slot))


def floats(table, slot):
    offset = field(table, slot) - table.Pos
    start = table.Vector(offset)
    return [table.Get(Float32Flags, start + 4 * i) for i in range(table.VectorLen(offset))]


def text(table, slot):
    return table.String(field(table, slot)).decode()


def test_the_metadata_tell_mediapipe_what_goes_in_and_what_comes_out():
    """Slots as in `metadata_schema.fbs` of TensorFlow Lite Support, version 1.5.0."""
    content = metadata("garments", 7, "probabilities")
    assert content[4:8] == b"M001"
    model = Table(content, int.from_bytes(content[:4], "little"))
    assert (text(model, 0), text(model, 2), text(model, 7)) == ("garments", "7", "1.0.0")
    graph = first(model, 3)
    image, answer = first(graph, 2), first(graph, 3)
    assert (text(image, 0), text(answer, 0)) == ("image", "probabilities")
    assert byte(inner(image, 3), 0) == 2, "ImageProperties"
    assert byte(inner(inner(image, 3), 1), 0) == 1, "RGB"
    unit = first(image, 4)
    assert byte(unit, 0) == 1, "NormalizationOptions"
    assert (floats(inner(unit, 1), 0), floats(inner(unit, 1), 1)) == ([0.0], [1.0])
    assert (floats(inner(image, 5), 0), floats(inner(image, 5), 1)) == ([255.0], [0.0])
    assert byte(inner(answer, 3), 0) == 1, "FeatureProperties"
    labels = first(answer, 6)
    assert (text(labels, 0), byte(labels, 2)) == ("labels.txt", 2), "TENSOR_AXIS_LABELS"


CLASSIFY = """
import json, sys
import mediapipe, numpy
from mediapipe.tasks.python import vision

with vision.ImageClassifier.create_from_model_path(sys.argv[1]) as classifier:
    def answer(pixels):
        image = mediapipe.Image(image_format=mediapipe.ImageFormat.SRGB, data=pixels)
        best = classifier.classify(image).classifications[0].categories[0]
        return best.category_name, best.score
    print(json.dumps([answer(pixels) for pixels in numpy.load(sys.argv[2])]))
"""


@pytest.mark.skipif("MEDIAPIPE_PYTHON" not in os.environ, reason="MEDIAPIPE_PYTHON names none")
def test_mediapipe_gives_the_same_labels(bundle, smoke_splits, tmp_path):
    model = edge.load(bundle.folder, "mediapipe")
    images = to_channels(smoke_splits.test.images[:100], 3)
    np.save(tmp_path / "images.npy", images)
    files = [bundle.checked("mediapipe"), tmp_path / "images.npy"]
    done = subprocess.run(
        [os.environ["MEDIAPIPE_PYTHON"], "-c", CLASSIFY, *files],
        capture_output=True,
        text=True,
        check=True,
    )
    for said, probabilities in zip(json.loads(done.stdout), answers(model, images), strict=True):
        assert said[0] == model.labels[probabilities.argmax()]
        assert said[1] == pytest.approx(probabilities.max(), abs=1e-3)


def test_colours_become_grey_as_pillow_makes_them(smoke_run):
    network = load_network(smoke_run)
    colours = np.random.default_rng(0).integers(0, 256, (8, 28, 28, 3), np.uint8)
    grey = np.stack([to_channels(image, 1) for image in colours])
    expected = network(grey.astype(np.float32))["logits"]
    # Pillow rounds to whole levels.
    np.testing.assert_allclose(in_colour(network)(colours)["logits"], expected, atol=0.05)


def test_a_network_that_takes_colour_stays_as_it_is():
    import models

    network = models.build("lenet", (28, 28, 3), 10)
    assert in_colour(network) is network


def test_tflite_micro_answers_as_the_int8_file(bundle, smoke_splits):
    images = smoke_splits.test.images[:100]
    micro = answers(MicroModel(bundle.checked("tflite-micro")), images)
    int8 = answers(EdgeModel(bundle.checked("tflite-int8")), images)
    assert np.abs(micro - int8).max() <= 3 / 256
    assert np.mean(micro.argmax(-1) == int8.argmax(-1)) >= 0.98


def test_the_c_source_holds_the_very_int8_file_and_is_weighed_as_it(bundle):
    model = read_source(bundle.checked("tflite-micro"))
    assert model == bundle.checked("tflite-int8").read_bytes()
    assert bundle.route("tflite-micro").bytes == len(model)


def test_the_arena_is_the_smallest_that_works(bundle):
    path = bundle.checked("tflite-micro")
    model, arena = read_source(path), bundle.route("tflite-micro").evidence.arena_bytes
    assert arena == smallest_arena(model, path)
    start(model, arena, path)
    with pytest.raises(ConvoyError, match="cannot be run"):
        start(model, arena - ALIGNMENT, path)
    assert f"_ARENA_BYTES {arena}\n" in path.with_suffix(".h").read_text()


PROGRAM = """
#include <stdio.h>
#include "smoke.h"

int main(void) {
  fwrite(smoke_model, 1, SMOKE_MODEL_BYTES, stdout);
  for (int i = 0; i < SMOKE_CLASSES; ++i) printf("%s\\n", smoke_labels[i]);
  return ((unsigned long)smoke_model) % 16;
}
"""


@pytest.mark.parametrize("language", ["c", "c++"])
def test_a_compiler_takes_the_c_source(bundle, language, tmp_path):
    source = bundle.checked("tflite-micro")
    (tmp_path / "main.c").write_text(PROGRAM)
    # A C++ file sees the array through the header, as the C file defines it.
    subprocess.run(["cc", "-Wall", "-Werror", "-c", source, "-o", tmp_path / "model.o"], check=True)
    include, main = f"-I{source.parent}", tmp_path / "main.c"
    command = ["cc", "-x", language, "-Wall", "-Werror", include, "-c", main, "-o"]
    subprocess.run([*command, tmp_path / "main.o"], check=True)
    objects = [tmp_path / "main.o", tmp_path / "model.o"]
    subprocess.run(["cc", *objects, "-o", tmp_path / "program"], check=True)
    said = subprocess.run([tmp_path / "program"], capture_output=True, check=True).stdout
    model, labels = read_source(source), "".join(f"{each}\n" for each in bundle.manifest.labels)
    assert said == model + labels.encode()


@given(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20))
def test_labels_survive_as_c_strings(text):
    literal = c_string(text)
    assert literal.isascii()
    assert literal.isprintable()
    # Octal escapes mean the same in Python.
    assert eval(f"b{literal}").decode() == text


@given(st.from_regex(r"[A-Za-z0-9][\w.-]*", fullmatch=True))
def test_any_name_of_a_recipe_becomes_an_identifier(name):
    assert c_identifier(name).isidentifier()
    assert c_identifier(name).isascii()


@pytest.mark.parametrize("text", ["", "int main;", "x[] = {0x100}", "x[] = {1, 2, 3}", "\xff"])
def test_a_source_that_holds_no_model_is_refused(tmp_path, text):
    path = tmp_path / "model.c"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConvoyError, match="cannot be run"):
        MicroModel(path)


def test_the_evidence_is_written_where_people_and_programs_read_it(bundle):
    page = (bundle.folder / "verify.md").read_text()
    evidence = json.loads((bundle.folder / "verify.json").read_text())["routes"]
    for route in bundle.manifest.routes:
        assert f"| {route.route} |" in page
        assert evidence[route.route]["evidence"]["accuracy"] == route.evidence.accuracy
    low, high = bundle.route("onnx").evidence.accuracy_interval
    assert f"({100 * low:.1f}-{100 * high:.1f})" in page


def test_the_page_says_what_was_asked_for(bundle):
    page = (bundle.folder / "verify.md").read_text()
    assert "no file exceeds 2.50 MB" in page
    limits = json.loads((bundle.folder / "verify.json").read_text())["limits"]
    assert limits["max_bytes"] == 2500000


class Failing:
    """A model that loads and then answers nothing."""

    shape, arena_bytes = (28, 28, 1), None

    def __init__(self, path):
        pass

    def probabilities(self, pixels):
        raise ConvoyError("it fails")


def test_a_file_that_fails_on_every_image_ends_the_proof_at_once(smoke_splits, monkeypatch):
    monkeypatch.setattr(routes, "start", Failing)
    with pytest.raises(ConvoyError, match="it fails"):
        routes.answer_file("tflite-fp32", Path("file"), smoke_splits.test.images)


def test_limits_of_another_version_are_told_in_one_sentence(run_copy, capsys):
    path = run_copy.bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["export"]["no_such_field"] = 1
    path.write_text(json.dumps(content))
    assert cli.main(["verify", str(run_copy.folder)]) == 2
    assert "written by another version" in capsys.readouterr().err
