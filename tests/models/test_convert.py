"""What all conversions do alike, whatever the network is made of."""

import keras
import numpy as np
import pytest

from models import layers
from models.convert import fold_batch_norm, to_convolutional, to_dense, to_matrices
from models.inspection import inspect_network
from models.routes import refusals
from tests.models.trained import chain, classifier, logits, pixels, random, trained

IMAGE = (7, 6, 2)
CONVERSIONS = [fold_batch_norm, to_convolutional, to_matrices]
EVERY = [*CONVERSIONS, inspect_network, refusals]


@pytest.mark.parametrize("convert", EVERY)
def test_a_sequential_network_is_taken(convert):
    parts = [layers.Conv2D(3, 3), layers.BatchNorm(), keras.layers.Flatten(), layers.Dense(2)]
    network = trained(keras.Sequential([keras.Input(IMAGE), *parts]))
    x, expected = random((2, *IMAGE)), np.array(network(random((2, *IMAGE))))
    converted = convert(network)
    if isinstance(converted, keras.Model):
        np.testing.assert_allclose(
            np.reshape(converted(x), expected.shape), expected, rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("convert", EVERY)
@pytest.mark.parametrize("kind", [type("Own", (keras.Model,), {}), keras.Sequential])
def test_a_network_that_hides_how_it_is_connected_is_refused(convert, kind):
    with pytest.raises(ValueError, match="`network` must be a functional `keras.Model`"):
        convert(kind())


def test_a_tensor_given_by_name_is_read_too():
    # The convolution has two readers, so its normalization cannot be folded into it.
    inputs = keras.Input((8, 4))
    maps = layers.Conv1D(4, 3, name="conv")(inputs)
    normed = layers.BatchNorm()(maps)
    network = keras.Model(inputs, keras.layers.MultiHeadAttention(2, 4)(normed, value=maps))
    trained(network)
    x = random((2, 8, 4))
    np.testing.assert_allclose(fold_batch_norm(network)(x), network(x), rtol=1e-5, atol=1e-5)


def test_inputs_may_be_given_by_name():
    inputs = keras.Input(IMAGE)
    x = layers.VGGBlock(3, 1, name="block")(inputs=layers.Conv2D(3, 3)(inputs=inputs))
    network = trained(keras.Model(inputs, layers.Dense(2)(keras.layers.Flatten()(x))))
    images = random((2, *IMAGE))
    answers = to_convolutional(network)(images)
    np.testing.assert_allclose(answers[:, 0, 0], network(images), rtol=1e-4, atol=1e-5)
    assert len(inspect_network(network)) > 4


def test_layers_that_take_another_s_place_keep_its_precision():
    kept = keras.config.dtype_policy()
    network, decoder = classifier("nin", width=4), classifier("autoencoder", width=2, depth=1)
    x = pixels(2)
    before = {convert: logits(convert(network), x) for convert in CONVERSIONS[:2]}
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        for convert in CONVERSIONS[:2]:
            np.testing.assert_array_equal(logits(convert(network), x), before[convert])
        dtypes = {layer.compute_dtype for layer in to_matrices(decoder).layers[1:]}
        assert dtypes == {"float32"}
    finally:
        keras.config.set_dtype_policy(kept)


@pytest.mark.parametrize(
    "shared",
    [lambda: layers.Dense(4), layers.BatchNorm, lambda: layers.Dense(4, activation="tanh")],
)
def test_a_layer_that_is_applied_twice_slides_as_one(shared):
    inputs, layer = keras.Input(IMAGE), shared()
    vector = layers.Dense(4, name="first")(keras.layers.Flatten()(inputs))
    network = trained(keras.Model(inputs, layer(layer(vector))))
    x = random((2, *IMAGE))
    sliding = to_convolutional(network)
    assert sliding.count_params() == network.count_params()
    np.testing.assert_allclose(sliding(x)[:, 0, 0], network(x), rtol=1e-4, atol=1e-5)
    again = to_dense(sliding, IMAGE)
    np.testing.assert_allclose(again(x), network(x), rtol=1e-4, atol=1e-5)


def test_a_convolution_over_maps_of_two_sizes_is_two_matrices():
    inputs, conv = keras.Input(IMAGE), layers.Conv2D(2, 3, name="conv")
    x = keras.layers.Flatten()(conv(layers.MaxPool2D()(conv(inputs))))
    network = trained(keras.Model(inputs, x))
    images = random((2, *IMAGE))
    matrices = to_matrices(network)
    np.testing.assert_allclose(matrices(images), network(images), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ["vgg7", "resnet8"])
def test_a_small_image_on_which_inner_pools_cover_their_map_comes_back_too(name):
    network = classifier(name, (8, 8, 1), width=4)
    x = pixels(2, (8, 8, 1))
    again = to_dense(to_convolutional(network), (8, 8, 1))
    np.testing.assert_allclose(logits(again, x), logits(network, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("pool", [layers.MaxPool2D, layers.AveragePool2D, layers.L2Pool2D])
def test_a_pool_of_a_single_position_is_a_function_of_vectors(pool):
    network = chain((3, 3, 2), layers.Conv2D(4, 3, padding="valid"), pool(1))
    x = random((2, 3, 3, 2))
    dense = to_dense(network, (3, 3, 2))
    np.testing.assert_allclose(dense(x), network(x)[:, 0, 0], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("axis", [1, -1])
def test_a_softmax_over_logits_stays_one_over_channels(axis):
    softmax = keras.layers.Softmax(axis)
    network = chain(IMAGE, keras.layers.Flatten(), layers.Dense(3), softmax)
    x = random((2, *IMAGE))
    np.testing.assert_allclose(
        to_convolutional(network)(x)[:, 0, 0], network(x), rtol=1e-5, atol=1e-6
    )


@pytest.mark.parametrize("function", ["softmax", "log_softmax"])
def test_a_function_of_a_whole_flat_map_cannot_slide(function):
    over = keras.layers.Activation(function, name="guilty")
    network = chain(IMAGE, keras.layers.Flatten(), over, layers.Dense(3))
    with pytest.raises(ValueError, match="Received: layer=guilty, a keras Activation"):
        to_convolutional(network)


def test_a_network_without_positions_or_of_any_size_cannot_slide():
    for network in (chain((10,), layers.Dense(2)), chain((None, 6, 2), layers.GlobalMaxPool2D())):
        with pytest.raises(ValueError, match="`network` must take images.*Received: input shape"):
            to_convolutional(network)
