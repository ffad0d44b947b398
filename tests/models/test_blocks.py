from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import InceptionBlock, NiNBlock, VGGBlock
from tests.models import loops
from tests.models.gradients import (
    TOLERANCES,
    Steps,
    assert_answers,
    assert_equals_paper,
    distinct,
    draw_weights,
)

BLOCKS = {
    "vgg": partial(VGGBlock, 4, 2),
    "vgg_plain": partial(VGGBlock, 3, 3, batch_norm=False, pool=False),
    "nin": partial(NiNBlock, 4, 3),
    "nin_plain": partial(NiNBlock, (4, 2, 3), (3, 2), 2, "valid", batch_norm=False),
    "nin_padded": partial(NiNBlock, 4, 3, padding=((0, 1), (2, 0))),
    "inception": partial(InceptionBlock, 2, (3, 4), (1, 2), 3),
    "inception_plain": partial(InceptionBlock, 2, (3, 4), (1, 2), 3, batch_norm=False),
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


def conv_weights(window, channels, filters):
    return window * window * channels * filters


def conv_relu(steps, window, channels, filters, batch_norm, **options):
    """A convolution and a ReLU, between them a batch norm in place of the bias where asked for."""
    conv = steps.conv((window,) * 2, channels, filters, bias=not batch_norm, **options)
    norm = [steps.batch_norm(filters)] if batch_norm else []
    return loops.chain(conv, *norm, steps.relu)


def vgg(steps, channels, filters, depth, batch_norm, pool):
    """Section 2.1 of Simonyan and Zisserman: 3x3 convolutions, then a pool of 2x2, its step 2."""
    convs = [
        conv_relu(steps, 3, channels if index == 0 else filters, filters, batch_norm)
        for index in range(depth)
    ]
    return loops.chain(*convs, *[steps.max_pool] * pool)


def nin(steps, channels, filters, kernel_size, strides, padding, batch_norm):
    """Figure 1b of Lin et al.: a convolution, then two of 1x1; the step stands in the first."""
    first, second, third = filters
    window = {"strides": (strides,) * 2, "padding": padding}
    return loops.chain(
        conv_relu(steps, kernel_size, channels, first, batch_norm, **window),
        conv_relu(steps, 1, first, second, batch_norm),
        conv_relu(steps, 1, second, third, batch_norm),
    )


def inception(steps, channels, filters1, filters3, filters5, filters_pool, batch_norm):
    """Figure 2b of Szegedy et al.; the pool sees the input itself, in which nothing ties."""
    (reduced3, wide3), (reduced5, wide5) = filters3, filters5
    return loops.joined(
        conv_relu(steps, 1, channels, filters1, batch_norm),
        loops.chain(
            conv_relu(steps, 1, channels, reduced3, batch_norm),
            conv_relu(steps, 3, reduced3, wide3, batch_norm),
        ),
        loops.chain(
            conv_relu(steps, 1, channels, reduced5, batch_norm),
            conv_relu(steps, 5, reduced5, wide5, batch_norm),
        ),
        loops.chain(
            lambda x: loops.pool("Max", x, (3, 3), (1, 1), "same"),
            conv_relu(steps, 1, channels, filters_pool, batch_norm),
        ),
    )


FILTERS = st.integers(1, 3)
PAPERS = {
    VGGBlock: (vgg, {"filters": FILTERS, "depth": st.integers(1, 3), "pool": st.booleans()}),
    NiNBlock: (
        nin,
        {
            "filters": st.tuples(*[FILTERS] * 3),
            "kernel_size": st.integers(1, 3),
            "strides": st.integers(1, 2),
            "padding": st.sampled_from(["same", "valid", 1, ((0, 1), (2, 0))]),
        },
    ),
    InceptionBlock: (
        inception,
        {
            "filters1": FILTERS,
            "filters3": st.tuples(FILTERS, FILTERS),
            "filters5": st.tuples(FILTERS, FILTERS),
            "filters_pool": FILTERS,
        },
    ),
}


def check(kind, data, policy="float32"):
    """Hold a block and its gradients to the recipe of its paper."""
    paper, options = PAPERS[kind]
    arguments = data.draw(st.fixed_dictionaries({**options, "batch_norm": st.booleans()}))
    sizes = data.draw(st.tuples(*[st.integers(3, 6)] * 2))
    channels, seed = data.draw(FILTERS), data.draw(st.integers(0, 99))
    steps = Steps(seed, policy)
    whole = paper(steps, channels, **arguments)
    assert_equals_paper(kind, arguments, distinct((2, *sizes, channels), seed), steps, whole)


@pytest.mark.parametrize("kind", PAPERS)
@settings(max_examples=15)
@given(data=st.data())
def test_a_block_and_its_gradients_equal_plain_loops(kind, data):
    check(kind, data)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@pytest.mark.parametrize("kind", PAPERS)
@settings(max_examples=8)
@given(data=st.data())
def test_in_half_precision_it_stays_near_plain_loops(kind, policy, data):
    check(kind, data, policy)


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


@settings(max_examples=10)
@given(sizes=st.lists(st.integers(1, 4), min_size=1, max_size=3), units=st.integers(1, 4))
@pytest.mark.parametrize("policy", TOLERANCES)
def test_a_dense_layer_and_its_gradients_equal_plain_numpy(policy, sizes, units):
    layer, x = keras.layers.Dense(units, dtype=policy), distinct((2, *sizes), 0)
    layer.build(x.shape)
    draw_weights(layer)
    kernel, bias = layer.get_weights()

    def gradient(dy):
        rows = dy.reshape(-1, units)
        return dy @ kernel.T, x.reshape(-1, sizes[-1]).T @ rows, rows.sum(axis=0)

    assert_answers(layer, x, x @ kernel + bias, gradient, TOLERANCES[policy])


def answer_and_slope(function, values):
    x = tf.constant(values, "float32")
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = function(x)
    return y.numpy(), tape.gradient(y, x).numpy()


def test_a_sigmoid_lies_between_0_and_1_and_saturates_at_both():
    y, slope = answer_and_slope(keras.layers.Activation("sigmoid"), [-20, -2, 0, 2, 20])
    np.testing.assert_allclose(y, [0, 1 / (1 + np.e**2), 0.5, 1 / (1 + np.e**-2), 1], atol=1e-6)
    np.testing.assert_allclose(slope, y * (1 - y), atol=1e-6)
    assert slope[2] == max(slope) == 0.25
    assert max(slope[0], slope[-1]) < 1e-6


def test_a_relu_passes_what_is_positive_and_its_gradient_as_they_are():
    y, slope = answer_and_slope(keras.layers.ReLU(), [-20, -2, 2, 20])
    np.testing.assert_array_equal(y, [0, 0, 2, 20])
    np.testing.assert_array_equal(slope, [0, 0, 1, 1])


def test_the_gradient_of_softmax_and_cross_entropy_is_the_answer_less_the_truth():
    logits, truth = np.array([[1.0, 2.0, 0.5], [0.0, -1.0, 3.0]]), np.eye(3)[[1, 0]]
    loss = keras.losses.CategoricalCrossentropy(from_logits=True, reduction="sum")
    value, slope = answer_and_slope(lambda x: loss(truth, x), logits)
    shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert value == pytest.approx(-np.log((shares * truth).sum(axis=1)).sum())
    np.testing.assert_allclose(slope, shares - truth, atol=1e-6)
