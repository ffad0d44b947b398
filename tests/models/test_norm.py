import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models import kernels
from models.expand import expand
from models.kernels import normalization
from models.layers import BatchNorm, Conv2D, GlobalMaxPool1D
from tests.models import loops
from tests.models.gradients import Steps, assert_equals_steps, distinct

SHAPES = [(8, 3), (4, 5, 3), (2, 4, 5, 3), (2, 2, 3, 2, 3)]

# The input is exact in a half, the statistics are float32, and each answer is rounded once.
TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 2**-8, "mixed_float16": 2**-11}


def shapes():
    """Every shape of rank 2 to 5."""
    sizes = st.lists(st.integers(1, 4), max_size=3)
    return st.tuples(st.integers(1, 4), sizes, st.integers(1, 4)).map(
        lambda parts: (parts[0], *parts[1], parts[2])
    )


def check(shape, seed, policy):
    """Hold a batch norm and its gradients to plain loops, in inference and in training."""
    steps = Steps(seed)
    whole = steps.batch_norm(shape[-1])
    x = distinct(shape, seed)
    assert_equals_steps(BatchNorm(dtype=policy), x, steps, whole, TOLERANCES[policy])


def random_problem(shape, seed=0):
    random = np.random.default_rng(seed)
    x, dy = random.normal(1, 3, size=(2, *shape)).astype("float32")
    gamma, beta = random.normal(size=(2, shape[-1])).astype("float32")
    return x, dy, gamma, beta


@pytest.fixture(params=["fused", "keras.ops"])
def each_kernel(request, monkeypatch):
    """Run a test on TensorFlow's kernel, then on the one of all other backends."""
    if request.param == "keras.ops":
        monkeypatch.setattr(normalization, "has_fused_kernel", lambda x: False)


