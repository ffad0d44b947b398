"""Classifiers that slide over larger images, and are dense again."""

import keras
import numpy as np
import pytest

from models import layers
from models.convert import to_convolutional, to_dense
from tests.models.trained import chain, classifier, logits, pixels, random

STEPS, IMAGE, VOLUME = (9, 3), (7, 6, 2), (4, 5, 6, 2)
SLIDING = ["mlp", "lenet", "topology", "alexnet", "vgg7", "nin", "resnet8"]


@pytest.mark.parametrize("name", SLIDING)
def test_a_sliding_network_has_the_same_logits_on_images_of_its_own_size(name):
    network = classifier(name, width=4)
    x = pixels(3)
    expected = logits(network, x)
    answers = logits(to_convolutional(network), x)
    assert answers.shape == (3, 1, 1, 10)
    np.testing.assert_allclose(answers[:, 0, 0], expected, atol=1e-5 * np.ptp(expected))


def test_sliding_over_a_canvas_is_the_network_on_every_crop():
    """Nine images on 112x112 pixels; a pool of stride 2 makes a place of every second pixel."""
    network = classifier("topology", width=8)
    canvas = np.zeros((1, 112, 112, 1), "float32")
    for index, image in enumerate(pixels(9)):
        top, left = 37 * (index // 3) + 5, 36 * (index % 3) + 7
        canvas[0, top : top + 28, left : left + 28] = image
    answers = logits(to_convolutional(network), canvas)
    assert answers.shape == (1, 43, 43, 10)
    starts = [(row, column) for row in range(0, 85, 2) for column in range(0, 85, 2)]
    crops = np.concatenate([canvas[:, row : row + 28, left : left + 28] for row, left in starts])
    expected = logits(network, crops).reshape(1, 43, 43, 10)
    np.testing.assert_allclose(answers, expected, atol=1e-5 * np.ptp(expected))


def test_each_unit_behind_a_flatten_becomes_a_filter_as_large_as_the_map():
    inputs = keras.Input((7, 7, 512))
    x = keras.layers.Dense(4096, name="first")(keras.layers.Flatten()(inputs))
    network = keras.Model(inputs, keras.layers.Dense(4096, activation="relu", name="second")(x))
    sliding = to_convolutional(network)
    assert sliding.get_layer("first").kernel.shape == (7, 7, 512, 4096)
    assert sliding.get_layer("second").kernel.shape == (1, 1, 4096, 4096)
    x = random((2, 7, 7, 512))
    np.testing.assert_allclose(sliding(x)[:, 0, 0], network(x), rtol=1e-4, atol=1e-4)
    assert sliding(np.zeros((1, 9, 8, 512), "float32")).shape == (1, 3, 2, 4096)


@pytest.mark.parametrize("shape", [STEPS, VOLUME])
def test_sequences_and_volumes_slide_too(shape):
    pool = {1: layers.GlobalMaxPool1D, 3: layers.GlobalMaxPool3D}[len(shape) - 1]
    network = chain(shape, pool(), layers.Dense(3), layers.BatchNorm(), layers.Dense(2))
    x = random((2, *shape))
    answers = np.array(to_convolutional(network)(x)).reshape(2, 2)
    np.testing.assert_allclose(answers, network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["lenet", "topology", "alexnet", "vgg7", "resnet8"])
def test_there_and_back_gives_the_same_kernels(name):
    network = classifier(name, width=4)
    again = to_dense(to_convolutional(network), (28, 28, 1))
    kinds = {each.name: type(each) for each in network.layers if each.weights}
    assert {each.name for each in again.layers if type(each) is keras.layers.Dense} == {
        name for name, kind in kinds.items() if kind is keras.layers.Dense
    }
    for mine, theirs in zip(again.get_weights(), network.get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    x = pixels(2)
    np.testing.assert_allclose(logits(again, x), logits(network, x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    "parts",
    [
        [layers.LocallyConnected2D(2, 3, name="guilty"), keras.layers.Flatten()],
        [keras.layers.Reshape((42, 2), name="guilty"), keras.layers.Flatten()],
        [keras.layers.Flatten(), layers.BatchNorm(name="guilty"), layers.Dense(2)],
    ],
    ids=["unshared", "reshape", "norm of a flat map"],
)
def test_a_network_that_cannot_slide_is_refused_by_its_layer(parts):
    with pytest.raises(ValueError, match="`network` must be made of .* Received: layer=guilty"):
        to_convolutional(chain(IMAGE, *parts))


def test_a_network_of_which_one_branch_alone_would_become_dense_is_refused():
    inputs = keras.Input((1, 1, 2))
    branches = [layers.Conv2D(2, 1)(inputs), layers.Conv2D(2, 3)(inputs)]
    network = keras.Model(inputs, keras.layers.Add(name="guilty")(branches))
    with pytest.raises(ValueError, match="Received: layer=guilty"):
        to_dense(network, (1, 1, 2))
