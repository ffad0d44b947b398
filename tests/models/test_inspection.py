"""What layers cost, against the figures of the texts and of papers."""

import keras
import numpy as np
import pytest

import models
from models import layers
from models.inspection import inspect_network
from models.outlines import without_values


def rows_of(shape, *parts):
    """Inspect a network of layers, one after another."""
    inputs = x = keras.Input(shape)
    for part in parts:
        x = part(x)
    return inspect_network(keras.Model(inputs, x))


def test_a_convolution_over_cifar_has_the_connections_and_weights_of_the_texts():
    (row,) = rows_of((32, 32, 3), layers.Conv2D(100, 5, padding="valid"))
    assert row.output_shape == (28, 28, 100)
    assert row.unshared == 5_880_000
    assert row.parameters - 100 == 7_500


def test_a_dense_layer_from_cifar_to_cifar_has_the_weights_of_the_texts():
    (row,) = rows_of((32, 32, 3), layers.Conv2D(3, 3))
    assert row.dense == 9_437_184
    *_, dense = rows_of((32, 32, 3), keras.layers.Flatten(), layers.Dense(3072))
    assert dense.parameters - 3072 == dense.unshared == dense.dense == 9_437_184


def test_a_locally_connected_layer_has_its_weights_unshared():
    (row,) = rows_of((32, 32, 3), layers.LocallyConnected2D(100, 5, use_bias=False))
    assert row.parameters == row.unshared == row.multiply_adds == 5_880_000


@pytest.mark.parametrize(
    ("layer", "shape", "expected"),
    [
        # Positions x window x input channels of a group x filters.
        (layers.Conv1D(4, 3, padding="valid"), (10, 2), 8 * 3 * 2 * 4),
        (layers.Conv2D(4, 3, 2), (8, 8, 2), 16 * 9 * 2 * 4),
        (layers.Conv2D(4, 3, groups=2), (8, 8, 2), 64 * 9 * 1 * 4),
        (layers.Conv3D(4, 2, 2), (4, 4, 4, 3), 8 * 8 * 3 * 4),
        (layers.DepthwiseConv2D(3, depth_multiplier=2), (8, 8, 2), 64 * 9 * 2 * 2),
        # Each position of the input is spread over a window.
        (layers.ConvTranspose2D(4, 3, 2), (8, 8, 2), 64 * 9 * 2 * 4),
        (layers.Dense(5), (7,), 7 * 5),
        (layers.Dense(5), (9, 7), 9 * 7 * 5),
        (layers.MaxPool2D(), (8, 8, 2), 0),
        (layers.BatchNorm(), (8, 8, 2), 0),
    ],
)
def test_multiply_adds_are_those_of_the_kernel_at_every_position(layer, shape, expected):
    (row,) = rows_of(shape, layer)
    assert row.multiply_adds == expected
    assert row.unshared == expected


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (layers.Conv2D(4, 3, 2), keras.layers.Conv2D(4, 3, 2, padding="same")),
        (layers.Conv3D(4, 2), keras.layers.Conv3D(4, 2, padding="same")),
        (layers.DepthwiseConv1D(3), keras.layers.DepthwiseConv1D(3, padding="same")),
        (layers.ConvTranspose2D(4, 3, 2), keras.layers.Conv2DTranspose(4, 3, 2, padding="same")),
    ],
    ids=["conv", "volume", "depthwise", "transposed"],
)
def test_a_layer_of_keras_costs_what_ours_does(ours, theirs):
    shape = (*(6,) * (ours.input_spec.ndim - 2), 2)
    (mine,), (stock,) = rows_of(shape, ours), rows_of(shape, theirs)
    assert (mine.multiply_adds, mine.unshared, mine.dense) == (
        stock.multiply_adds,
        stock.unshared,
        stock.dense,
    )
    assert mine.refusals == stock.refusals