@pytest.mark.usefixtures("each_kernel")
@pytest.mark.parametrize("shape", SHAPES)
def test_training_and_its_gradient_equal_plain_loops(shape):
    x, dy, gamma, beta = random_problem(shape)
    expected, gradient = loops.batch_norm(x, gamma, beta, epsilon=1e-2)
    mean, variance = loops.moments(x)
    inputs = [tf.constant(value) for value in (x, gamma, beta)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y, batch_mean, batch_variance = kernels.batch_norm_training(*inputs, epsilon=1e-2)
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(batch_mean, mean, rtol=1e-4, atol=1e-5)
    count = x.size / shape[-1]
    np.testing.assert_allclose(batch_variance, variance * count / (count - 1), rtol=1e-4)
    for actual, wanted in zip(tape.gradient(y, inputs, dy), gradient(dy), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("policy", TOLERANCES)
@settings(max_examples=20)
@given(shape=shapes(), seed=st.integers(0, 99))
def test_a_layer_and_its_gradients_equal_plain_loops(policy, shape, seed):
    check(shape, seed, policy)


@settings(max_examples=20)
@given(shape=shapes(), seed=st.integers(0, 99))
def test_on_other_backends_they_equal_plain_loops_too(shape, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "has_fused_kernel", lambda x: False)
        check(shape, seed, "float32")


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@settings(max_examples=20)
@given(seed=st.integers(0, 99))
def test_on_other_backends_a_gradient_in_half_precision_is_rounded_once(policy, seed):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(normalization, "has_fused_kernel", lambda x: False)
        check((2, 3), seed, policy)


@pytest.mark.usefixtures("each_kernel")
@pytest.mark.parametrize("shape", SHAPES)
def test_inference_uses_the_statistics_it_is_given(shape):
    x, _, gamma, beta = random_problem(shape)
    mean, variance = np.array([1, 2, 3], "float32"), np.array([4, 5, 6], "float32")
    y = kernels.batch_norm_inference(x, gamma, beta, mean, variance, epsilon=1e-2)
    expected = gamma * (x - mean) / np.sqrt(variance + 1e-2) + beta
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("each_kernel")
@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
@pytest.mark.parametrize("shape", [(64, 3), (4, 4, 4, 3)])
def test_statistics_of_a_half_precision_input_are_float32(dtype, shape):
    x = tf.cast(random_problem(shape)[0], dtype)
    y, mean, variance = kernels.batch_norm_training(x, tf.ones(3), tf.zeros(3), epsilon=1e-3)
    assert y.dtype == dtype
    assert mean.dtype == variance.dtype == tf.float32
    values = tf.cast(x, tf.float64).numpy().reshape(-1, 3)
    np.testing.assert_allclose(mean, values.mean(axis=0), rtol=1e-4)
    np.testing.assert_allclose(variance, values.var(axis=0, ddof=1), rtol=1e-2)


@pytest.mark.usefixtures("each_kernel")
def test_a_single_value_has_variance_zero_rather_than_none():
    y, _, variance = kernels.batch_norm_training(tf.ones((1, 2)), tf.ones(2), tf.zeros(2), 1e-3)
    np.testing.assert_array_equal(y, np.zeros((1, 2)))
    np.testing.assert_array_equal(variance, np.zeros(2))


@pytest.mark.parametrize("training", [False, True])
def test_a_type_that_the_fused_kernel_does_not_take_is_normalized_all_the_same(training):
    x = random_problem((8, 3))[0]
    y = BatchNorm(dtype="float64")(x, training=training)
    assert y.dtype == tf.float64
    np.testing.assert_allclose(y, BatchNorm()(x, training=training), rtol=1e-4, atol=1e-5)


@settings(max_examples=10, deadline=None)
@given(shape=st.sampled_from(SHAPES), seed=st.integers(0, 99))
def test_layer_equals_that_of_keras_in_training_and_inference(shape, seed):
    x, _, gamma, beta = random_problem(shape, seed)
    ours, theirs = BatchNorm(momentum=0.8), keras.layers.BatchNormalization(momentum=0.8)
    for layer in (ours, theirs):
        layer.build(shape)
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    np.testing.assert_allclose(
        ours(x, training=True), theirs(x, training=True), rtol=1e-4, atol=1e-4
    )
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-4, atol=1e-5)
    theirs.moving_variance.assign(ours.moving_variance)  # Keras keeps the biased estimate.
    np.testing.assert_allclose(ours(x), theirs(x), rtol=1e-4, atol=1e-4)


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(0, 6), min_size=1, max_size=4).filter(sum), seed=st.integers(0, 99)
)
def test_hidden_steps_are_no_part_of_the_statistics(lengths, seed):
    x, dy, gamma, beta = random_problem((len(lengths), 6, 3), seed)
    mask = np.arange(6) < np.array(lengths)[:, None]
    expected, gradient = loops.batch_norm(x[mask], gamma, beta, epsilon=1e-2)
    mean, variance = loops.moments(x[mask])
    inputs = [tf.constant(value) for value in (x, gamma, beta)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y, batch_mean, batch_variance = kernels.batch_norm_training(*inputs, 1e-2, mask)
        loss = tf.reduce_sum(y[mask] * dy[mask])
    np.testing.assert_allclose(y[mask], expected, rtol=1e-3, atol=1e-3)
    np.testing.assert_allclose(batch_mean, mean, rtol=1e-4, atol=1e-4)
    count = mask.sum()
    unbiased = variance * count / max(count - 1, 1)
    np.testing.assert_allclose(batch_variance, unbiased, rtol=1e-3, atol=1e-5)
    dx, *others = tape.gradient(loss, inputs)
    np.testing.assert_array_equal(dx[~mask], np.zeros_like(x[~mask]))
    for actual, wanted in zip([dx[mask], *others], gradient(dy[mask]), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-2, atol=1e-2)


def test_a_masked_layer_equals_that_of_keras():
    x, _, gamma, beta = random_problem((4, 6, 3))
    mask = np.arange(6) < np.array([[6], [1], [0], [3]])
    ours, theirs = BatchNorm(momentum=0.8), keras.layers.BatchNormalization(momentum=0.8)
    for layer in (ours, theirs):
        layer.build(x.shape)
        layer.gamma.assign(gamma)
        layer.beta.assign(beta)
    y, expected = (layer(x, training=True, mask=mask) for layer in (ours, theirs))
    np.testing.assert_allclose(y[mask], expected[mask], rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(ours.moving_mean, theirs.moving_mean, rtol=1e-4, atol=1e-5)


def test_whatever_stands_at_hidden_steps_changes_nothing_and_the_mask_passes_on():
    x, mask = random_problem((2, 5, 3))[0], np.arange(5) < np.array([[5], [2]])
    inputs, shown = keras.Input((5, 3)), keras.Input((5,), dtype="bool")
    layer = BatchNorm()
    model = keras.Model([inputs, shown], GlobalMaxPool1D()(layer(inputs, mask=shown)))
    y = model([x, mask], training=True)
    moved = layer.get_weights()
    layer.set_weights([np.ones(3), np.zeros(3), np.zeros(3), np.ones(3)])
    spoilt = np.where(mask[..., None], x, np.nan)
    np.testing.assert_array_equal(model([spoilt, mask], training=True), y)
    for weight, wanted in zip(layer.get_weights(), moved, strict=True):
        np.testing.assert_array_equal(weight, wanted)


@pytest.mark.parametrize("training", [False, True])
def test_a_mask_that_hides_nothing_changes_nothing(training):
    x = random_problem((4, 6, 3))[0]
    expected = BatchNorm()(x, training=training)
    y = BatchNorm()(x, training=training, mask=np.ones((4, 6), bool))
    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-5)


def test_momentum_is_the_share_of_the_moving_averages_that_stays():
    layer = BatchNorm(momentum=0.75)
    layer(np.array([[2.0], [4.0]], "float32"), training=True)
    np.testing.assert_allclose(layer.moving_mean, [0.25 * 3])
    np.testing.assert_allclose(layer.moving_variance, [0.75 + 0.25 * 2])


def test_inference_uses_moving_averages_and_leaves_them():
    layer, x = BatchNorm(), np.full((4, 2), 5, "float32")
    np.testing.assert_allclose(layer(x), x / np.sqrt(1 + layer.epsilon), rtol=1e-6)
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(2))


