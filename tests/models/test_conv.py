import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.kernels.small_map import is_small_map
from models.layers import Conv1D, Conv2D, Conv3D, ConvTranspose2D, DepthwiseConv2D
from tests.models import geometries, loops
from tests.models.gradients import (
    answers,
    assert_close,
    assert_equals_loops,
    assert_equals_loops_at_unknown_sizes,
    draw_weights,
    image,
)

CONVS = {1: Conv1D, 2: Conv2D, 3: Conv3D}


def check(window, groups=1, channels=2, filters=2, batch=2, policy="float32"):
    """Hold a convolution and its gradients to plain loops."""
    sizes, arguments = window
    arguments = {"filters": filters * groups, "groups": groups, **arguments}
    gaps = arguments.get("dilation_rate")

    def reference(x, kernel, bias):
        return loops.conv(x, kernel, bias, arguments["strides"], arguments["padding"], gaps, groups)

    x = image(sizes, channels * groups, batch)
    assert_equals_loops(CONVS[len(sizes)], arguments, x, reference, policy)


@settings(max_examples=150)
@given(
    geometries.windows(),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3, 8]),
    st.integers(1, 3),
    st.sampled_from([1, 2, 3]),
)
def test_a_convolution_and_its_gradients_equal_plain_loops(
    window, groups, channels, filters, batch
):
    check(window, groups, channels, filters, batch)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@settings(max_examples=25)
@given(window=geometries.windows(), groups=st.integers(1, 2))
def test_in_half_precision_it_stays_near_plain_loops(policy, window, groups):
    check(window, groups, policy=policy)


@settings(max_examples=25)
@given(
    geometries.windows(dilated=False),
    st.sampled_from(["same", "valid"]),
    st.sampled_from([1, 2]),
)
def test_a_convolution_equals_that_of_keras(window, padding, groups):
    sizes, arguments = window
    sizes = [size + 3 for size in sizes]
    groups = 1 if len(sizes) == 3 else groups  # Keras's own fails on a CPU.
    arguments = {**arguments, "filters": 2 * groups, "padding": padding, "groups": groups}
    x = image(sizes, 3 * groups)
    ours = CONVS[len(sizes)](**arguments)
    theirs = getattr(keras.layers, type(ours).__name__)(**arguments)
    for layer in (ours, theirs):
        layer.build(x.shape)
    draw_weights(ours)
    theirs.set_weights(ours.get_weights())
    assert_close(ours(x), theirs(x).numpy(), 1e-6)


@pytest.mark.parametrize("dilation", [1, 2])
@pytest.mark.parametrize("rank", [1, 2, 3])
def test_dilation_goes_with_strides_and_groups(rank, dilation):
    arguments = {"kernel_size": (3,) * rank, "strides": (2,) * rank, "padding": "same"}
    check(([6] * rank, {**arguments, "dilation_rate": (dilation,) * rank}), groups=2)


# TensorFlow 2.21 computes or trains these wrongly by itself, or crashes; not on each run.
ASTRAY = {
    "one row, one column left": ((5, 2), (1, 2), (1, 3), "valid", 1),
    "one column left of several": ((7, 5), (3, 3), (1, 3), "valid", 1),
    "one column left, padded": ((8, 1), (4, 4), (1, 2), "same", 1),
    "one row left": ((2, 5), (2, 1), (3, 1), "valid", 1),
    "one position left": ((4,), (4,), (4,), "same", 16),
    "one column left of a volume": ((2, 3, 1), (2, 3, 2), (1, 1, 2), "same", 1),
    "skipping positions": ((8, 9), (1, 1), (1, 3), "same", 3),
    "skipping positions along a sequence": ((72,), (1,), (4,), "valid", 2),
    "skipping positions both ways": ((14, 14), (1, 1), (2, 2), "same", 3),
    "skipping positions of a volume": ((5, 1, 2), (1, 1, 1), (3, 1, 3), "valid", 1),
    "a window larger than the volume": ((2, 3, 3), (3, 1, 1), (1, 1, 1), "same", 16),
}


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("name", ASTRAY)
def test_geometries_that_lead_onednn_astray_equal_plain_loops(name, policy):
    sizes, window, strides, padding, channels = ASTRAY[name]
    arguments = {"kernel_size": window, "strides": strides, "padding": padding}
    for batch in (1, 5):
        check((sizes, arguments), channels=channels, filters=1, batch=batch, policy=policy)


