from functools import partial

import keras
import numpy as np
import pytest

import models
from models import layers
from models.expand import expand
from models.layers.block import Block

BLOCKS = {
    "residual": partial(layers.ResidualBlock, 3),
    "residual_projection": partial(layers.ResidualBlock, 4, 2),
    "residual_padding": partial(layers.ResidualBlock, 4, 2, shortcut="padding"),
    "residual_plain": partial(layers.ResidualBlock, 4, 2, shortcut="none"),
    "bottleneck": partial(layers.BottleneckBlock, 2),
    "vgg": partial(layers.VGGBlock, 4, 2),
    "nin": partial(layers.NiNBlock, 4, 3, batch_norm=False),
    "inception": partial(layers.InceptionBlock, 2, (3, 4), (1, 2), 3),
    "dilated": partial(layers.DilatedStack2D, 3),
}


@keras.saving.register_keras_serializable(package="tests")
class Pair(Block):
    """A block of blocks."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first = self.part(layers.VGGBlock, 3, 1, pool=False, name="first")
        self.second = self.part(layers.ResidualBlock, 3, name="second")

    def call(self, inputs):
        return self.second(self.first(inputs))

    def compute_output_shape(self, input_shape):
        return self.second.compute_output_shape(self.first.compute_output_shape(input_shape))


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(4, 6, 6, 3)).astype("float32")


def network_of(*blocks):
    inputs = keras.Input((6, 6, 3), name="image")
    outputs = inputs
    for block in blocks:
        outputs = block(outputs)
    return keras.Model(inputs, {"map": outputs}, name="network")


def answer_and_state(network, weights, x, training):
    """Return what a network answers from given weights, and the weights after that."""
    network.set_weights(weights)
    answer = np.array(network(x, training=training)["map"])
    return answer, [np.array(weight) for weight in network.weights]


def assert_equal_but_flat(network, x):
    flat = expand(network)
    assert not any(isinstance(layer, (Block, keras.Model)) for layer in flat.layers)
    names = [layer.name for layer in flat.layers]
    assert len(set(names)) == len(names)
    assert {id(weight) for weight in flat.weights} == {id(weight) for weight in network.weights}
    by_id = {id(weight): np.array(weight) for weight in network.weights}
    for training in (False, True):
        before = [by_id[id(weight)] for weight in network.weights]
        answer, _ = answer_and_state(network, before, x, training)
        moved = {id(weight): np.array(weight) for weight in network.weights}
        before = [by_id[id(weight)] for weight in flat.weights]
        same, after = answer_and_state(flat, before, x, training)
        np.testing.assert_allclose(same, answer, rtol=1e-5, atol=1e-6)
        for weight, value in zip(flat.weights, after, strict=True):
            np.testing.assert_allclose(value, moved[id(weight)], rtol=1e-5, atol=1e-6)
    return flat


@pytest.mark.parametrize("create", BLOCKS.values(), ids=BLOCKS)
def test_a_flat_network_answers_and_learns_as_the_one_with_blocks(create, x):
    assert_equal_but_flat(network_of(create()), x)


def test_a_block_of_blocks_is_opened_to_the_last(x):
    flat = assert_equal_but_flat(network_of(Pair(name="pair")), x)
    assert "pair_second_conv1" in [layer.name for layer in flat.layers]


def test_a_block_that_is_applied_twice_is_opened_twice_on_the_same_weights(x):
    block = layers.ResidualBlock(3)
    assert_equal_but_flat(network_of(block, block), x)


def test_networks_within_a_network_are_opened(x):
    inner = keras.Sequential([keras.Input((6, 6, 3)), layers.VGGBlock(3, 1, pool=False)])
    inputs = keras.Input((6, 6, 3))
    functional = keras.Model(inputs, layers.ResidualBlock(3)(inputs))
    assert_equal_but_flat(network_of(inner, functional, functional), x)


def test_a_flat_network_is_saved_and_loaded_without_blocks(x, tmp_path):
    network = network_of(*[create() for create in list(BLOCKS.values())[:2]])
    network(x, training=True)
    flat = expand(network)
    flat.save(tmp_path / "flat.keras")
    reloaded = keras.saving.load_model(tmp_path / "flat.keras")
    np.testing.assert_array_equal(reloaded(x)["map"], flat(x)["map"])
    assert [layer.name for layer in reloaded.layers] == [layer.name for layer in flat.layers]


def test_a_frozen_block_stays_frozen(x):
    block = layers.ResidualBlock(4, trainable=False)
    network = network_of(block, layers.VGGBlock(4, 1))
    flat = assert_equal_but_flat(network, x)
    assert len(flat.trainable_weights) == len(network.trainable_weights) == 3


def test_a_block_called_with_training_set_stays_whole(x):
    inputs = keras.Input((6, 6, 3), name="image")
    block = layers.VGGBlock(4, 1)
    network = keras.Model(inputs, {"map": block(inputs, training=False)})
    flat = expand(network)
    assert block in flat.layers
    np.testing.assert_array_equal(flat(x, training=True)["map"], network(x, training=True)["map"])


def test_inputs_and_outputs_keep_their_names():
    network = models.build("resnet8", (8, 8, 1), 2, width=1)
    flat = expand(network)
    assert flat.name == network.name
    assert [each.name for each in flat.inputs] == ["image"]
    assert list(flat.output) == ["logits"]
