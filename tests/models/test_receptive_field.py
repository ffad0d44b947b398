"""Which pixels reach which position, against light that is switched on pixel by pixel."""

from fractions import Fraction
from functools import partial

import keras
import numpy as np
import pytest
from hypothesis import given, reject, settings
from hypothesis import strategies as st

from models import layers
from models.receptive_field import PIXEL, Field, fields_of, union
from models.rewrite import record

SIZE = 14


def fields_after(network):
    """The fields of a network's output, an axis each."""
    flat, calls = record(network)
    return fields_of(flat.inputs, calls)[id(flat.output)]


def sequence(*parts):
    """A network over `SIZE` pixels in a row."""
    inputs = x = keras.Input((SIZE, 1))
    for part in parts:
        x = part(x)
    return keras.Model(inputs, x)


def reached(network):
    """A row for each position of the output: whether each pixel, alone alight, is seen there.

    Kernels are positive and biases zero, so nothing cancels.
    """
    for weight in network.weights:
        if weight.name == "kernel":
            weight.assign(np.ones(weight.shape))
    single_lights = np.eye(SIZE, dtype="float32")[..., np.newaxis]
    return np.array(network(single_lights))[..., 0].T > 0


def residual(x):
    """What a residual block does, along one axis."""
    branch = layers.Conv1D(1, 3)(layers.Conv1D(1, 3)(x))
    return keras.layers.Add()([x, branch])


PADDINGS = st.sampled_from(["same", "valid", "wide", 1]) | st.tuples(
    st.tuples(st.integers(0, 2), st.integers(0, 2))
)
CONVOLUTIONS = st.builds(
    partial, st.just(layers.Conv1D), st.just(1), st.integers(1, 3), st.integers(1, 2), PADDINGS
)
DILATED = st.builds(
    partial, st.just(layers.Conv1D), st.just(1), st.just(3), st.just(1), PADDINGS, st.integers(2, 3)
)
POOLS = st.builds(
    partial,
    st.sampled_from([layers.MaxPool1D, layers.AveragePool1D, layers.L2Pool1D]),
    st.integers(1, 3),
    st.integers(1, 2),
    st.sampled_from(["same", "valid"]),
)
TRANSPOSED = st.builds(
    partial,
    st.just(layers.ConvTranspose1D),
    st.just(1),
    st.integers(1, 4),
    st.integers(1, 3),
    st.sampled_from(["same", "valid", "wide", 1]),
)
LOCAL = st.just(partial(layers.LocallyConnected1D, 1, 3))
POINTWISE = st.sampled_from([layers.BatchNorm, keras.layers.ReLU, lambda: residual])
NETWORKS = st.lists(CONVOLUTIONS | DILATED | POOLS | LOCAL | POINTWISE, min_size=1, max_size=4)


def network_of(creators):
    """The network of what was drawn, if the windows fit."""
    try:
        return sequence(*[create() for create in creators])
    except ValueError:
        return reject()


@settings(max_examples=40)
@given(NETWORKS)
def test_the_field_of_a_position_is_what_reaches_it_and_no_more(creators):
    network = network_of(creators)
    (field,) = fields_after(network)
    for position, pixels in enumerate(reached(network)):
        first, last = field.pixels(position)
        seen = np.flatnonzero(pixels)
        assert all(first <= pixel <= last for pixel in seen)
        # Where the field lies inside the input, both its ends are reached.
        if first >= 0 and last < SIZE:
            assert (seen.min(), seen.max()) == (first, last)


@settings(max_examples=20)
@given(NETWORKS, TRANSPOSED, CONVOLUTIONS)
def test_the_field_behind_a_transposed_convolution_holds_what_reaches_it(before, spread, after):
    network = network_of([*before[:2], spread, after])
    (field,) = fields_after(network)
    for position, pixels in enumerate(reached(network)):
        first, last = field.pixels(position)
        assert all(first <= pixel <= last for pixel in np.flatnonzero(pixels))