@pytest.mark.parametrize("name", ASTRAY)
def test_so_they_do_where_sizes_are_known_only_when_the_layer_runs(name):
    sizes, window, strides, padding, channels = ASTRAY[name]
    assert_equals_loops_at_unknown_sizes(
        CONVS[len(sizes)](2, window, strides, padding),
        image(sizes, channels),
        lambda *arrays: loops.conv(*arrays, strides, padding),
    )


def test_channels_are_known_behind_layers_of_unknown_sizes():
    inputs = keras.Input((None, None, 3))
    maps = ConvTranspose2D(8, 3, 2, "valid", use_bias=False)(inputs)
    model = keras.Model(inputs, Conv2D(4, 3, strides=2)(keras.layers.ReLU()(maps)))
    x = image([5, 6], 3)
    assert_close(model.predict_on_batch(x), np.array(model(x)), 1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_the_gradient_of_a_bias_counts_beyond_what_a_half_can(policy):
    layer = Conv2D(2, 1, dtype=policy)
    x = np.zeros((50, 20, 20, 1), "float32")
    layer.build(x.shape)
    *_, bias = answers(layer, x, np.ones((50, 20, 20, 2), "float32"))
    np.testing.assert_allclose(bias, 20_000, rtol=0.01)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_an_ordinary_convolution_is_tensorflows_own_and_a_bias_alone(rank):
    layer = CONVS[rank](4, 3, strides=2)
    x = image([8] * rank, 3)
    layer.build(x.shape)
    graph = tf.function(layer).get_concrete_function(tf.TensorSpec(x.shape)).graph
    working = {"Conv2D", "Conv3D", "Pad", "PadV2", "Slice", "StridedSlice", "Concat", "Split"}
    assert [op.type for op in graph.get_operations() if op.type in working] == [
        "Conv3D" if rank == 3 else "Conv2D"
    ]


def slide_edges(values, **arguments):
    """Slide the texts' kernel [1, 0, -1] along a sequence."""
    layer = Conv1D(1, 3, use_bias=False, **arguments)
    layer.build((1, len(values), 1))
    layer.set_weights([np.reshape([1.0, 0.0, -1.0], (3, 1, 1))])
    return layer(np.reshape(values, (1, -1, 1)).astype("float32")).numpy().ravel().tolist()


def test_the_sequence_of_the_texts_at_strides_1_and_2():
    sequence = [0, 1, 2, -1, 1, -3, 0]
    # 0 - 2, 1 - -1, 2 - 1, -1 - -3, 1 - 0
    assert slide_edges(sequence, padding="valid") == [-2, 2, 1, 2, 1]
    assert slide_edges(sequence, padding="valid", strides=2) == [-2, 1, 1]


def test_the_lone_last_value_of_the_texts_is_seen_with_one_zero_on_the_right():
    sequence = [0, 1, 2, -1, 1, -3]
    assert slide_edges(sequence, strides=2, padding="valid") == [-2, 1]
    assert slide_edges(sequence, strides=2, padding=((0, 1),)) == [-2, 1, 1]


@pytest.mark.parametrize(
    ("shape", "arguments", "expected"),
    [
        ((28, 28, 1), {"filters": 20, "kernel_size": 5, "padding": "valid"}, (24, 24, 20)),
        ((32, 32, 3), {"filters": 1, "kernel_size": 5, "padding": "valid"}, (28, 28, 1)),
        ((6, 6, 3), {"filters": 1, "kernel_size": 3, "padding": "valid"}, (4, 4, 1)),
        ((6, 6, 3), {"filters": 2, "kernel_size": 3, "padding": "valid"}, (4, 4, 2)),
        ((8, 8, 1), {"filters": 1, "kernel_size": 3, "padding": 1}, (8, 8, 1)),
        ((8, 8, 1), {"filters": 1, "kernel_size": 3, "padding": 1, "strides": 2}, (4, 4, 1)),
        ((4, 6, 5, 2), {"filters": 7, "kernel_size": 3, "padding": 1}, (4, 6, 5, 7)),
        ((4, 6, 5, 2), {"filters": 7, "kernel_size": 1, "padding": 0}, (4, 6, 5, 7)),
    ],
)
def test_output_shape_is_the_figure_of_the_texts(shape, arguments, expected):
    layer = CONVS[len(shape) - 1](**arguments)
    assert layer(np.zeros((1, *shape), "float32")).shape == (1, *expected)


@pytest.mark.parametrize("rank", [1, 2, 3])
@settings(max_examples=5)
@given(size=st.integers(1, 6), window=st.integers(1, 4))
def test_wide_output_is_as_long_as_input_and_filter_less_one(rank, size, window):
    layer = CONVS[rank](1, window, padding="wide")
    expected = (1, *[size + window - 1] * rank, 1)
    assert layer(np.zeros((1, *[size] * rank, 1), "float32")).shape == expected


def test_each_filter_is_as_deep_as_the_input_and_makes_one_channel_of_the_next_input():
    first, second = Conv2D(20, 5), Conv2D(7, 3)
    second(first(np.zeros((1, 28, 28, 3), "float32")))
    assert first.kernel.shape == (5, 5, 3, 20)
    assert second.kernel.shape == (3, 3, 20, 7)


def test_shared_weights_need_40_times_fewer_parameters_than_a_dense_layer():
    conv, dense = Conv2D(20, 5), keras.layers.Dense(30)
    conv.build((None, 28, 28, 1))
    dense.build((None, 784))
    assert conv.count_params() == 520
    assert dense.count_params() == 23_550
    assert 40 < dense.count_params() / conv.count_params() < 46


@pytest.mark.parametrize("groups", [1, 4])
def test_kernels_start_with_the_variance_of_he_et_al(groups):
    layer = Conv2D(64, 3, groups=groups)
    layer.build((None, 8, 8, 32))
    assert layer.get_weights()[0].var() == pytest.approx(2 * groups / (3 * 3 * 32), rel=0.1)


@pytest.mark.parametrize("conv", CONVS.values())
@pytest.mark.parametrize(
    "bad",
    [
        {"filters": 0},
        {"kernel_size": 0},
        {"strides": (1, 2, 3, 4)},
        {"dilation_rate": -1},
        {"groups": 0},
        {"padding": -1},
        {"padding": ((1, 2, 3),)},
    ],
)
def test_a_bad_argument_is_refused_by_its_name(conv, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        conv(**{"filters": 2, "kernel_size": 3, **bad})


def test_an_unknown_padding_is_refused():
    with pytest.raises(ValueError, match="`padding` must be one of 'same', 'valid'"):
        Conv2D(2, 3, padding="full")


def test_groups_that_do_not_divide_filters_or_channels_are_refused():
    with pytest.raises(ValueError, match="`filters` must be a multiple of `groups`.*filters=3"):
        Conv1D(3, 3, groups=2)
    with pytest.raises(ValueError, match="`groups` must divide the input's channels.*groups=2"):
        Conv1D(4, 3, groups=2)(np.ones((1, 8, 3), "float32"))


@pytest.mark.parametrize("layer", [Conv2D(2, 3), DepthwiseConv2D(3), ConvTranspose2D(2, 3)])
def test_channels_that_are_not_known_are_refused(layer):
    with pytest.raises(ValueError, match="`input_shape` must have known channels.*None"):
        layer(keras.Input((8, 8, None)))


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


@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16"])
@pytest.mark.parametrize("window", [(3, 3), (2, 3), (3, 2)])
@pytest.mark.parametrize(
    ("sizes", "channels"), [((3, 3), 5), ((4, 4), 3), ((3, 5), 2), ((8, 8), 128)]
)
def test_gradients_over_maps_of_few_positions_equal_plain_loops(sizes, channels, window, policy):
    geometry = {"strides": (1, 1), "padding": "same", "dilation_rate": (1, 1)}
    kernel = np.empty((*window, channels, 4))
    assert is_small_map(image(sizes, channels), kernel, *geometry.values())
    check((sizes, {"kernel_size": window, **geometry}), channels=channels, policy=policy)
