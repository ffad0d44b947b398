import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import (
    Conv1D,
    Conv2D,
    Conv3D,
    ConvTranspose1D,
    ConvTranspose2D,
    ConvTranspose3D,
)
from tests.models import geometries, loops
from tests.models.gradients import (
    assert_close,
    assert_equals_loops,
    assert_equals_loops_at_unknown_sizes,
    draw_weights,
    image,
)

CONVS = {1: Conv1D, 2: Conv2D, 3: Conv3D}
TRANSPOSED = {1: ConvTranspose1D, 2: ConvTranspose2D, 3: ConvTranspose3D}


def check(window, channels=2, filters=2, batch=2, policy="float32"):
    """Hold a transposed convolution and its gradients to plain loops."""
    sizes, arguments = window

    def reference(x, kernel, bias):
        return loops.conv_transpose(x, kernel, bias, arguments["strides"], arguments["padding"])

    x = image(sizes, channels, batch)
    layer = TRANSPOSED[len(sizes)]
    assert_equals_loops(layer, {"filters": filters, **arguments}, x, reference, policy)


@settings(max_examples=120)
@given(
    geometries.transposed_windows(),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 16]),
    st.sampled_from([1, 2, 3]),
)
def test_a_transposed_convolution_and_its_gradients_equal_plain_loops(
    window, channels, filters, batch
):
    check(window, channels, filters, batch)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@settings(max_examples=25)
@given(window=geometries.transposed_windows())
def test_in_half_precision_it_stays_near_plain_loops(policy, window):
    check(window, policy=policy)


@settings(max_examples=100)
@given(window=geometries.transposed_windows(), channels=st.integers(1, 3))
def test_it_is_the_adjoint_of_the_convolution_of_the_same_geometry(window, channels):
    sizes, arguments = window
    rank, filters = len(sizes), 2
    transposed = TRANSPOSED[rank](filters, **arguments, use_bias=False)
    y = image(sizes, channels)
    spread = transposed(y)
    # The input of the convolution is as large as the output of its adjoint.
    x = image(spread.shape[1:-1], filters, seed=1)
    conv = CONVS[rank](channels, **arguments, use_bias=False)
    conv.build(x.shape)
    conv.set_weights(transposed.get_weights())
    assert conv(x).shape == y.shape
    there, back = np.vdot(conv(x), y), np.vdot(x, spread)
    assert there == pytest.approx(back, rel=1e-4, abs=1e-3)


@settings(max_examples=20)
@given(geometries.transposed_windows(), st.sampled_from(["same", "valid"]))
def test_a_transposed_convolution_equals_that_of_keras(window, padding):
    sizes, arguments = window
    # Keras reaches further than the windows do where they are shorter than its strides.
    axes = zip(arguments["strides"], arguments["kernel_size"], strict=True)
    arguments = {**arguments, "strides": tuple(map(min, axes)), "padding": padding}
    x = image(sizes, 3)
    ours = TRANSPOSED[len(sizes)](2, **arguments)
    theirs = getattr(keras.layers, f"Conv{len(sizes)}DTranspose")(2, **arguments)
    for layer in (ours, theirs):
        layer.build(x.shape)
    draw_weights(ours)
    theirs.set_weights(ours.get_weights())
    assert_close(ours(x), theirs(x).numpy(), 1e-6)


def spread_steps(values, **arguments):
    """Spread a sequence by the filter [1, 2, 3]."""
    layer = ConvTranspose1D(1, 3, use_bias=False, **arguments)
    layer.build((1, len(values), 1))
    layer.set_weights([np.reshape([1.0, 2.0, 3.0], (3, 1, 1))])
    return layer(np.reshape(values, (1, -1, 1)).astype("float32")).numpy().ravel().tolist()