def test_what_a_layer_of_another_kind_costs_is_not_known():
    (row,) = rows_of((5, 3), keras.layers.LSTM(4))
    assert (row.multiply_adds, row.unshared, row.dense) == (None, None, None)


def inspected(name, input_shape, num_classes):
    """Inspect one of our networks at the size of its paper, without making its weights."""
    with without_values():
        return inspect_network(models.build(name, input_shape, num_classes))


@pytest.mark.parametrize(("name", "billions"), [("resnet18", 1.8), ("resnet34", 3.6)])
def test_a_resnet_needs_as_many_multiply_adds_as_its_paper_says(name, billions):
    total = sum(row.multiply_adds for row in inspected(name, (224, 224, 3), 1000))
    assert total / 1e9 == pytest.approx(billions, rel=0.02)


def test_the_convolutions_of_vgg16_need_as_many_multiply_adds_as_its_table_says():
    filters = [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    sizes = [224] * 2 + [112] * 2 + [56] * 3 + [28] * 3 + [14] * 3
    channels = [3, *filters[:-1]]
    expected = sum(
        size**2 * 9 * before * after
        for size, before, after in zip(sizes, channels, filters, strict=True)
    )
    rows = inspected("vgg16", (224, 224, 3), 1000)
    assert sum(row.multiply_adds for row in rows if row.kind == "Conv2D") == expected


@pytest.mark.parametrize("name", ["lenet", "resnet20", "googlenet", "autoencoder"])
def test_parameters_add_up_to_those_of_the_network(name):
    network = models.build(name, (28, 28, 1), 10, width=4)
    assert sum(row.parameters for row in inspect_network(network)) == network.count_params()


def test_weights_that_are_used_again_count_once_and_work_each_time():
    rows = rows_of((9, 2), layers.DilatedStack1D(2, 3, (1, 2), iterations=3, name="stack"))
    convolutions = [row for row in rows if row.kind == "Conv1D"]
    assert [row.layer for row in convolutions] == ["stack_conv1", "stack_conv2"] * 3
    assert [row.parameters for row in convolutions] == [14, 14, 0, 0, 0, 0]
    assert {row.multiply_adds for row in convolutions} == {9 * 3 * 2 * 2}


def test_the_memory_of_maps_is_four_bytes_a_number():
    first, pooled = rows_of((28, 28, 1), layers.Conv2D(20, 5, padding="valid"), layers.MaxPool2D())
    assert first.activation_bytes == 24 * 24 * 20 * 4
    assert pooled.activation_bytes == 12 * 12 * 20 * 4


def test_what_depends_on_an_unknown_size_is_unknown():
    convolution, pool = rows_of((None, 2), layers.Conv1D(4, 3), layers.GlobalMaxPool1D())
    unknown = (convolution.unshared, convolution.dense, convolution.multiply_adds)
    assert unknown == (None, None, None)
    assert convolution.output_shape == (None, 4)
    assert convolution.activation_bytes is None
    assert convolution.parameters == 28
    assert pool.activation_bytes == 16


def test_a_layer_without_a_kernel_has_no_weights_of_any_kind_whatever_the_size():
    for size in (8, None):
        (row,) = rows_of((size, 2), keras.layers.ReLU())
        assert (row.unshared, row.dense, row.multiply_adds) == (0, 0, 0)


def test_each_row_says_on_which_routes_its_layer_cannot_ship():
    convolution, activation = rows_of((8, 8, 8, 1), layers.Conv3D(2, 3), keras.layers.ReLU())
    assert set(convolution.refusals) == {"tflite-int8", "tflite-micro"}
    assert activation.refusals == {}


def test_inspecting_leaves_the_network_as_it_was():
    network = models.build("resnet8", (12, 12, 1), 10, width=2)
    x = np.random.default_rng(0).random((2, 12, 12, 1), "float32")
    before, names = network(x)["logits"], [each.name for each in network.layers]
    inspect_network(network)
    np.testing.assert_array_equal(network(x)["logits"], before)
    assert [each.name for each in network.layers] == names
