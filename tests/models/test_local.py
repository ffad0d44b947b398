import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import Conv1D, Conv2D, LocallyConnected1D, LocallyConnected2D
from tests.models import geometries, loops
from tests.models.gradients import assert_close, assert_equals_loops, draw_weights, image

LOCALS = {1: LocallyConnected1D, 2: LocallyConnected2D}
CONVS = {1: Conv1D, 2: Conv2D}


def check(window, channels=2, filters=3, batch=2, policy="float32"):
    """Hold a locally connected layer and its gradients to plain loops."""
    sizes, arguments = window

    def reference(x, kernel, bias):
        return loops.local_conv(x, kernel, bias, *[arguments[key] for key in keys])

    keys = ("kernel_size", "strides", "padding")
    arguments = {"filters": filters, **arguments}
    x = image(sizes, channels, batch)
    assert_equals_loops(LOCALS[len(sizes)], arguments, x, reference, policy)


@settings(max_examples=60)
@given(
    geometries.windows(ranks=(1, 2), dilated=False),
    st.integers(1, 3),
    st.integers(1, 3),
    st.integers(1, 3),
)
def test_a_locally_connected_layer_and_its_gradients_equal_plain_loops(
    window, channels, filters, batch
):
    check(window, channels, filters, batch)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@settings(max_examples=20)
@given(window=geometries.windows(ranks=(1, 2), dilated=False))
def test_in_half_precision_it_stays_near_plain_loops(policy, window):
    check(window, policy=policy)


@settings(max_examples=20)
@given(window=geometries.windows(ranks=(1, 2), dilated=False))
def test_with_the_same_filters_everywhere_it_is_a_convolution(window):
    sizes, arguments = window
    rank, x = len(sizes), image(sizes, 2)
    local, conv = LOCALS[rank](3, **arguments), CONVS[rank](3, **arguments)
    for layer in (local, conv):
        layer.build(x.shape)
    draw_weights(conv)
    kernel, bias = conv.get_weights()
    local.set_weights(
        [
            np.broadcast_to(kernel.reshape(-1, 3), local.kernel.shape),
            np.broadcast_to(bias, local.bias.shape),
        ]
    )
    assert_close(local(x), conv(x).numpy(), 1e-5)


def test_weights_of_cifar10_are_5880000_unshared_7500_shared_and_9437184_dense():
    image = (None, 32, 32, 3)
    unshared = LocallyConnected2D(100, 5, use_bias=False)
    shared = Conv2D(100, 5, padding="valid", use_bias=False)
    dense = keras.layers.Dense(32 * 32 * 3, use_bias=False)
    unshared.build(image)
    shared.build(image)
    dense.build((None, 32 * 32 * 3))
    assert unshared.compute_output_shape(image) == (None, 28, 28, 100)
    counts = [layer.count_params() for layer in (unshared, shared, dense)]
    assert counts == [5_880_000, 7_500, 9_437_184]


def test_the_small_drawing_has_18_weights_dense_7_local_and_3_shared():
    # Six inputs, three outputs, and fields that hold seven inputs in all: here 1, 3 and 3, for the
    # first stands at the border. Weights that see padding alone are no connections.
    arguments = {"kernel_size": 3, "strides": 2, "padding": ((2, 0),), "use_bias": False}
    local, shared = LocallyConnected1D(1, **arguments), Conv1D(1, **arguments)
    x = tf.ones((1, 6, 1))
    dense = keras.layers.Dense(3, use_bias=False)
    dense.build((1, 6))
    with tf.GradientTape() as tape:
        y = local(x)
    connections = np.count_nonzero(tape.gradient(y, local.kernel.value))
    assert y.shape == shared(x).shape == (1, 3, 1)
    assert (dense.count_params(), connections, shared.count_params()) == (18, 7, 3)


@pytest.mark.parametrize("rank", [1, 2])
def test_kernels_start_with_the_variance_of_he_et_al_for_one_position(rank):
    layer = LOCALS[rank](16, 3)
    layer.build((None, *[10] * rank, 16))
    assert layer.get_weights()[0].var() == pytest.approx(2 / (3**rank * 16), rel=0.1)


@pytest.mark.parametrize("local", LOCALS.values())
@pytest.mark.parametrize("bad", [{"filters": 0}, {"kernel_size": 0}, {"strides": 0}])
def test_a_bad_argument_is_refused_by_its_name(local, bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        local(**{"filters": 2, "kernel_size": 3, **bad})


def test_a_size_that_is_not_known_is_refused():
    with pytest.raises(ValueError, match=r"`input_shape` must have known.*\(None, None, 8, 3\)"):
        LocallyConnected2D(2, 3)(keras.Input((None, 8, 3)))


def test_another_size_than_it_was_built_for_is_refused():
    layer = LocallyConnected1D(2, 3)
    layer.build((None, 8, 3))
    with pytest.raises(ValueError, match="expected axis 1 .* to have value 8"):
        layer(np.ones((1, 9, 3), "float32"))
