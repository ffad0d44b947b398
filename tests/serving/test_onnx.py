"""ONNX files answer as the network that they say, and foreign or damaged ones are refused."""

import json
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from serving import edge
from serving.errors import ConvoyError
from serving.onnx import OnnxModel
from tests.serving.conftest import SHAPE

CLASSES = 3


def kernel(channels=1):
    pixels = SHAPE[0] * SHAPE[1] * channels
    return (
        np.random.default_rng(channels).normal(size=(pixels, CLASSES)).astype(np.float32) / pixels
    )


def write(path, channels=1, batch="batch", kind=TensorProto.FLOAT, classes=CLASSES):
    """One dense layer and softmax over the pixels of an image."""
    shape = [batch, *SHAPE[:2], channels]
    image = helper.make_tensor_value_info("image", kind, shape)
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [batch, classes])
    nodes = [
        helper.make_node("Cast", ["image"], ["floats"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["floats"], ["flat"]),
        helper.make_node("MatMul", ["flat", "kernel"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"]),
    ]
    weights = numpy_helper.from_array(kernel(channels), "kernel")
    graph = helper.make_graph(nodes, "dense", [image], [answer], [weights])
    opset = [helper.make_opsetid("", 18)]
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    return path


def random_image(channels=1):
    return np.random.default_rng(5).integers(0, 256, (*SHAPE[:2], channels), np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("batch", [1, "batch", None])
def test_it_answers_as_plain_arithmetic_does(tmp_path, channels, batch):
    pixels = random_image(channels)
    powers = np.exp(pixels.reshape(-1).astype(np.float32) @ kernel(channels))
    model = OnnxModel(write(tmp_path / "model.onnx", channels, batch))
    np.testing.assert_allclose(model.probabilities(pixels), powers / powers.sum(), rtol=1e-4)


def test_the_device_takes_a_file_by_its_ending(tmp_path, photo, capsys):
    assert edge.main([str(write(tmp_path / "model.onnx")), str(photo), "--json"]) == 0
    answered = json.loads(capsys.readouterr().out)
    model = OnnxModel(tmp_path / "model.onnx")
    assert [answer["label"] for answer in answered["answers"]] == [
        answer.label for answer in model.answers(photo)
    ]


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"batch": 2}, r"expected input \(1, height, width, 1 or 3\)"),
        ({"channels": 4}, r"expected input \(1, height, width, 1 or 3\)"),
        ({"kind": TensorProto.UINT8}, "expected one input of floats"),
    ],
)
def test_models_of_other_inputs_are_refused(tmp_path, changes, words):
    with pytest.raises(ConvoyError, match=words):
        OnnxModel(write(tmp_path / "model.onnx", **changes))


def test_a_model_without_a_shape_is_refused(tmp_path):
    scalar = helper.make_tensor_value_info("image", TensorProto.FLOAT, [])
    answer = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [])
    node = helper.make_node("Relu", ["image"], ["probabilities"])
    graph = helper.make_graph([node], "scalar", [scalar], [answer])
    opset = [helper.make_opsetid("", 18)]
    path = tmp_path / "model.onnx"
    onnx.save(helper.make_model(graph, opset_imports=opset, ir_version=9), str(path))
    with pytest.raises(ConvoyError, match="is no image classifier"):
        OnnxModel(path)


def test_a_model_that_fails_while_it_runs_is_refused(tmp_path):
    # It says that it takes images of another width than its weights do.
    path = write(tmp_path / "model.onnx")
    model = onnx.load(str(path))
    model.graph.input[0].type.tensor_type.shape.dim[2].dim_value = SHAPE[1] + 1
    onnx.save(model, str(path))
    with pytest.raises(ConvoyError, match="expected a whole ONNX model"):
        OnnxModel(path).probabilities(np.zeros((SHAPE[0], SHAPE[1] + 1, 1), np.uint8))


def test_images_that_do_not_fit_are_refused(tmp_path):
    with pytest.raises(ConvoyError, match="read the image with"):
        OnnxModel(write(tmp_path / "model.onnx")).probabilities(np.zeros(SHAPE, np.float32))


def test_files_that_are_no_model_are_refused(tmp_path):
    whole = write(tmp_path / "whole.onnx").read_bytes()
    path = tmp_path / "model.onnx"
    for content in (b"", b"not a model at all", whole[:100], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(ConvoyError, match="cannot be run: expected a whole ONNX model"):
            edge.load(path)


def test_without_its_runtime_it_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(ConvoyError, match="run `pip install onnxruntime`"):
        OnnxModel(write(tmp_path / "model.onnx"))
