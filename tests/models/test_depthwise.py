import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import DepthwiseConv1D, DepthwiseConv2D, DepthwiseConv3D
from tests.models import geometries, loops
from tests.models.gradients import assert_close, assert_equals_loops, draw_weights, image

CONVS = {1: DepthwiseConv1D, 2: DepthwiseConv2D, 3: DepthwiseConv3D}


def check(window, multiplier=1, channels=2, batch=2, policy="float32"):
    """Hold a depthwise convolution and its gradients to plain loops."""
    sizes, arguments = window
    strides, padding = arguments["strides"], arguments["padding"]

    def reference(x, kernel, bias):
        return loops.depthwise_conv(
            x, kernel, bias, strides, padding, arguments.get("dilation_rate")
        )

    arguments = {"depth_multiplier": multiplier, **arguments}
    x = image(sizes, channels, batch)
    assert_equals_loops(CONVS[len(sizes)], arguments, x, reference, policy)


@settings(max_examples=100)
@given(geometries.windows(), st.integers(1, 3), st.integers(1, 4), st.sampled_from([1, 2, 3]))
def test_a_depthwise_convolution_and_its_gradients_equal_plain_loops(
    window, multiplier, channels, batch
):
    check(window, multiplier, channels, batch)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@settings(max_examples=25)
@given(window=geometries.windows(), multiplier=st.integers(1, 2))
def test_in_half_precision_it_stays_near_plain_loops(policy, window, multiplier):
    check(window, multiplier, policy=policy)


@pytest.mark.parametrize("rank", [1, 2, 3])
@pytest.mark.parametrize("dilated", [False, True])
def test_strides_that_tensorflows_kernel_refuses_equal_plain_loops(rank, dilated):
    strides = (2,) * rank if dilated else tuple(range(1, rank + 1))
    gaps = (2,) * rank if dilated else (1,) * rank
    arguments = {"kernel_size": (3,) * rank, "strides": strides, "padding": "same"}
    check(([6] * rank, {**arguments, "dilation_rate": gaps}), multiplier=2)


@settings(max_examples=15)
@given(
    window=geometries.windows(ranks=(1, 2), dilated=False),
    padding=st.sampled_from(["same", "valid"]),
    multiplier=st.integers(1, 2),
)
def test_a_depthwise_convolution_equals_that_of_keras(window, padding, multiplier):
    sizes, arguments = window
    sizes = [size + 3 for size in sizes]
    step = arguments["strides"][0]  # Keras takes one for all axes.
    arguments = {**arguments, "strides": step, "padding": padding, "depth_multiplier": multiplier}
    x = image(sizes, 3)
    ours = CONVS[len(sizes)](**arguments)
    theirs = getattr(keras.layers, type(ours).__name__)(**arguments)
    for layer in (ours, theirs):
        layer.build(x.shape)
    draw_weights(ours)
    theirs.set_weights(ours.get_weights())
    assert_close(ours(x), theirs(x).numpy(), 1e-6)


def test_each_channel_is_seen_by_its_own_filters_alone():
    layer, x = DepthwiseConv2D(3, depth_multiplier=2, use_bias=False), np.ones((1, 5, 5, 3))
    x[..., 1] = 0
    y = layer(x.astype("float32")).numpy()
    assert y.shape == (1, 5, 5, 6)
    silent = [not y[..., channel].any() for channel in range(6)]
    assert silent == [False, False, True, True, False, False]


def test_a_depthwise_3x3_of_32_channels_has_288_weights_where_a_convolution_has_9216():
    depthwise, full = DepthwiseConv2D(3, use_bias=False), keras.layers.Conv2D(32, 3, use_bias=False)
    for layer in (depthwise, full):
        layer.build((None, 8, 8, 32))
    assert (depthwise.count_params(), full.count_params()) == (288, 9216)


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_kernels_start_with_the_variance_of_he_et_al_for_the_one_channel_they_see(rank):
    layer = CONVS[rank](3, depth_multiplier=2)
    layer.build((None, *[4] * rank, 512))
    assert layer.get_weights()[0].var() == pytest.approx(2 / 3**rank, rel=0.1)


@pytest.mark.parametrize("conv", CONVS.values())
@pytest.mark.parametrize(
    "bad", [{"kernel_size": 0}, {"strides": 0}, {"depth_multiplier": 0}, {"dilation_rate": 1.5}]
)
def test_a_bad_argument_is_refused_by_its_name(conv, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        conv(**{"kernel_size": 3, **bad})


def test_a_filter_larger_than_the_image_is_refused_before_weights_are_made():
    layer = DepthwiseConv2D(5, padding="valid")
    with pytest.raises(ValueError, match="`window` must fit.*window=5, size=4"):
        layer(np.ones((1, 4, 6, 1), "float32"))
    assert layer.weights == []
