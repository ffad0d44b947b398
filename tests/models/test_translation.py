"""Maps that move with the image, and answers that do not."""

import keras
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import models
from models import layers
from models.convert import fold_batch_norm
from models.translation import equivariance, invariance, shifted
from tests.models.outlines import outline
from tests.models.trained import chain, classifier, pixels, random


@given(st.integers(-9, 9))
def test_a_shift_moves_every_pixel_and_fills_with_zeros(distance):
    row = np.arange(1, 7)
    places = [place - distance for place in range(6)]
    expected = [row[place] if 0 <= place < 6 else 0 for place in places]
    np.testing.assert_array_equal(shifted(row, 0, distance), expected)


@pytest.mark.parametrize(
    "layer",
    [
        layers.Conv2D(3, 3, padding="valid"),
        layers.Conv2D(3, (2, 3), padding="valid", dilation_rate=2),
        layers.DepthwiseConv2D(3, padding="valid"),
        layers.MaxPool2D(2, strides=1),
        layers.L2Pool2D(2, strides=1),
        layers.ConvTranspose2D(3, 2, strides=2),
    ],
)
def test_what_looks_at_each_place_alike_moves_exactly_with_the_image(layer):
    errors = equivariance(layer, random((2, 10, 9, 2)), most=4)
    np.testing.assert_allclose(errors, 0, atol=1e-6)


def test_a_stride_of_two_moves_with_every_second_pixel():
    errors = equivariance(layers.Conv2D(3, 3, 2, "valid"), random((2, 11, 11, 2)), most=4)
    np.testing.assert_allclose(errors[::2], 0, atol=1e-6)
    assert (errors[1::2] > 0.1).all()


def test_zeros_around_the_image_do_not_move_with_it():
    errors = equivariance(layers.Conv2D(3, 3), random((2, 10, 10, 2)), most=2)
    assert errors[0] == 0
    assert (errors[1:] > 0.01).all()


def test_an_unshared_layer_does_not_move_with_the_image():
    errors = equivariance(layers.LocallyConnected2D(3, 3), random((2, 10, 10, 2)), most=2)
    assert (errors[1:] > 0.5).all()


def test_a_network_of_maps_is_measured_by_its_own_stride():
    network = chain((12, 12, 1), layers.Conv2D(2, 3, padding="valid"), layers.MaxPool2D())
    np.testing.assert_allclose(equivariance(network, random((2, 12, 12, 1)), 4)[::2], 0, atol=1e-6)


def test_one_answer_for_the_whole_image_is_no_map():
    with pytest.raises(ValueError, match="`layer` must make one output, maps"):
        equivariance(layers.GlobalMaxPool2D(), random((2, 8, 8, 1)), most=1)


def test_two_outputs_are_refused():
    inputs = keras.Input((8, 8, 1))
    maps = layers.Conv2D(2, 3)(inputs)
    network = keras.Model(inputs, {"one": maps, "other": keras.layers.ReLU()(maps)})
    with pytest.raises(ValueError, match="Received: .* with 2 outputs"):
        equivariance(network, random((2, 8, 8, 1)), most=1)


MAPS = ("autoencoder", "idcnn")
TINY = {"autoencoder": {"width": 2}, "idcnn": {"width": 2, "vocabulary_size": 20, "dimensions": 4}}


@pytest.mark.parametrize("name", [name for name in models.ARCHITECTURES if name not in MAPS])
def test_a_classifier_is_refused(name):
    shape = models.default_input_shape(name)
    with pytest.raises(ValueError, match=f"Received: layer={name}, with 1 outputs"):
        equivariance(outline(name, shape, 3), np.zeros((1, *shape)), most=1)


def test_the_autoencoder_moves_with_every_fourth_pixel():
    """Light in the middle, so that edges do not matter; two strides of 2 make a stride of 4."""
    images = np.zeros((2, 40, 40, 1), "float32")
    images[:, 18:22, 18:22] = pixels(2, (4, 4, 1))
    network = models.build("autoencoder", (40, 40, 1), None, **TINY["autoencoder"])
    errors = equivariance(network, images, most=4)
    np.testing.assert_allclose(errors[[0, 4]], 0, atol=1e-5)
    assert (errors[1:4] > 1e-3).all()


def test_the_labels_of_a_text_move_with_it():
    network = models.build("idcnn", (60,), 3, **TINY["idcnn"], depth=2, iterations=1)
    tokens = np.random.default_rng(0).integers(1, 20, (2, 60))
    errors = equivariance(network, tokens, most=3)
    assert errors[0] == 0
    assert (errors[1:] < 0.3).all()


def where_is_the_light(*parts):
    """A network whose classes are the places of its map, the brightest of which it answers."""
    inputs = x = keras.Input((6, 6, 1))
    for part in parts:
        x = part(x)
    return keras.Model(inputs, {"logits": keras.layers.Flatten()(x)})


def test_a_max_pool_makes_a_move_within_its_window_matter_less():
    """The light is at the upper left of its window: two ways of four leave it there."""
    image = np.zeros((1, 6, 6, 1), "float32")
    image[0, 2, 2] = 9
    sharp = invariance(where_is_the_light(keras.layers.Identity()), image, most=2)
    pooled = invariance(where_is_the_light(layers.MaxPool2D()), image, most=2)
    np.testing.assert_array_equal(sharp.agreement, [1, 0, 0])
    np.testing.assert_array_equal(pooled.agreement, [1, 0.5, 0])
    assert pooled.overlap[1] > sharp.overlap[1]


def test_a_convolution_with_a_global_pool_is_less_disturbed_than_a_dense_network():
    inputs = keras.Input((16, 16, 1))
    maps = layers.Conv2D(8, 3, padding="valid")(inputs)
    pooled = layers.Dense(5)(layers.GlobalMaxPool2D()(maps))
    dense = layers.Dense(5)(keras.layers.Flatten()(inputs))
    images = np.zeros((40, 16, 16, 1), "float32")
    # Nothing at the edge, so that a move of three pixels loses nothing.
    images[:, 5:11, 5:11] = random((40, 6, 6, 1))
    stays = invariance(keras.Model(inputs, {"logits": pooled}), images, most=3)
    moves = invariance(keras.Model(inputs, {"logits": dense}), images, most=3)
    np.testing.assert_array_equal(stays.agreement, 1)
    assert (moves.agreement[1:] < 0.8).all()


def test_the_curve_says_where_a_network_answers_the_same_image_in_two_ways():
    class Coin(keras.layers.Layer):
        """Tells its first call from later ones."""

        calls = 0

        def call(self, inputs):
            Coin.calls += 1
            return inputs if Coin.calls <= 2 else -inputs

    curve = invariance(where_is_the_light(Coin()), pixels(3, (6, 6, 1)), most=0)
    assert curve.agreement[0] < 1
    assert curve.overlap[0] < 1


@pytest.mark.parametrize("convert", [lambda network: network, fold_batch_norm])
def test_the_curve_of_a_network_begins_at_one_and_stays_a_share(convert):
    network = convert(classifier("lenet", width=2))
    curve = invariance(network, pixels(20), most=3)
    for values in curve:
        assert values.shape == (4,)
        assert values[0] == pytest.approx(1, abs=1e-6)
        assert ((values >= 0) & (values <= 1 + 1e-6)).all()