def test_each_step_adds_the_filter_where_its_window_stands():
    assert spread_steps([1, 10], padding="valid") == [1, 12, 23, 30]
    assert spread_steps([1, 10], padding="valid", strides=2) == [1, 2, 13, 20, 30]
    assert spread_steps([1, 10], padding="valid", strides=4) == [1, 2, 3, 0, 10, 20, 30]
    assert spread_steps([1, 10], padding="same", strides=2) == [1, 2, 13, 20]
    assert spread_steps([1, 10], padding="same", strides=4) == [1, 2, 3, 0, 10, 20, 30, 0]
    assert spread_steps([1, 10, 100], padding="wide") == [123]
    assert spread_steps([1, 10], padding=((1, 0),)) == [12, 23, 30]


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_same_padding_multiplies_the_size_by_the_stride(rank):
    layer = TRANSPOSED[rank](5, 3, strides=2)
    assert layer.compute_output_shape((None, *[7] * rank, 3)) == (None, *[14] * rank, 5)
    assert layer.compute_output_shape((None, *[None] * rank, 3)) == (None, *[None] * rank, 5)


# TensorFlow 2.21 trains the convolutions that these transpose wrongly, or crashes.
ASTRAY = {
    "one position": ((1, 1), (3, 3), (2, 2), "same", 1),
    "one column": ((3, 1), (2, 3), (1, 2), "valid", 1),
    "one position, short window": ((1,), (2,), (4,), "same", 2),
    "windows of one": ((14, 14), (1, 1), (2, 2), "same", 3),
    "windows of one, uneven": ((5, 9), (1, 1), (2, 1), "valid", 3),
    "windows of one in a volume": ((5, 2, 1), (1, 1, 1), (2, 1, 3), "same", 3),
    "a window larger than the volume": ((2, 3, 3), (3, 1, 1), (1, 1, 1), "same", 1),
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ASTRAY)
def test_geometries_that_lead_onednn_astray_equal_plain_loops(name, policy):
    sizes, window, strides, padding, filters = ASTRAY[name]
    arguments = {"kernel_size": window, "strides": strides, "padding": padding}
    for batch in (1, 5):
        check((sizes, arguments), filters=filters, batch=batch, policy=policy)


@pytest.mark.parametrize("name", ASTRAY)
def test_so_they_do_where_sizes_are_known_only_when_the_layer_runs(name):
    sizes, window, strides, padding, filters = ASTRAY[name]
    assert_equals_loops_at_unknown_sizes(
        TRANSPOSED[len(sizes)](filters, window, strides, padding),
        image(sizes, 2),
        lambda *arrays: loops.conv_transpose(*arrays, strides, padding),
    )


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_ordinary_transposed_convolution_is_tensorflows_own_alone(rank):
    layer = TRANSPOSED[rank](4, 3, strides=2)
    x = image([8] * rank, 3)
    layer.build(x.shape)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec(x.shape)).graph
    found = [op.type for op in graph.get_operations()]
    native = "Conv3DBackpropInputV2" if rank == 3 else "Conv2DBackpropInput"
    assert native in found
    assert not {"Pad", "PadV2", "Slice", "StridedSlice"} & set(found)


@pytest.mark.parametrize("layer", TRANSPOSED.values())
@pytest.mark.parametrize("bad", [{"filters": 0}, {"kernel_size": 0}, {"strides": 0}])
def test_a_bad_argument_is_refused_by_its_name(layer, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        layer(**{"filters": 2, "kernel_size": 3, **bad})


def test_padding_that_leaves_nothing_is_refused_before_weights_are_made():
    layer = ConvTranspose2D(2, 3, padding="wide")
    with pytest.raises(ValueError, match="`padding` must leave a position.*padding='wide', size=2"):
        layer(np.ones((1, 2, 5, 1), "float32"))
    assert layer.weights == []


def test_an_input_of_another_depth_is_refused():
    layer = ConvTranspose2D(2, 3)
    layer.build((None, 4, 4, 1))
    with pytest.raises(ValueError, match="expected axis -1 .* to have value 1"):
        layer(np.ones((1, 4, 4, 3), "float32"))
