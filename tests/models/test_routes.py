"""What is said not to work does not, and what stands beside it does."""

from functools import partial

import keras
import numpy as np
import pytest
from tensorflow.lite.python.convert_phase import ConverterError

import models
from models import layers
from models.routes import REFUSALS, ROUTES, refusals, refusals_of
from tests.models import runtimes
from tests.models.trained import chain, random

STEPS, IMAGE, VOLUME = (6, 2), (5, 4, 2), (4, 4, 4, 2)
# A layer that each line of the table refuses, its input, and one like it that may ship there.
REFUSED = [
    (lambda: layers.Conv3D(2, 2), VOLUME),
    (layers.GlobalL2Pool1D, STEPS),
    (lambda: keras.layers.Activation("elu"), STEPS),
    (lambda: keras.layers.Activation("softplus"), STEPS),
    (lambda: keras.layers.Embedding(9, 2), (6,)),
    (lambda: layers.MaxPool3D(2, padding=1), VOLUME),
    (lambda: keras.layers.Activation("gelu"), STEPS),
    (lambda: keras.layers.Activation("relu6"), STEPS),
]
SHIPPED = [
    (lambda: layers.DepthwiseConv3D(2, 2), VOLUME),
    (lambda: layers.MaxPool3D(2), VOLUME),
    (lambda: layers.LocallyConnected2D(2, 2), IMAGE),
    (lambda: keras.layers.Activation("sigmoid"), STEPS),
]


def examples_for(shape):
    """Inputs that set the ranges of an int8 file: tokens where the shape is a length alone."""
    if len(shape) == 1:
        return np.random.default_rng(0).integers(0, 9, (16, *shape)).astype("int32")
    return 3 * random((16, *shape))


def works(route, create, shape, folder):
    """Whether a layer, converted, gives its numbers on a route, in that route's arithmetic."""
    x = examples_for(shape)
    inputs = keras.Input(shape, dtype=str(x.dtype), name="input")
    network = keras.Model(inputs, create()(inputs))
    saved_model = runtimes.export(network, folder, (1, *shape))
    try:
        file = runtimes.convert(saved_model, None if route == "tflite-fp32" else x)
    except ConverterError:
        return False
    if route != "tflite-fp32" and runtimes.float_operations(file):
        return False
    run = runtimes.run_micro if route == "tflite-micro" else runtimes.run_tflite
    try:
        answers, expected = run(file, x[:4]), np.array(network(x[:4]))
    except RuntimeError:
        return False
    return bool(np.abs(answers - expected).max() < 0.05 * np.ptp(expected))


def test_every_line_of_the_table_has_an_example():
    found = [next(line for line in REFUSALS if line.concerns(create())) for create, _ in REFUSED]
    assert found == list(REFUSALS)


@pytest.mark.parametrize(("create", "shape"), REFUSED, ids=[each.reason for each in REFUSALS])
def test_a_refused_layer_works_on_every_route_but_the_refused(create, shape, tmp_path):
    refused = refusals_of(create())
    for route in ROUTES:
        assert works(route, create, shape, tmp_path / route) == (route not in refused)
        if route in refused:
            break


@pytest.mark.parametrize(("create", "shape"), SHIPPED)
def test_a_layer_that_is_not_refused_works_on_every_route(create, shape, tmp_path):
    assert refusals_of(create()) == {}
    for route in ROUTES:
        assert works(route, create, shape, tmp_path / route)


def test_what_one_route_refuses_those_that_need_it_refuse_too():
    reason = "TFLite convolves volumes in floats alone"
    assert refusals_of(layers.Conv3D(2, 3)) == {"tflite-int8": reason, "tflite-micro": reason}


@pytest.mark.parametrize("arguments", [{"strides": (1, 2, 2)}, {"strides": 2, "dilation_rate": 2}])
def test_a_depthwise_convolution_of_volumes_is_refused_by_its_arguments(arguments, tmp_path):
    create = partial(layers.DepthwiseConv3D, 2, **arguments)
    assert "tflite-int8" in refusals_of(create())
    assert not works("tflite-int8", create, VOLUME, tmp_path)


def test_the_function_of_a_dense_layer_counts_as_well():
    assert set(refusals_of(layers.Dense(2, activation="elu"))) == {"tflite-int8", "tflite-micro"}
    assert refusals_of(layers.Dense(2, activation="relu")) == {}


def test_a_network_names_its_layers_inside_blocks_once():
    stack = layers.DilatedStack1D(2, 3, (1, 2), iterations=3, name="stack")
    network = chain((6, 2), stack, keras.layers.Activation("gelu", name="bad"))
    found = refusals(network)
    assert found["tflite-fp32"] == found["tflite-int8"] == []
    assert [layer for layer, _ in found["tflite-micro"]] == ["bad"]


def test_a_network_for_volumes_ships_in_floats_alone():
    found = refusals(models.build("resnet3d", (8, 8, 8, 1), 3, width=2))
    assert found["tflite-fp32"] == []
    names = [layer for layer, _ in found["tflite-int8"]]
    assert names[0] == "stem_conv"
    assert len(names) == len(set(names)) > 1
