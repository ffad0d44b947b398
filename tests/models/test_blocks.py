from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from models.layers import InceptionBlock, NiNBlock, VGGBlock

BLOCKS = {
    "vgg": partial(VGGBlock, 4, 2),
    "vgg_plain": partial(VGGBlock, 3, 3, batch_norm=False, pool=False),
    "nin": partial(NiNBlock, 4, 3),
    "nin_plain": partial(NiNBlock, (4, 2, 3), (3, 2), 2, "valid", batch_norm=False),
    "nin_padded": partial(NiNBlock, 4, 3, padding=((0, 1), (2, 0))),
    "inception": partial(InceptionBlock, 2, (3, 4), (1, 2), 3),
    "inception_plain": partial(InceptionBlock, 2, (3, 4), (1, 2), 3, batch_norm=False),
}
STOCK = {
    "Conv2D": lambda part: keras.layers.Conv2D(
        part.filters, part.window, part.strides, part.padding, use_bias=part.use_bias
    ),
    "BatchNorm": lambda part: keras.layers.BatchNormalization(epsilon=part.epsilon),
    "ReLU": lambda part: keras.layers.ReLU(),
    "MaxPool2D": lambda part: keras.layers.MaxPooling2D(part.window, part.strides, part.padding),
}


@pytest.fixture(params=BLOCKS)
def create(request):
    return BLOCKS[request.param]


@pytest.fixture
def x():
    return np.random.default_rng(0).normal(size=(2, 8, 6, 3)).astype("float32")


def parts_of(block):
    chains = block.branches if isinstance(block, InceptionBlock) else [block.chain]
    return [part for chain in chains for part in chain]


def image(*sizes):
    return (None, *sizes)


def stock(chain, x, training):
    """Apply Keras's own layers with the weights of a chain of parts."""
    for part in chain:
        layer = STOCK[type(part).__name__](part)
        layer.build(x.shape)
        layer.set_weights(part.get_weights())
        x = layer(x, training=training)
    return x


def built_without_zeros(block, x):
    """Build a block and draw its biases and statistics, which start at nothing."""
    random = np.random.default_rng(1)
    block.build(x.shape)
    block.set_weights([random.uniform(0.2, 1, weight.shape) for weight in block.weights])
    return block


