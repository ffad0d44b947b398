import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import Conv2D

GEOMETRIES = st.fixed_dictionaries(
    {
        "kernel_size": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "strides": st.tuples(st.integers(1, 3), st.integers(1, 3)),
        "padding": st.sampled_from(["same", "valid"]),
    }
    # TensorFlow 2.21 reads the wrong memory where a kernel of one row, with unequal strides and no
    # padding, leaves one column; `tf.nn.conv2d` alone does so too.
).filter(lambda drawn: drawn["padding"] == "same" or len(set(drawn["strides"])) == 1)


def pad_same(x, kernel_size, strides):
    """Add the zeros of `same` padding: half before, and the odd one after."""
    widths = [(0, 0)]
    for size, window, stride in zip(x.shape[1:3], kernel_size, strides, strict=True):
        total = max((-(-size // stride) - 1) * stride + window - size, 0)
        widths.append((total // 2, total - total // 2))
    return np.pad(x, [*widths, (0, 0)]), widths


def windows(padded, kernel_size, strides):
    """Yield each output position with the slice of the padded image it sees."""
    rows = range(0, padded.shape[1] - kernel_size[0] + 1, strides[0])
    columns = range(0, padded.shape[2] - kernel_size[1] + 1, strides[1])
    for i, top in enumerate(rows):
        for j, left in enumerate(columns):
            place = np.s_[:, top : top + kernel_size[0], left : left + kernel_size[1]]
            yield i, j, place


def loop_conv(x, kernel, bias, strides, padding):
    """Return the cross-correlation and a function from its gradient to the three inputs'."""
    size = kernel.shape[:2]
    padded, widths = pad_same(x, size, strides) if padding == "same" else (x, [(0, 0)] * 3)
    places = list(windows(padded, size, strides))
    y = np.zeros((len(x), places[-1][0] + 1, places[-1][1] + 1, kernel.shape[-1]))
    for i, j, place in places:
        for channel in range(kernel.shape[-1]):
            product = padded[place] * kernel[..., channel]
            y[:, i, j, channel] = product.sum(axis=(1, 2, 3)) + bias[channel]

    def gradient(dy):
        dx, dkernel = np.zeros_like(padded), np.zeros_like(kernel)
        for i, j, place in places:
            for channel in range(kernel.shape[-1]):
                arriving = dy[:, i, j, channel].reshape(-1, 1, 1, 1)
                dx[place] += arriving * kernel[..., channel]
                dkernel[..., channel] += (arriving * padded[place]).sum(axis=0)
        (top, _), (left, _) = widths[1:]
        dx = dx[:, top : top + x.shape[1], left : left + x.shape[2]]
        return dx, dkernel, dy.sum(axis=(0, 1, 2))

    return y, gradient


@settings(max_examples=25, deadline=None)
@given(geometry=GEOMETRIES, shape=st.tuples(*[st.integers(1, 3)] * 2), seed=st.integers(0, 99))
def test_convolution_and_its_gradient_equal_plain_loops(geometry, shape, seed):
    random = np.random.default_rng(seed)
    channels, filters = shape
    x = random.normal(size=(2, 5, 4, channels)).astype("float32")
    layer = Conv2D(filters, **geometry)
    layer.build(x.shape)
    layer.bias.assign(random.normal(size=filters))
    kernel, bias = layer.get_weights()
    expected, gradient = loop_conv(x, kernel, bias, geometry["strides"], geometry["padding"])
    dy = random.normal(size=expected.shape).astype("float32")

    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(inputs)
    gradients = tape.gradient(y, [inputs, layer.kernel.value, layer.bias.value], dy)

    np.testing.assert_allclose(y, expected, rtol=1e-4, atol=1e-4)
    for actual, wanted in zip(gradients, gradient(dy), strict=True):
        np.testing.assert_allclose(actual, wanted, rtol=1e-4, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(geometry=GEOMETRIES)
def test_convolution_equals_that_of_keras(geometry):
    x = np.random.default_rng(0).normal(size=(2, 7, 6, 3)).astype("float32")
    ours, theirs = Conv2D(4, **geometry), keras.layers.Conv2D(4, **geometry)
    ours.build(x.shape)
    theirs.build(x.shape)
    theirs.set_weights(ours.get_weights())
    np.testing.assert_array_equal(ours(x), theirs(x))


@pytest.mark.parametrize("bad", [{"filters": 0}, {"kernel_size": 0}, {"strides": (1, 2, 3)}])
def test_a_bad_size_is_refused_by_its_name(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        Conv2D(**{"filters": 2, "kernel_size": 3, **bad})


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="`padding` must be one of 'same', 'valid'"):
        Conv2D(2, 3, padding="full")


def test_a_filter_larger_than_the_image_is_refused_before_weights_are_made():
    layer = Conv2D(2, 5, padding="valid")
    with pytest.raises(ValueError, match="`window` must fit.*window=5, size=4"):
        layer(np.ones((1, 4, 6, 1), "float32"))
    assert layer.weights == []


def test_an_input_of_another_rank_or_depth_is_refused():
    layer = Conv2D(2, 3)
    with pytest.raises(ValueError, match="expected ndim=4, found ndim=3"):
        layer(np.ones((4, 4, 1), "float32"))
    layer.build((None, 4, 4, 1))
    with pytest.raises(ValueError, match="expected axis -1 .* to have value 1"):
        layer(np.ones((1, 4, 4, 3), "float32"))


@pytest.mark.parametrize(
    ("image", "arguments", "expected"),
    [
        ((28, 28, 1), {"filters": 20, "kernel_size": 5, "padding": "valid"}, (24, 24, 20)),
        ((32, 32, 3), {"filters": 1, "kernel_size": 5, "padding": "valid"}, (28, 28, 1)),
        ((6, 6, 3), {"filters": 1, "kernel_size": 3, "padding": "valid"}, (4, 4, 1)),
        ((6, 6, 3), {"filters": 2, "kernel_size": 3, "padding": "valid"}, (4, 4, 2)),
        ((8, 8, 1), {"filters": 1, "kernel_size": 3}, (8, 8, 1)),
        ((8, 8, 1), {"filters": 1, "kernel_size": 3, "strides": 2}, (4, 4, 1)),
    ],
)
def test_output_shape_is_the_figure_of_the_texts(image, arguments, expected):
    assert Conv2D(**arguments)(np.zeros((1, *image), "float32")).shape == (1, *expected)


def test_shared_weights_need_40_times_fewer_parameters_than_a_dense_layer():
    conv, dense = Conv2D(20, 5), keras.layers.Dense(30)
    conv.build((None, 28, 28, 1))
    dense.build((None, 784))
    assert conv.count_params() == 520
    assert dense.count_params() == 23_550
    assert 40 < dense.count_params() / conv.count_params() < 46


def test_kernels_start_with_the_variance_of_he_et_al():
    layer = Conv2D(64, 3)
    layer.build((None, 8, 8, 32))
    kernel = layer.get_weights()[0]
    assert kernel.var() == pytest.approx(2 / (3 * 3 * 32), rel=0.1)
