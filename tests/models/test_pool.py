import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from models import layers
from tests.models import loops, runtimes
from tests.models.gradients import distinct

KINDS = ("Max", "Average", "L2")
RANKS = (1, 2, 3)
# Results are rounded once or twice; 8 and 11 bits are kept.
TOLERANCES = {"mixed_bfloat16": 2**-7, "mixed_float16": 2**-9}


def pool(kind, rank, *arguments, **options):
    return getattr(layers, f"{kind}Pool{rank}D")(*arguments, **options)


def paddings(window):
    """Draw every kind of padding that leaves no window without a position."""
    zeros = st.integers(0, min(window) - 1)
    pairs = st.tuples(*[st.tuples(*[st.integers(0, size - 1)] * 2) for size in window])
    return st.one_of(st.sampled_from(["same", "valid", "narrow", "wide"]), zeros, pairs)


@st.composite
def problems(draw, ranks=RANKS):
    """Draw an input without ties, and the arguments of a pool whose window fits into it."""
    rank = draw(st.sampled_from(ranks))
    sizes, window, strides = (
        draw(st.tuples(*[st.integers(low, high)] * rank)) for low, high in ((2, 5), (1, 3), (1, 3))
    )
    padding = draw(paddings(window))
    shape = (2, *sizes, 2)
    # TensorFlow keeps no gradient of a max pool in one dimension whose window fits nowhere.
    assume(all(counts_of(sizes, window, strides, padding)))
    return distinct(shape, draw(st.integers(0, 99))), window, strides, padding


def counts_of(sizes, *arguments):
    return loops.Sliding(sizes, *arguments).positions


def call_and_gradient(layer, x, dy=None, **options):
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(inputs, **options)
    dy = np.ones(y.shape) if dy is None else dy
    return tf.cast(y, tf.float32).numpy(), tape.gradient(y, inputs, tf.cast(dy, y.dtype)).numpy()


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=40)
@given(problem=problems(), seed=st.integers(0, 99))
def test_a_pool_and_its_gradient_equal_plain_loops(kind, problem, seed):
    x, *arguments = problem
    expected, gradient = loops.pool(kind, x, *arguments)
    dy = np.random.default_rng(seed).normal(size=expected.shape)
    y, dx = call_and_gradient(pool(kind, x.ndim - 2, *arguments), x, dy)
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, *gradient(dy), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", TOLERANCES)
@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=15)
@given(problem=problems())
def test_a_pool_in_half_precision_is_right_to_its_last_bits(kind, policy, problem):
    x, *arguments = problem
    expected, gradient = loops.pool(kind, x, *arguments)
    y, dx = call_and_gradient(pool(kind, x.ndim - 2, *arguments, dtype=policy), x)
    tolerance = TOLERANCES[policy]
    np.testing.assert_allclose(y, expected, rtol=tolerance, atol=tolerance)
    # A position may stand in 27 windows, whose gradients are added up in half precision.
    np.testing.assert_allclose(dx, *gradient(np.ones(y.shape)), rtol=4 * tolerance, atol=tolerance)


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=25)
@given(problem=problems(ranks=[1]), lengths=st.tuples(*[st.integers(0, 5)] * 2))
def test_what_a_mask_hides_counts_as_padding(kind, problem, lengths):
    x, *arguments = problem
    mask = np.arange(x.shape[1]) < np.array(lengths)[:, None]
    expected, gradient = loops.pool(kind, x, *arguments, real=mask)
    layer = pool(kind, 1, *arguments)
    y, dx = call_and_gradient(layer, x, mask=tf.constant(mask))
    np.testing.assert_allclose(y, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(dx, *gradient(np.ones(y.shape)), rtol=1e-4, atol=1e-5)


@settings(max_examples=25)
@given(problem=problems(ranks=[1]), lengths=st.tuples(*[st.integers(0, 5)] * 2))
def test_as_many_outputs_stay_visible_as_the_sequence_alone_would_have(problem, lengths):
    x, *arguments = problem
    lengths = np.minimum(lengths, x.shape[1])
    layer = pool("Max", 1, *arguments)
    mask = np.array(layer.compute_mask(x, tf.sequence_mask(lengths, x.shape[1])))
    assert mask.shape == layer.compute_output_shape(x.shape)[:2]
    for visible, length in zip(mask, lengths, strict=True):
        count = counts_of([length], *arguments)[0] if length else 0
        np.testing.assert_array_equal(visible, np.arange(len(visible)) < count)


@pytest.mark.parametrize("padding", ["same", "valid", "wide", 1, ((2, 0),)])
def test_nothing_of_an_empty_sequence_is_visible_not_even_its_padding(padding):
    mask = pool("Max", 1, 3, padding=padding).compute_mask(None, tf.sequence_mask([0, 7], 7))
    assert not np.any(mask[0])
    assert np.all(mask[1])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("padding", ["valid", "wide", 1, "same"])
def test_padding_a_batch_longer_never_changes_what_is_visible(kind, padding):
    x = np.random.default_rng(0).normal(size=(1, 7, 2)).astype("float32")
    longer = np.pad(x, ((0, 0), (0, 4), (0, 0)), constant_values=9)
    layer = pool(kind, 1, 3, 1 if padding == "same" else 2, padding)
    y = layer(longer, mask=tf.sequence_mask([7], 11))
    alone = layer(x)
    np.testing.assert_allclose(y[:, : alone.shape[1]], alone, rtol=1e-6)


@pytest.mark.parametrize(("kind", "padding"), [("L2", "same"), ("Max", "wide"), ("Average", 1)])
def test_sequences_of_unknown_length_are_pooled_and_masked(kind, padding):
    inputs = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 2, mask_zero=True)(inputs)
    hidden = pool(kind, 1, 3, 2, padding)(embedded)
    model = keras.Model(inputs, [hidden, layers.GlobalMaxPool1D()(hidden)])
    for length in (4, 7):
        tokens = np.arange(1, length + 1)[None] % 9
        maps, largest = model.predict(tokens, verbose=0)
        assert maps.shape[1] == counts_of([length], [3], [2], padding)[0]
        np.testing.assert_array_equal(largest, maps.max(axis=1))


