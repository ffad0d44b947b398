"""Convolutions as dense layers with sparse matrices, and back."""

from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from models import layers
from models.convert import from_matrix, to_matrices, to_matrix
from tests.models import loops
from tests.models.trained import chain, classifier, logits, pixels, random, trained

STEPS, IMAGE = (9, 3), (7, 6, 2)


@st.composite
def convolutions(draw):
    """What makes a convolution of any rank and geometry, and an input shape it fits on."""
    rank = draw(st.integers(1, 3))
    per_axis = st.tuples(*[st.integers(1, 3)] * rank)
    pairs = st.tuples(*[st.tuples(st.integers(0, 2), st.integers(0, 2))] * rank)
    padding = draw(st.sampled_from(["same", "valid", "narrow", "wide"]) | pairs)
    strided = draw(st.booleans())
    # Backends step or spread a window, not both; and all axes alike.
    strides = draw(st.integers(1, 3)) if strided else 1
    dilation = 1 if strided or rank == 3 else draw(st.integers(1, 2))
    groups = draw(st.sampled_from([1, 2])) if rank < 3 else 1
    kind = {1: layers.Conv1D, 2: layers.Conv2D, 3: layers.Conv3D}[rank]
    create = partial(kind, 2 * groups, draw(per_axis), strides, padding, dilation, groups)
    sizes = draw(st.tuples(*[st.integers(5, 6)] * rank))
    return create, (*sizes, groups * draw(st.integers(1, 2)))


def built(layer, shape):
    """A layer with weights for inputs of a shape."""
    layer.build((None, *shape))
    return trained(layer)


@settings(max_examples=30)
@given(convolutions())
def test_a_matrix_does_to_flat_inputs_what_its_convolution_does(drawn):
    create, shape = drawn
    layer = built(create(), shape)
    matrix, bias = to_matrix(layer, shape)
    x = random((2, *shape))
    expected = np.array(layer(x)).reshape(2, -1)
    np.testing.assert_allclose(x.reshape(2, -1) @ matrix + bias, expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=30)
@given(convolutions())
def test_a_kernel_comes_back_from_its_matrix_exactly(drawn):
    create, shape = drawn
    layer = built(create(), shape)
    kernel, bias = from_matrix(layer, shape, *to_matrix(layer, shape))
    expected = np.zeros_like(layer.kernel)
    # A tap that stands on padding everywhere has no place in the matrix, and comes back as 0.
    arguments = (layer.strides, layer.padding, layer.dilation_rate)
    for _, tap, _ in loops.Sliding(shape[:-1], layer.kernel_size, *arguments):
        expected[tap] = layer.kernel[tap]
    np.testing.assert_array_equal(kernel, expected)
    np.testing.assert_array_equal(bias, layer.bias)


def test_the_matrix_of_a_line_of_pixels_is_its_kernel_moved_step_by_step():
    layer = layers.Conv1D(1, 3, padding="valid", use_bias=False)
    layer.build((None, 5, 1))
    layer.kernel.assign(np.array([1, 0, -1]).reshape(3, 1, 1))
    matrix, bias = to_matrix(layer, (5, 1))
    expected = [[1, 0, 0], [0, 1, 0], [-1, 0, 1], [0, -1, 0], [0, 0, -1]]
    np.testing.assert_array_equal(matrix, expected)
    np.testing.assert_array_equal(bias, [0, 0, 0])


@pytest.mark.parametrize("multiplier", [1, 2])
def test_a_depthwise_convolution_is_a_matrix_too(multiplier):
    layer = built(layers.DepthwiseConv2D(3, 2, depth_multiplier=multiplier), IMAGE)
    matrix, bias = to_matrix(layer, IMAGE)
    x = random((2, *IMAGE))
    expected = np.array(layer(x)).reshape(2, -1)
    np.testing.assert_allclose(x.reshape(2, -1) @ matrix + bias, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(from_matrix(layer, IMAGE, matrix, bias)[0], layer.kernel)


def test_a_matrix_that_is_no_convolution_is_refused_with_the_place():
    layer = built(layers.Conv1D(2, 3, padding="valid"), STEPS)
    matrix, bias = to_matrix(layer, STEPS)
    unshared, far, biased = matrix.copy(), matrix.copy(), bias.copy()
    unshared[3, 2] += 1
    far[26, 0] = 1
    biased[5] += 1
    with pytest.raises(ValueError, match=r"`matrix` must be zero outside .* Received: .* at \("):
        from_matrix(layer, STEPS, unshared, bias)
    with pytest.raises(ValueError, match=r"zero outside .* Received: 1.0 at \(26, 0\)"):
        from_matrix(layer, STEPS, far, bias)
    with pytest.raises(ValueError, match="one bias per filter"):
        from_matrix(layer, STEPS, matrix, biased)
    with pytest.raises(ValueError, match=r"of shape \(27, 14\).* Received: shape \(14, 27\)"):
        from_matrix(layer, STEPS, matrix.T, bias)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("topology", {"width": 2}),
        ("lenet", {"width": 2}),
        ("vgg7", {"width": 2}),
        ("resnet8", {"width": 2}),
    ],
)
def test_a_network_of_matrices_has_the_same_logits(name, options):
    network = classifier(name, (12, 12, 1), **options)
    matrices = to_matrices(network)
    assert not any(isinstance(each, layers.Conv) for each in matrices.layers)
    x = pixels(3, (12, 12, 1))
    expected = logits(network, x)
    np.testing.assert_allclose(logits(matrices, x), expected, atol=1e-5 * np.ptp(expected))


def test_a_convolution_applied_twice_becomes_one_dense_layer_applied_twice():
    stack = layers.DilatedStack1D(2, 3, (1, 2), iterations=2)
    network = chain((9, 2), stack)
    matrices = to_matrices(network)
    assert sum(type(each) is keras.layers.Dense for each in matrices.layers) == 2
    x = random((2, 9, 2))
    np.testing.assert_allclose(matrices(x), network(x), rtol=1e-5, atol=1e-5)