def test_a_frozen_layer_runs_as_in_inference_even_while_training():
    layer, x = BatchNorm(), random_problem((4, 4, 4, 3))[0]
    layer.build(x.shape)
    layer.trainable = False
    np.testing.assert_array_equal(layer(x, training=True), layer(x, training=False))
    np.testing.assert_array_equal(layer.moving_mean, np.zeros(3))


def test_a_convolution_is_normalized_per_channel_over_batch_and_positions():
    y = np.array(BatchNorm()(random_problem((4, 5, 5, 3))[0], training=True))
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), np.ones(3), rtol=1e-3)


def test_a_dense_layer_is_normalized_over_the_batch():
    y = np.array(BatchNorm()(random_problem((16, 3))[0], training=True))
    np.testing.assert_allclose(y.mean(axis=0), np.zeros(3), atol=1e-5)
    np.testing.assert_allclose(y.std(axis=0), np.ones(3), rtol=1e-3)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
def test_statistics_and_parameters_are_float32_under_every_policy(policy):
    layer = BatchNorm(dtype=policy)
    layer(np.ones((2, 3), "float32"), training=True)
    assert {weight.dtype for weight in layer.weights} == {"float32"}


@pytest.mark.parametrize("bad", [{"momentum": 1.0}, {"momentum": -0.1}, {"epsilon": 0}])
def test_a_bad_argument_is_refused_by_its_name(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        BatchNorm(**bad)


@pytest.mark.parametrize("name", ["lenet", "topology", "alexnet", "vgg7", "nin"])
def test_a_network_normalizes_between_each_affine_map_and_its_activation(name):
    options = {"k": 2} if name == "topology" else {}
    model = expand(models.build(name, (32, 32, 3), 10, width=4, batch_norm=True, **options))
    neighbours = zip(model.layers, model.layers[1:], model.layers[2:], strict=False)
    found = [each for each in neighbours if isinstance(each[1], BatchNorm)]
    assert found
    for affine, _, activation in found:
        assert isinstance(affine, Conv2D | keras.layers.Dense)
        assert not affine.use_bias
        assert isinstance(activation, keras.layers.ReLU | keras.layers.Activation)