@pytest.mark.parametrize("kind", ["Max", "Average"])
@pytest.mark.parametrize("rank", RANKS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [None, 1, 3])
def test_a_pool_equals_that_of_keras(kind, rank, padding, strides):
    x = np.random.default_rng(0).normal(size=(2, *(7, 8, 6)[:rank], 3)).astype("float32")
    stock = getattr(keras.layers, f"{kind}Pooling{rank}D")(2, strides, padding)
    y = pool(kind, rank, 2, strides, padding)(x)
    np.testing.assert_allclose(y, stock(x), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_two_by_two_windows_do_not_overlap_by_default_and_halve_24_to_12(kind):
    layer = pool(kind, 2)
    assert layer.strides == layer.pool_size == (2, 2)
    assert layer(np.zeros((1, 24, 24, 20), "float32")).shape == (1, 12, 12, 20)


def test_gradient_of_max_pool_goes_to_the_largest_value_alone():
    x = np.array([[1, 9, 2, 3], [4, 5, 8, 6]], "float32").reshape(1, 2, 4, 1)
    _, dx = call_and_gradient(pool("Max", 2), x, np.array([10, 20]).reshape(1, 1, 2, 1))
    np.testing.assert_array_equal(dx[0, ..., 0], [[0, 10, 0, 0], [0, 0, 20, 0]])


@pytest.mark.parametrize("padding", ["valid", "same", "wide"])
@pytest.mark.parametrize("rank", RANKS)
def test_gradient_of_max_pool_goes_to_one_position_even_where_several_are_largest(rank, padding):
    x = np.zeros((1, *(4,) * rank, 1), "float32")
    y, dx = call_and_gradient(pool("Max", rank, padding=padding), x)
    assert dx.sum() == y.size
    assert (dx == dx.round()).all()


@pytest.mark.parametrize("rank", RANKS)
def test_gradient_of_average_pool_is_shared_equally_and_its_sum_conserved(rank):
    x = np.random.default_rng(0).normal(size=(1, *(6,) * rank, 1)).astype("float32")
    dy = np.random.default_rng(1).normal(size=(1, *(2,) * rank, 1)).astype("float32")
    _, dx = call_and_gradient(pool("Average", rank, 3), x, dy)
    shared = np.kron(dy[0, ..., 0], np.ones((3,) * rank)) / 3**rank
    np.testing.assert_allclose(dx[0, ..., 0], shared, rtol=1e-5)
    assert dx.sum() == pytest.approx(dy.sum(), rel=1e-5)


def test_the_sum_of_the_average_gradient_is_conserved_where_windows_reach_into_padding():
    x = np.random.default_rng(0).normal(size=(1, 5, 4, 1)).astype("float32")
    y, dx = call_and_gradient(pool("Average", 2, 3, 1, "wide"), x)
    assert dx.sum() == pytest.approx(y.size, rel=1e-5)


def test_l2_pool_is_the_root_of_the_sum_of_squares_and_not_of_their_mean():
    x = np.array([3, 4, 0, 12, 5, 0], "float32").reshape(1, 6, 1)
    np.testing.assert_array_equal(pool("L2", 1, 2)(x)[0, :, 0], [5, 12, 5])
    np.testing.assert_array_equal(pool("L2", 2)(np.ones((1, 2, 2, 1), "float32")), [[[[2]]]])


@pytest.mark.parametrize("policy", ["float32", *TOLERANCES], indirect=True)
@pytest.mark.parametrize("padding", ["valid", "wide"])
def test_l2_pool_of_zeros_has_gradient_zero(policy, padding):
    y, dx = call_and_gradient(pool("L2", 2, padding=padding), np.zeros((1, 4, 4, 1), "float32"))
    np.testing.assert_array_equal(y, np.zeros(y.shape))
    np.testing.assert_array_equal(dx, np.zeros(dx.shape))


@pytest.mark.parametrize(
    ("policy", "value"),
    [
        ("mixed_float16", 3e4),
        ("mixed_bfloat16", 1e18),
        ("float32", 1e18),
        ("mixed_float16", 2**-24),
    ],
    indirect=["policy"],
)
def test_l2_pool_takes_values_whose_squares_its_type_cannot_hold(policy, value):
    x = np.full((1, 2, 2, 1), value, "float32")
    y, dx = call_and_gradient(pool("L2", 2), x)
    np.testing.assert_allclose(y, [[[[2 * value]]]], rtol=0.01)
    np.testing.assert_allclose(dx, np.full(x.shape, 0.5), rtol=0.01)


def test_a_padded_max_pool_keeps_its_numbers_in_int8(tmp_path):
    x = np.random.default_rng(0).normal(size=(16, 6, 5, 2)).astype("float32")
    inputs = keras.Input(x.shape[1:], name="image")
    model = keras.Model(inputs, pool("Max", 2, 3, 1, "wide")(inputs))
    content = runtimes.convert(runtimes.export(model, tmp_path, (1, *x.shape[1:])), x)
    # A step of 8 bits over the range of the values.
    np.testing.assert_allclose(runtimes.run_tflite(content, x), model(x), atol=np.ptp(x) / 255)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [{"pool_size": 0}, {"strides": 0}, {"padding": "full"}])
def test_a_bad_argument_is_refused_by_its_name(kind, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        pool(kind, 2, **bad)


@pytest.mark.parametrize("padding", [2, ((0, 0), (0, 2))])
def test_padding_as_wide_as_the_window_is_refused(padding):
    with pytest.raises(ValueError, match=r"`padding` must be less than `pool_size`.*Received: pad"):
        pool("Max", 2, 2, padding=padding)


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="`window` must fit.*window=4, size=3"):
        pool("Max", 2, 4)(np.ones((1, 3, 6, 1), "float32"))
