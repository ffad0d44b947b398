"""Batch normalization folded away gives the same answers."""

import keras
import numpy as np
import pytest

from models import layers
from models.convert import fold_batch_norm
from tests.models.trained import chain, classifier, logits, pixels, random, trained

STEPS, IMAGE, VOLUME = (9, 3), (7, 6, 2), (4, 5, 6, 2)
FOLDABLE = {
    "Conv1D": (lambda: layers.Conv1D(4, 3), STEPS),
    "Conv2D": (lambda: layers.Conv2D(4, 3, 2, use_bias=False), IMAGE),
    "Conv3D": (lambda: layers.Conv3D(4, 2), VOLUME),
    "grouped": (lambda: layers.Conv2D(4, 3, groups=2), IMAGE),
    "DepthwiseConv2D": (lambda: layers.DepthwiseConv2D(3, depth_multiplier=3), IMAGE),
    "LocallyConnected2D": (lambda: layers.LocallyConnected2D(4, 3), IMAGE),
    "ConvTranspose1D": (lambda: layers.ConvTranspose1D(4, 3, 2), STEPS),
    "ConvTranspose2D": (lambda: layers.ConvTranspose2D(4, 3, 2, use_bias=False), IMAGE),
    "Dense": (lambda: layers.Dense(4), (5,)),
}
NORMS = {
    "ours": layers.BatchNorm,
    "Keras's": keras.layers.BatchNormalization,
    "without scale": lambda: keras.layers.BatchNormalization(scale=False),
    "without offset": lambda: keras.layers.BatchNormalization(center=False),
}


def norms(network):
    """The normalizations that are left."""
    kinds = (layers.BatchNorm, keras.layers.BatchNormalization)
    return [each for each in network.layers if isinstance(each, kinds)]


@pytest.mark.parametrize("kind", FOLDABLE)
def test_a_folded_layer_answers_as_the_layer_and_its_normalization(kind):
    create, shape = FOLDABLE[kind]
    network = chain(shape, create(), layers.BatchNorm())
    folded = fold_batch_norm(network)
    assert norms(folded) == []
    x = random((3, *shape))
    np.testing.assert_allclose(folded(x), network(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_every_normalization_folds(norm):
    network = chain(IMAGE, layers.Conv2D(4, 3), NORMS[norm](), keras.layers.ReLU())
    folded = fold_batch_norm(network)
    assert norms(folded) == []
    x = random((3, *IMAGE))
    np.testing.assert_allclose(folded(x), network(x), rtol=1e-5, atol=1e-5)


def test_a_normalization_stays_where_something_else_reads_the_layer_too():
    inputs = keras.Input(IMAGE)
    maps = layers.Conv2D(2, 3)(inputs)
    network = keras.Model(inputs, keras.layers.Add()([layers.BatchNorm()(maps), maps]))
    assert len(norms(fold_batch_norm(network))) == 1


def test_a_normalization_stays_where_the_layer_is_itself_an_answer():
    inputs = keras.Input(IMAGE)
    maps = layers.Conv2D(2, 3)(inputs)
    network = keras.Model(inputs, {"maps": maps, "normal": layers.BatchNorm()(maps)})
    assert len(norms(fold_batch_norm(network))) == 1


def test_a_normalization_stays_where_a_layer_is_applied_twice():
    inputs = keras.Input((8, 8, 2))
    conv, norm = layers.Conv2D(2, 3), layers.BatchNorm()
    network = trained(keras.Model(inputs, conv(norm(conv(inputs)))))
    folded = fold_batch_norm(network)
    assert len(norms(folded)) == 1
    np.testing.assert_allclose(folded(random((2, 8, 8, 2))), network(random((2, 8, 8, 2))))


@pytest.mark.parametrize("padding", ["valid", "same", "wide"])
def test_a_normalization_folds_through_max_pools_unless_its_scale_is_negative(padding):
    network = chain(
        IMAGE,
        layers.Conv2D(4, 3),
        layers.MaxPool2D(2, 2, padding),
        keras.layers.MaxPooling2D(1),
        layers.BatchNorm(),
    )
    x, norm = random((3, *IMAGE)), network.layers[-1]
    gamma, *others = norm.get_weights()
    norm.set_weights([np.abs(gamma), *others])
    folded = fold_batch_norm(network)
    assert norms(folded) == []
    np.testing.assert_allclose(folded(x), network(x), rtol=1e-5, atol=1e-5)
    norm.set_weights([np.abs(gamma) - 2 * np.eye(4)[0] * np.abs(gamma), *others])
    folded = fold_batch_norm(network)
    assert len(norms(folded)) == 1
    np.testing.assert_allclose(folded(x), network(x), rtol=1e-5, atol=1e-5)


def test_a_normalization_stays_behind_an_activation_or_another_pool():
    network = chain(
        (5,), keras.layers.Dense(4, activation="tanh"), layers.BatchNorm(), layers.Dense(2)
    )
    assert len(norms(fold_batch_norm(network))) == 1
    for pools in ([layers.MaxPool2D()], [layers.Conv2D(2, 3), layers.AveragePool2D()]):
        assert len(norms(fold_batch_norm(chain(IMAGE, *pools, layers.BatchNorm())))) == 1


@pytest.mark.parametrize("name", ["lenet", "vgg7", "nin", "googlenet", "resnet8", "davidnet"])
def test_a_folded_network_has_no_normalization_and_the_same_logits(name):
    network = classifier(name, width=4)
    before = network.get_weights()
    folded = fold_batch_norm(network)
    assert norms(folded) == []
    x = pixels(4)
    expected = logits(network, x)
    np.testing.assert_allclose(logits(folded, x), expected, atol=1e-5 * np.ptp(expected))
    for mine, theirs in zip(network.get_weights(), before, strict=True):
        np.testing.assert_array_equal(mine, theirs)
