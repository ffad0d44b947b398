import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models import kernels
from models.layers import BatchNorm, GlobalMaxPool1D

SHAPES = [(8, 3), (4, 5, 3), (2, 4, 5, 3), (2, 2, 3, 2, 3)]


def loop_batch_norm(x, gamma, beta, epsilon):
    """Return output, statistics of each channel, and a function from gradient to gradients."""
    flat = x.reshape(-1, x.shape[-1]).astype("float64")
    y, mean, variance, scaled = np.zeros_like(flat), [], [], np.zeros_like(flat)
    for channel, values in enumerate(flat.T):
        mean.append(sum(values) / len(values))
        variance.append(sum((value - mean[-1]) ** 2 for value in values) / len(values))
        scaled[:, channel] = (values - mean[-1]) / np.sqrt(variance[-1] + epsilon)
        y[:, channel] = gamma[channel] * scaled[:, channel] + beta[channel]

    def gradient(dy):
        dy = dy.reshape(flat.shape)
        dgamma, dbeta = (dy * scaled).sum(axis=0), dy.sum(axis=0)
        centred = dy - (dbeta + scaled * dgamma) / len(flat)
        dx = gamma / np.sqrt(np.array(variance) + epsilon) * centred
        return dx.reshape(x.shape), dgamma, dbeta

    return y.reshape(x.shape), np.array(mean), np.array(variance), gradient


def random_problem(shape, seed=0):
    random = np.random.default_rng(seed)
    x, dy = random.normal(1, 3, size=(2, *shape)).astype("float32")
    gamma, beta = random.normal(size=(2, shape[-1])).astype("float32")
    return x, dy, gamma, beta


@pytest.fixture(params=["fused", "keras.ops"])
def each_kernel(request, monkeypatch):
    """Run a test on TensorFlow's kernel, then on the one of all other backends."""
    if request.param == "keras.ops":
        monkeypatch.setattr(kernels, "_has_fused_kernel", lambda x: False)


@pytest.mark.usefixtures("each_kernel")
@pytest.mark.parametrize("shape", SHAPES)
def test_training_and_its_gradient_equal_plain_loops(shape):
    x, dy, gamma, beta = random_problem(shape)
    expected, mean, variance, gradient = loop_batch_norm(x, gamma, beta, epsilon=1e-2)
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
    expected, mean, variance, gradient = loop_batch_norm(x[mask], gamma, beta, epsilon=1e-2)
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