def conv_weights(window, channels, filters):
    return window * window * channels * filters


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["vgg", "vgg_plain", "nin", "nin_plain"])
def test_a_chain_of_parts_equals_that_of_keras(name, training, x):
    block = built_without_zeros(BLOCKS[name](), x)
    expected = stock(block.chain, x, training)
    np.testing.assert_allclose(block(x, training=training), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("name", ["inception", "inception_plain"])
def test_inception_joins_the_channels_of_four_chains_of_keras(name, training, x):
    block = built_without_zeros(BLOCKS[name](), x)
    expected = [np.array(stock(branch, x, training)) for branch in block.branches]
    assert [branch.shape[-1] for branch in expected] == [2, 4, 2, 3]
    expected = np.concatenate(expected, axis=-1)
    np.testing.assert_allclose(block(x, training=training), expected, rtol=1e-4, atol=1e-5)


def test_the_output_shape_is_known_without_building(create, x):
    block = create()
    shape = block.compute_output_shape(x.shape)
    assert not block.built
    assert block.weights == []
    assert shape == block(x).shape


def test_a_vgg_block_halves_height_and_width():
    assert VGGBlock(8, 2)(np.ones((1, 24, 20, 3), "float32")).shape == (1, 12, 10, 8)
    assert VGGBlock(8, 2, pool=False)(np.ones((1, 24, 20, 3), "float32")).shape == (1, 24, 20, 8)


def test_a_vgg_block_names_its_parts_in_their_order():
    block = VGGBlock(4, 2, name="block1")
    assert [part.name for part in block.chain] == [
        "block1_conv1",
        "block1_norm1",
        "block1_relu1",
        "block1_conv2",
        "block1_norm2",
        "block1_relu2",
        "block1_pool",
    ]


def test_an_inception_block_has_the_parameters_of_the_first_in_googlenet():
    block = InceptionBlock(64, (96, 128), (16, 32), 32, batch_norm=False)
    block.build(image(28, 28, 192))
    # Table 1 of Szegedy et al., row inception (3a).
    weights = conv_weights(1, 192, 64)
    weights += conv_weights(1, 192, 96) + conv_weights(3, 96, 128)
    weights += conv_weights(1, 192, 16) + conv_weights(5, 16, 32)
    weights += conv_weights(1, 192, 32)
    assert weights == 163_328
    assert block.count_params() == weights + 368
    assert block.compute_output_shape(image(28, 28, 192)) == image(28, 28, 256)


def test_a_nin_block_has_the_parameters_of_the_first_of_the_paper():
    block = NiNBlock((192, 160, 96), 5, batch_norm=False)
    block.build(image(32, 32, 3))
    # 5x5x3x192, 192x160 and 160x96 weights, and a bias per filter.
    assert block.count_params() == 14_400 + 30_720 + 15_360 + 192 + 160 + 96


def test_a_vgg_block_has_the_parameters_of_the_first_of_vgg16():
    block = VGGBlock(64, 2, batch_norm=False)
    block.build(image(224, 224, 3))
    assert block.count_params() == 1_792 + 36_928


def test_a_block_has_either_a_bias_or_a_batch_norm_before_each_relu(create):
    block = create()
    block.build(image(8, 6, 3))
    names = [weight.name for weight in block.weights]
    convolutions = names.count("kernel")
    assert names.count("beta") == (convolutions if block.batch_norm else 0)
    assert names.count("bias") == (0 if block.batch_norm else convolutions)


def test_config_makes_the_same_block_again(create, x):
    block = create(name="original", dtype="mixed_bfloat16")
    block.trainable = False
    copy = keras.layers.deserialize(keras.layers.serialize(block))
    assert copy.get_config() == block.get_config()
    block.build(x.shape)
    copy.build(x.shape)
    assert copy.trainable_weights == []
    copy.set_weights(block.get_weights())
    np.testing.assert_array_equal(tf.cast(copy(x), "float32"), tf.cast(block(x), "float32"))


def test_a_saved_block_keeps_its_weights_and_statistics(create, x, tmp_path):
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, create()(inputs))
    model(x, training=True)
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(x), model(x))


def test_the_parts_share_the_policy_of_the_block(create, x):
    block = create(dtype="mixed_bfloat16")
    block.build(x.shape)
    assert {part.compute_dtype for part in parts_of(block)} == {"bfloat16"}
    assert {weight.dtype for weight in block.weights} == {"float32"}


def test_training_reaches_every_batch_norm_and_none_of_a_frozen_block(create, x):
    block = create()
    block(x, training=True)
    averages = [weight for weight in block.weights if weight.name == "moving_mean"]
    assert all(np.any(average) for average in averages)
    block.trainable = False
    before = [np.array(average) for average in averages]
    np.testing.assert_array_equal(block(x, training=True), block(x, training=False))
    for average, wanted in zip(averages, before, strict=True):
        np.testing.assert_array_equal(average, wanted)


VGG = {"filters": 4, "depth": 2}
NIN = {"filters": 4, "kernel_size": 3}
INCEPTION = {"filters1": 2, "filters3": (3, 4), "filters5": (1, 2), "filters_pool": 3}


@pytest.mark.parametrize(
    ("kind", "arguments", "bad"),
    [
        (VGGBlock, VGG, {"depth": 0}),
        (NiNBlock, NIN, {"filters": (1, 2)}),
        (NiNBlock, NIN, {"padding": "full"}),
        (InceptionBlock, INCEPTION, {"filters3": 4}),
        (InceptionBlock, INCEPTION, {"filters_pool": 0}),
    ],
)
def test_a_bad_argument_is_refused_by_its_name(kind, arguments, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        kind(**{**arguments, **bad})


def test_an_image_too_small_for_the_pool_is_refused():
    with pytest.raises(ValueError, match="`window` must fit.*window=2, size=1"):
        VGGBlock(4, 1)(np.ones((1, 1, 8, 3), "float32"))