@pytest.mark.parametrize("window", [2, 3, 5])
def test_the_field_of_a_transposed_convolution_is_exact_between_its_fractions(window):
    network = sequence(layers.ConvTranspose1D(1, window, strides=2, padding="valid"))
    (field,) = fields_after(network)
    assert field.stride == Fraction(1, 2)
    for position, pixels in enumerate(reached(network)):
        first, last = (float(end) for end in field.pixels(position))
        inside = [pixel for pixel in range(SIZE) if first <= pixel <= last]
        assert np.flatnonzero(pixels).tolist() == inside


def test_a_five_wide_field_over_28_pixels_has_24_positions_and_moves_at_most_23():
    inputs = keras.Input((28, 28, 1))
    network = keras.Model(inputs, layers.Conv2D(20, 5, padding="valid")(inputs))
    rows, columns = fields_after(network)
    assert rows == columns == Field(size=5, stride=1, offset=0)
    positions = network.output_shape[1]
    assert positions == 24
    assert rows.pixels(positions - 1) == (23, 27)


def test_each_axis_has_a_field_of_its_own():
    inputs = keras.Input((12, 12, 1))
    x = layers.Conv2D(2, (3, 1), padding="valid")(inputs)
    x = layers.MaxPool2D((1, 2))(x)
    network = keras.Model(inputs, layers.Conv2D(2, 3, dilation_rate=2)(x))
    # Rows: 3, then 2 * 2 more. Columns: 1, 1 more by the pool, then 4 more, 2 apart.
    assert fields_after(network) == (Field(7, 1, -2), Field(10, 2, -4))


def test_dilation_that_doubles_lets_the_field_grow_exponentially():
    sizes = [
        fields_after(
            sequence(*[layers.Conv1D(1, 3, dilation_rate=2**each) for each in range(depth)])
        )
        for depth in range(1, 5)
    ]
    assert [field.size for (field,) in sizes] == [3, 7, 15, 31]


def test_an_iterated_stack_sees_more_with_every_turn_of_the_same_weights():
    fields = [
        fields_after(sequence(layers.Conv1D(2, 1), layers.DilatedStack1D(2, 3, (1, 2), turns)))
        for turns in (1, 2, 3)
    ]
    assert [field.size for (field,) in fields] == [7, 13, 19]


@pytest.mark.parametrize(
    "parts",
    [
        [keras.layers.Flatten(), layers.Dense(3)],
        [layers.GlobalMaxPool1D()],
        [keras.layers.Reshape((7, 2)), layers.Conv1D(2, 3)],
    ],
    ids=["flatten", "global pool", "reshape"],
)
def test_what_looks_at_the_whole_input_sees_its_whole_axis(parts):
    assert fields_after(sequence(*parts)) == (Field(size=SIZE, stride=0, offset=0),)


def test_a_dense_layer_over_positions_sees_one_each():
    assert fields_after(sequence(layers.Conv1D(2, 3), layers.Dense(3))) == (Field(3, 1, -1),)


def test_joined_maps_see_what_either_sees():
    inputs = keras.Input((SIZE, 1))
    maps = [layers.Conv1D(1, 3)(inputs), layers.Conv1D(1, 4, padding=((3, 0),))(inputs)]
    for join in (keras.layers.Add(), keras.layers.Concatenate()):
        assert fields_after(keras.Model(inputs, join(maps))) == (Field(5, 1, -3),)


def test_maps_joined_one_behind_the_other_count_as_seeing_everything():
    inputs = keras.Input((SIZE, 1))
    network = keras.Model(inputs, keras.layers.Concatenate(axis=1)([inputs, inputs]))
    assert fields_after(network) == (Field(SIZE),)


def test_fields_that_move_apart_have_no_union_but_the_whole():
    assert union([PIXEL, Field(3, 2, 0)], Field(SIZE)) == Field(SIZE)


def test_tokens_have_fields_and_a_length_may_be_unknown():
    tokens = keras.Input((None,), dtype="int32")
    x = layers.Conv1D(2, 3, padding="wide")(keras.layers.Embedding(9, 4)(tokens))
    assert fields_after(keras.Model(tokens, x)) == (Field(3, 1, -2),)
    pooled = layers.GlobalMaxPool1D()(x)
    assert fields_after(keras.Model(tokens, pooled)) == (Field(None),)
