"""What is exported, checked in the runtimes that will load it."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from tensorflow_serving.apis import prediction_log_pb2

from models.fold import fold_batch_norm
from pipeline import stages
from pipeline.export.calibration import calibration_images
from pipeline.export.tflite import write_tflite
from pipeline.export.verify import load_network
from pipeline.export.warmup import WARMUP
from pipeline.task import Classification
from serving.bundle import open_bundle


@pytest.fixture(scope="module")
def bundle(smoke_run):
    return open_bundle(smoke_run.bundle)


@pytest.fixture(scope="module")
def signatures(bundle):
    return tf.saved_model.load(str(bundle.checked("saved_model"))).signatures


def interpreter(bundle, route):
    return Interpreter(model_path=str(bundle.checked(route)))


def test_every_hash_of_the_manifest_is_that_of_the_file(bundle):
    files = [file for route in bundle.manifest.routes for file in route.files]
    for file in files:
        content = (bundle.folder / file.path).read_bytes()
        assert (hashlib.sha256(content).hexdigest(), len(content)) == (file.sha256, file.bytes)


def test_every_exported_file_is_in_the_manifest(bundle):
    listed = {file.path for route in bundle.manifest.routes for file in route.files}
    found = {
        path.relative_to(bundle.folder).as_posix()
        for folder in ("saved_model", "tflite")
        for path in (bundle.folder / folder).rglob("*")
        if path.is_file()
    }
    assert found == listed


def test_the_version_is_a_folder_that_tensorflow_serving_can_count(bundle):
    (version,) = (bundle.folder / "saved_model" / bundle.manifest.name).iterdir()
    assert int(version.name) == bundle.manifest.version


def test_the_saved_model_has_the_three_signatures(signatures):
    inputs = {name: list(each.structured_input_signature[1]) for name, each in signatures.items()}
    outputs = {name: sorted(each.structured_outputs) for name, each in signatures.items()}
    assert inputs == {
        "serving_default": ["image"],
        "serve_bytes": ["image_bytes"],
        "classify": ["inputs"],
    }
    assert outputs == {
        "serving_default": ["probabilities"],
        "serve_bytes": ["probabilities"],
        "classify": ["classes", "scores"],
    }


def test_probabilities_sum_to_one_in_float32(signatures, smoke_splits):
    images = tf.constant(smoke_splits.test.images[:8], tf.float32)
    probabilities = signatures["serving_default"](image=images)["probabilities"]
    assert probabilities.dtype == tf.float32
    np.testing.assert_allclose(tf.reduce_sum(probabilities, axis=1), 1, rtol=1e-5)


def test_classify_names_the_classes_in_order(signatures, bundle, smoke_splits):
    encoded = tf.io.encode_png(smoke_splits.test.images[0]).numpy()
    feature = tf.train.Feature(bytes_list=tf.train.BytesList(value=[encoded]))
    example = tf.train.Example(
        features=tf.train.Features(feature={"image_bytes": feature})
    ).SerializeToString()
    answer = signatures["classify"](inputs=tf.constant([example, example]))
    for row in answer["classes"].numpy():
        assert [label.decode() for label in row] == list(bundle.manifest.labels)


@pytest.mark.parametrize("route", ["tflite-fp32", "tflite-int8"])
def test_tflite_files_keep_names_and_a_batch_of_one(bundle, route):
    runner = interpreter(bundle, route).get_signature_runner()
    (image,) = runner.get_input_details().items()
    (probabilities,) = runner.get_output_details().items()
    assert (image[0], list(image[1]["shape"])) == ("image", [1, 28, 28, 1])
    assert (probabilities[0], list(probabilities[1]["shape"])) == ("probabilities", [1, 10])


def test_the_int8_file_takes_pixels_as_they_are(bundle):
    (image,) = interpreter(bundle, "tflite-int8").get_input_details()
    assert image["dtype"] is np.uint8
    assert image["quantization"] == (1.0, 0)


def test_the_int8_file_computes_in_integers_and_builtin_operations_alone(bundle):
    model = interpreter(bundle, "tflite-int8")
    model.allocate_tensors()
    kinds = {str(np.dtype(each["dtype"])) for each in model.get_tensor_details()}
    assert kinds <= {"int8", "uint8", "int32", "int16"}
    operations = {each["op_name"] for each in model._get_ops_details()}
    assert not {name for name in operations if name.startswith("Flex") or name == "CUSTOM"}


def test_the_warm_up_requests_are_answered_by_the_saved_model(bundle, signatures):
    records = tf.data.TFRecordDataset(str(bundle.checked("saved_model") / WARMUP))
    answered = []
    for record in records.as_numpy_iterator():
        log = prediction_log_pb2.PredictionLog.FromString(record)
        if log.WhichOneof("log_type") == "classify_log":
            request = log.classify_log.request
            serialized = [each.SerializeToString() for each in request.input.example_list.examples]
            arguments = {"inputs": tf.constant(serialized)}
        else:
            request = log.predict_log.request
            arguments = {
                name: tf.constant(tf.make_ndarray(value)) for name, value in request.inputs.items()
            }
        assert request.model_spec.name == bundle.manifest.name
        signatures[request.model_spec.signature_name](**arguments)
        answered.append(request.model_spec.signature_name)
    assert sorted(answered) == ["classify", "serve_bytes", "serving_default"]


def test_calibration_images_are_training_images_balanced_and_reach_both_ends(smoke_splits):
    images = calibration_images(smoke_splits.train, 200, seed=0)
    known = {
        image.tobytes(): label
        for image, label in zip(smoke_splits.train.images, smoke_splits.train.labels, strict=True)
    }
    labels = [known[image.tobytes()] for image in images if image.tobytes() in known]
    # Two pixels may have been set to reach 0 and 255.
    assert len(labels) >= 198
    counts = np.bincount(labels)
    assert counts.max() - counts.min() <= 2
    assert (images.min(), images.max()) == (0, 255)


def test_the_calibration_set_is_a_copy(smoke_splits):
    before = smoke_splits.train.images.copy()
    dim = dataclasses.replace(smoke_splits.train, images=smoke_splits.train.images // 2)
    assert calibration_images(dim, 10, seed=0).max() == 255
    assert dim.images.max() < 255
    np.testing.assert_array_equal(before, smoke_splits.train.images)


def test_exporting_again_leaves_a_bundle_that_is_unproven(run_copy):
    bundle = stages.export(run_copy)
    assert {route.gate for route in bundle.manifest.routes} == {None}
    stages.verify(run_copy)
    assert all(route.gate.passed for route in open_bundle(run_copy.bundle).manifest.routes)


def test_the_converter_finds_its_own_code_wherever_the_user_stands(
    smoke_run, bundle, tmp_path, monkeypatch
):
    """Python looks into the working folder first, and other projects have a `pipeline` too."""
    (tmp_path / "pipeline").mkdir()
    (tmp_path / "pipeline" / "__init__.py").write_text("raise SystemExit('another project')")
    monkeypatch.chdir(tmp_path)
    network = fold_batch_norm(load_network(smoke_run))
    task = Classification(bundle.manifest.labels)
    write_tflite(network, task, np.zeros((1, 28, 28, 1), np.uint8), {"fp32": Path("new.tflite")})
    assert Path("new.tflite").read_bytes() == bundle.checked("tflite-fp32").read_bytes()
