import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import AveragePool2D, GlobalAveragePool2D, GlobalMaxPool2D, MaxPool2D

PAIRS = [
    (MaxPool2D, keras.layers.MaxPooling2D),
    (AveragePool2D, keras.layers.AveragePooling2D),
]
GLOBAL_PAIRS = [
    (GlobalMaxPool2D, keras.layers.GlobalMaxPooling2D),
    (GlobalAveragePool2D, keras.layers.GlobalAveragePooling2D),
]


def loop_pool(x, size, stride, reduce):
    rows = range(0, x.shape[1] - size + 1, stride)
    columns = range(0, x.shape[2] - size + 1, stride)
    return np.stack(
        [
            np.stack([reduce(x[:, i : i + size, j : j + size], (1, 2)) for j in columns], 1)
            for i in rows
        ],
        axis=1,
    )


def pool_gradient(layer, x, dy):
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(inputs)
    return tape.gradient(y, inputs, tf.constant(dy, y.dtype)).numpy()


@pytest.mark.parametrize(("layer", "reduce"), [(MaxPool2D, np.max), (AveragePool2D, np.mean)])
@settings(max_examples=10, deadline=None)
@given(size=st.integers(1, 3), stride=st.integers(1, 3), seed=st.integers(0, 99))
def test_pool_equals_plain_loops(layer, reduce, size, stride, seed):
    x = np.random.default_rng(seed).normal(size=(2, 6, 5, 3)).astype("float32")
    expected = loop_pool(x, size, stride, reduce)
    np.testing.assert_allclose(layer(size, stride)(x), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("ours", "theirs"), PAIRS)
@pytest.mark.parametrize("padding", ["same", "valid"])
@pytest.mark.parametrize("strides", [None, 1, (2, 3)])
def test_pool_equals_that_of_keras(ours, theirs, padding, strides):
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype("float32")
    arguments = {"pool_size": (3, 2), "strides": strides, "padding": padding}
    np.testing.assert_array_equal(ours(**arguments)(x), theirs(**arguments)(x))


@pytest.mark.parametrize(("ours", "theirs"), GLOBAL_PAIRS)
def test_global_pool_equals_that_of_keras(ours, theirs):
    x = np.random.default_rng(0).normal(size=(2, 7, 8, 3)).astype("float32")
    np.testing.assert_array_equal(ours()(x), theirs()(x))


@pytest.mark.parametrize("layer", [MaxPool2D, AveragePool2D])
def test_two_by_two_windows_do_not_overlap_by_default_and_halve_24_to_12(layer):
    pool = layer()
    assert pool.strides == pool.pool_size == (2, 2)
    assert pool(np.zeros((1, 24, 24, 20), "float32")).shape == (1, 12, 12, 20)


def test_gradient_of_max_pool_goes_to_the_largest_value_alone():
    x = np.random.default_rng(0).permutation(4 * 4).astype("float32").reshape(1, 4, 4, 1)
    dx = pool_gradient(MaxPool2D(), x, np.arange(1, 5).reshape(1, 2, 2, 1))
    for i, j, arriving in [(0, 0, 1), (0, 1, 2), (1, 0, 3), (1, 1, 4)]:
        window = np.s_[0, 2 * i : 2 * i + 2, 2 * j : 2 * j + 2, 0]
        expected = np.where(x[window] == x[window].max(), arriving, 0)
        np.testing.assert_array_equal(dx[window], expected)


def test_gradient_of_average_pool_is_shared_equally_and_its_sum_conserved():
    x = np.random.default_rng(0).normal(size=(1, 6, 6, 1)).astype("float32")
    dy = np.random.default_rng(1).normal(size=(1, 2, 2, 1)).astype("float32")
    dx = pool_gradient(AveragePool2D(3), x, dy)
    np.testing.assert_allclose(dx[0, ..., 0], np.kron(dy[0, ..., 0], np.ones((3, 3))) / 9, 1e-6)
    assert dx.sum() == pytest.approx(dy.sum(), rel=1e-5)


@pytest.mark.parametrize("layer", [MaxPool2D, AveragePool2D])
@pytest.mark.parametrize("bad", [{"pool_size": 0}, {"strides": 0}, {"padding": "full"}])
def test_a_bad_argument_is_refused_by_its_name(layer, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        layer(**bad)


def test_a_window_larger_than_the_image_is_refused():
    with pytest.raises(ValueError, match="`window` must fit.*window=4, size=3"):
        MaxPool2D(4)(np.ones((1, 3, 6, 1), "float32"))
