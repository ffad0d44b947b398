import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models import layers
from tests.models import loops, runtimes
from tests.models.gradients import assert_close, distinct

KINDS = ("Max", "Average", "L2")
RANKS = (1, 2, 3)
TOLERANCES = {"mixed_bfloat16": 2**-7, "mixed_float16": 2**-9}
SHAPES = st.integers(1, 3).flatmap(lambda rank: st.tuples(*[st.integers(1, 5)] * rank))
LENGTHS = st.lists(st.integers(0, 6), min_size=1, max_size=3)


def global_pool(kind, rank, **options):
    return getattr(layers, f"Global{kind}Pool{rank}D")(**options)


def loop_global_pool(kind, x, lengths=None):
    """Pool by one window as large as `x`, over the first steps of each example where told so."""
    _, *sizes, channels = x.shape
    real = None if lengths is None else np.arange(sizes[0]) < np.array(lengths)[:, None]
    y, gradient = loops.pool(kind, x, sizes, sizes, "valid", real)
    dy = np.ones((len(x), channels))
    return y.reshape(dy.shape), *gradient(dy.reshape(y.shape))


def call_and_gradient(layer, x, **options):
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(inputs, **options)
    return tf.cast(y, tf.float32).numpy(), tape.gradient(y, inputs).numpy()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(sizes=SHAPES, seed=st.integers(0, 99))
def test_a_global_pool_and_its_gradient_equal_plain_loops(kind, sizes, seed):
    x = np.random.default_rng(seed).normal(size=(2, *sizes, 2)).astype("float32")
    expected, slope = loop_global_pool(kind, x)
    y, dx = call_and_gradient(global_pool(kind, len(sizes)), x)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(lengths=LENGTHS, seed=st.integers(0, 99))
def test_hidden_steps_never_count_and_nothing_gives_zero(kind, lengths, seed):
    x = np.random.default_rng(seed).normal(size=(len(lengths), 6, 2)).astype("float32")
    expected, slope = loop_global_pool(kind, x, lengths)
    mask = tf.sequence_mask(lengths, 6)
    y, dx = call_and_gradient(global_pool(kind, 1), x, mask=mask)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(dx, slope, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(sizes=SHAPES, seed=st.integers(0, 99))
def test_in_half_precision_it_stays_near_plain_loops(kind, policy, sizes, seed):
    x = distinct((2, *sizes, 2), seed)
    y, dx = call_and_gradient(global_pool(kind, len(sizes), dtype=policy), x)
    for actual, wanted in zip((y, dx), loop_global_pool(kind, x), strict=True):
        assert_close(actual, wanted, TOLERANCES[policy])


@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", KINDS)
def test_a_global_pool_in_half_precision_is_right_to_its_last_bits(kind, rank, policy):
    x = np.random.default_rng(0).uniform(1, 2, size=(2, *(600, 24, 9)[rank - 1 :][:1] * rank, 2))
    x = tf.cast(tf.cast(x, policy.removeprefix("mixed_")), tf.float32).numpy()
    y = global_pool(kind, rank, dtype=policy)(x)
    expected, _ = loop_global_pool(kind, x)
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, rtol=TOLERANCES[policy])


@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("kind", ["Max", "Average"])
def test_a_global_pool_equals_that_of_keras(kind, rank):
    x = np.random.default_rng(0).normal(size=(2, *(7, 8, 6)[:rank], 3)).astype("float32")
    stock = getattr(keras.layers, f"Global{kind}Pooling{rank}D")()
    np.testing.assert_array_equal(global_pool(kind, rank)(x), stock(x))


@pytest.mark.parametrize("kind", KINDS)
def test_sequences_of_every_length_become_vectors_of_one_length(kind):
    layer = global_pool(kind, 1)
    assert {layer(np.ones((1, steps, 64), "float32")).shape for steps in (1, 5, 50)} == {(1, 64)}


@pytest.mark.parametrize("policy", ["float32", *TOLERANCES])
@pytest.mark.parametrize("kind", KINDS)
def test_padding_a_batch_longer_never_changes_the_answer(kind, policy):
    x = -np.random.default_rng(0).uniform(1, 2, size=(2, 5, 3)).astype("float32")
    longer = np.pad(x, ((0, 0), (0, 300), (0, 0)), constant_values=np.nan)
    layer = global_pool(kind, 1, dtype=policy)
    y, dx = call_and_gradient(layer, longer, mask=tf.sequence_mask([5, 3], 305))
    alone, slope = call_and_gradient(layer, x, mask=tf.sequence_mask([5, 3], 5))
    np.testing.assert_allclose(y, alone, rtol=1e-6)
    np.testing.assert_allclose(dx[:, :5], slope, rtol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_the_mask_of_an_embedding_reaches_a_global_pool_and_ends_there(kind):
    inputs = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 2, mask_zero=True, name="embedding")(inputs)
    pooled = global_pool(kind, 1)(embedded)
    model = keras.Model(inputs, pooled)
    tokens = np.array([[1, 2, 3, 0, 0], [4, 0, 0, 0, 0], [0, 0, 0, 0, 0]])
    vectors = np.array(model.get_layer("embedding").embeddings)[tokens]
    expected, _ = loop_global_pool(kind, vectors, [3, 1, 0])
    np.testing.assert_allclose(model.predict(tokens, verbose=0), expected, rtol=1e-5, atol=1e-7)


def test_max_over_time_is_the_largest_value_whenever_it_comes():
    x = np.array([[1, 5, 2, 9], [5, 1, 2, 9]], "float32")[..., None]
    y = global_pool("Max", 1)(x, mask=tf.sequence_mask([3, 3], 4))
    np.testing.assert_array_equal(y, [[5], [5]])


def test_max_over_time_keeps_its_numbers_in_int8(tmp_path):
    tokens = np.random.default_rng(0).integers(1, 20, size=(16, 12)).astype("int32")
    tokens[np.arange(12) >= np.arange(1, 17)[:, None] % 12] = 0
    inputs = keras.Input((12,), dtype="int32", name="tokens")
    embedded = keras.layers.Embedding(20, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, global_pool("Max", 1)(embedded))
    saved_model = runtimes.export(model, tmp_path, (1, 12))
    content = convert_with_integer_inputs(saved_model, tokens)
    np.testing.assert_allclose(runtimes.run_tflite(content, tokens), model(tokens), atol=0.002)


def convert_with_integer_inputs(saved_model, tokens):
    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved_model))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([each[None]] for each in tokens)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_output_type = tf.int8
    return converter.convert()


@pytest.mark.parametrize("policy", ["float32", *TOLERANCES])
def test_l2_pool_of_zeros_has_gradient_zero(policy):
    y, dx = call_and_gradient(global_pool("L2", 2, dtype=policy), np.zeros((1, 4, 4, 1), "float32"))
    np.testing.assert_array_equal(y, [[0]])
    np.testing.assert_array_equal(dx, np.zeros(dx.shape))


def test_l2_pool_takes_values_whose_squares_its_type_cannot_hold():
    x = np.full((1, 2, 2, 1), 3e4, "float32")
    y = global_pool("L2", 2, dtype="mixed_float16")(x)
    np.testing.assert_allclose(y, [[6e4]], rtol=0.001)


@pytest.mark.parametrize("rank", RANKS)
def test_an_input_of_another_rank_is_refused(rank):
    with pytest.raises(ValueError, match=f"expected ndim={rank + 2}, found ndim=2"):
        global_pool("Max", rank)(np.ones((2, 3), "float32"))
