import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from models.layers import (
    AveragePool2D,
    BatchNorm,
    Conv1D,
    Conv2D,
    ConvTranspose1D,
    ConvTranspose2D,
    DepthwiseConv1D,
    GlobalMaxPool2D,
    LocallyConnected1D,
    LocallyConnected2D,
    MaxPool2D,
)
from tests.models import geometries
from tests.models.gradients import assert_close, draw_weights, image

STEPS = 9
LENGTHS = st.lists(st.integers(0, STEPS), min_size=1, max_size=4)
KINDS = {"Conv1D": Conv1D, "ConvTranspose1D": ConvTranspose1D, "DepthwiseConv1D": DepthwiseConv1D}


def create(kind, **arguments):
    filters = () if kind == "DepthwiseConv1D" else (3,)
    layer = KINDS[kind](*filters, **arguments)
    layer.build((None, STEPS, 2))
    draw_weights(layer)
    return layer


def positions(layer, length):
    """How many outputs a sequence has by itself: none where no window fits."""
    try:
        return layer.compute_output_shape((1, length, 2))[1] if length else 0
    except ValueError:
        return 0


def assert_as_if_alone(layer, lengths):
    """Hold what is visible of each sequence to what the layer gives for it without the others."""
    x = image([STEPS], 2, batch=len(lengths))
    mask = np.arange(STEPS) < np.array(lengths)[:, None]
    spoilt = np.where(mask[..., None], x, np.nan)
    y = layer(spoilt, mask=tf.constant(mask)).numpy()
    shown = np.array(layer.compute_mask(spoilt, tf.constant(mask)))
    assert shown.shape == y.shape[:2]
    for index, length in enumerate(lengths):
        count = positions(layer, length)
        np.testing.assert_array_equal(shown[index], np.arange(len(y[index])) < count)
        if count:
            alone = layer(x[index : index + 1, :length]).numpy()
            assert_close(y[index : index + 1, :count], alone, 1e-5)


@pytest.mark.parametrize("kind", ["Conv1D", "DepthwiseConv1D"])
@settings(max_examples=40)
@given(
    window=st.integers(1, 4),
    stride=st.integers(1, 3),
    gap=st.integers(1, 2),
    padding=geometries.paddings(rank=1),
    lengths=LENGTHS,
)
def test_a_masked_sequence_is_convolved_as_if_it_were_alone(
    kind, window, stride, gap, padding, lengths
):
    stride = 1 if padding == "same" else stride  # Else the longest decides where windows stand.
    arguments = {"kernel_size": window, "strides": stride, "padding": padding}
    assert_as_if_alone(create(kind, **arguments, dilation_rate=gap), lengths)


@settings(max_examples=40)
@given(
    window=st.integers(1, 4),
    stride=st.integers(1, 3),
    padding=geometries.paddings(rank=1),
    lengths=LENGTHS,
)
def test_a_masked_sequence_is_spread_as_if_it_were_alone(window, stride, padding, lengths):
    arguments = {"kernel_size": window, "strides": stride, "padding": padding}
    assert_as_if_alone(create("ConvTranspose1D", **arguments), lengths)


@settings(max_examples=20)
@given(window=st.integers(1, 3), padding=st.sampled_from(["same", "valid"]), lengths=LENGTHS)
def test_what_a_mask_hides_counts_as_zeros_to_a_locally_connected_layer(window, padding, lengths):
    layer = LocallyConnected1D(3, window, padding=padding)
    layer.build((None, STEPS, 2))
    x, mask = image([STEPS], 2, len(lengths)), np.arange(STEPS) < np.array(lengths)[:, None]
    y = layer(np.where(mask[..., None], x, np.nan), mask=tf.constant(mask))
    assert_close(y, layer(np.where(mask[..., None], x, 0.0)).numpy(), 1e-6)


@pytest.mark.parametrize("kind", KINDS)
def test_no_gradient_reaches_what_a_mask_hides(kind):
    layer, mask = create(kind, kernel_size=3), tf.sequence_mask([5], STEPS)
    x = tf.constant(image([STEPS], 2, batch=1))
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, mask=mask)
    reached = np.any(tape.gradient(y, x), axis=-1)
    np.testing.assert_array_equal(reached, mask)


class Masked(keras.layers.Layer):
    """Gives images of which each sequence has so many a mask over those."""

    def call(self, inputs):
        return inputs + 0

    def compute_mask(self, inputs, previous_mask=None):
        return tf.sequence_mask([1, 3], 3)


@pytest.mark.parametrize(
    "create", [lambda: Conv2D(4, 3), MaxPool2D, AveragePool2D, GlobalMaxPool2D, BatchNorm]
)
def test_a_mask_over_whole_images_hides_nothing_within_them(create):
    videos, layer = image([3, 6, 2], 3), create()
    frames = keras.layers.TimeDistributed(layer)(Masked()(videos))
    for frame in range(3):
        assert_close(frames[:, frame], layer(videos[:, frame]).numpy(), 1e-6)


@pytest.mark.parametrize("kind", [LocallyConnected2D, MaxPool2D, ConvTranspose2D])
def test_a_layer_that_does_not_dilate_refuses_a_dilation(kind):
    arguments = (2,) if kind is MaxPool2D else (4, 3)
    with pytest.raises(ValueError, match="Unrecognized .*dilation_rate"):
        kind(*arguments, dilation_rate=2)


def test_a_mask_ends_at_a_layer_of_images():
    assert Conv2D(1, 3).compute_mask(None, tf.ones((1, 4, 4), bool)) is None
