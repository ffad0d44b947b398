import json

import keras
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.expand import expand
from models.layers import DilatedStack1D, DilatedStack2D, GlobalMaxPool1D
from tests.models import loops, runtimes
from tests.models.gradients import Steps, assert_equals_paper, distinct


def weights_of(stack, seed=0):
    """Draw weights, among them biases that are not 0, and return them by kind."""
    random = np.random.default_rng(seed)
    stack.set_weights([random.normal(size=weight.shape) / 2 for weight in stack.weights])
    weights = stack.get_weights()
    return weights[0::2], weights[1::2]


def receptive_field(stack, sizes):
    """Return which inputs the output in the middle depends on, along the first axis."""
    x = tf.ones((1, *sizes, stack.filters))
    stack.build(x.shape)
    # Positive weights, so that no ReLU hides what a convolution sees.
    stack.set_weights([np.ones(weight.shape) for weight in stack.weights])
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = stack(x)
        middle = y[(0, *(size // 2 for size in sizes))]
    seen = np.any(tape.gradient(middle, x)[0], axis=tuple(range(1, len(sizes) + 1)))
    return seen.sum()


@st.composite
def problems(draw):
    """Draw an input along 1 or 2 axes, and the arguments of a stack that takes it."""
    rank, filters = draw(st.integers(1, 2)), draw(st.integers(1, 3))
    sizes = draw(st.tuples(*[st.integers(1, 9 if rank == 1 else 4)] * rank))
    arguments = {
        "filters": filters,
        "kernel_size": draw(st.tuples(*[st.integers(1, 4 if rank == 1 else 3)] * rank)),
        "dilation_rates": draw(st.lists(st.integers(1, 4), min_size=1, max_size=3)),
        "iterations": draw(st.integers(1, 3)),
    }
    return distinct((2, *sizes, filters), draw(st.integers(0, 99))), arguments


def check(problem, policy="float32"):
    """Hold a stack to Strubell et al.: a ReLU after each, the block's weights shared."""
    x, arguments = problem
    filters, window, rates, iterations = arguments.values()
    steps, rank = Steps(len(rates), policy), len(window)
    block = loops.chain(
        *(
            loops.chain(
                steps.conv(window, filters, filters, gaps=(rate,) * rank, bias=True), steps.relu
            )
            for rate in rates
        )
    )
    kind = {1: DilatedStack1D, 2: DilatedStack2D}[rank]
    assert_equals_paper(kind, arguments, x, steps, loops.repeated(block, iterations))


@settings(max_examples=20)
@given(problem=problems())
def test_a_stack_and_its_gradients_equal_plain_loops(problem):
    check(problem)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
@settings(max_examples=10)
@given(problem=problems())
def test_in_half_precision_it_stays_near_plain_loops(policy, problem):
    check(problem, policy)


def test_a_stack_of_images_equals_that_of_keras():
    x = np.random.default_rng(0).normal(size=(2, 9, 7, 3)).astype("float32")
    stack = DilatedStack2D(3, (3, 2), (1, 2), iterations=2)
    stack.build(x.shape)
    kernels, biases = weights_of(stack)
    expected = x
    for kernel, bias, rate in [*zip(kernels, biases, (1, 2), strict=True)] * 2:
        layer = keras.layers.Conv2D(
            3, (3, 2), padding="same", dilation_rate=rate, activation="relu"
        )
        layer.build(x.shape)
        layer.set_weights([kernel, bias])
        expected = layer(expected)
    np.testing.assert_allclose(stack(x), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("depth", [1, 2, 3, 4, 5])
def test_the_receptive_field_grows_exponentially_at_constant_parameters_per_layer(depth):
    rates = tuple(2**index for index in range(depth))
    stack = DilatedStack1D(1, 3, rates, iterations=1)
    assert receptive_field(stack, (101,)) == 2 ** (depth + 1) - 1
    assert stack.count_params() == depth * (3 + 1)


def test_without_dilation_the_receptive_field_grows_by_the_same_step_each_time():
    fields = [
        receptive_field(DilatedStack1D(1, 3, (1,) * depth, iterations=1), (41,))
        for depth in range(1, 6)
    ]
    assert fields == [3, 5, 7, 9, 11]


def test_iterations_widen_the_receptive_field_and_leave_the_parameters():
    stacks = [DilatedStack1D(1, 3, (1, 2, 4), iterations) for iterations in (1, 2, 3)]
    assert [receptive_field(stack, (101,)) for stack in stacks] == [15, 29, 43]
    assert [stack.count_params() for stack in stacks] == [12, 12, 12]


def test_the_receptive_field_of_an_image_grows_along_both_axes():
    assert receptive_field(DilatedStack2D(1, 3, (1, 2, 4), iterations=1), (31, 31)) == 15


def test_a_layer_has_the_parameters_of_its_filters_alone():
    stack = DilatedStack2D(16, 3, (1, 2, 4))
    stack.build((None, 28, 28, 16))
    assert stack.count_params() == 3 * (3 * 3 * 16 * 16 + 16)


@pytest.mark.parametrize("steps", [5, 9])
def test_a_masked_sequence_is_labelled_as_if_it_were_alone(steps):
    x = np.random.default_rng(0).normal(size=(1, 5, 3)).astype("float32")
    stack = DilatedStack1D(3, 3, (1, 2))
    stack.build(x.shape)
    weights_of(stack)
    longer = np.pad(x, ((0, 0), (0, steps - 5), (0, 0)), constant_values=7)
    inputs, shown = keras.Input((None, 3)), keras.Input((None,), dtype="bool")
    masked = Masked()([inputs, shown])
    model = keras.Model([inputs, shown], stack(masked))
    mask = np.arange(steps)[None] < 5
    for y in (
        model([longer, mask]),
        model.predict([longer, mask], verbose=0),
        expand(model).predict([longer, mask], verbose=0),
    ):
        np.testing.assert_allclose(y[:, :5], stack(x), rtol=1e-5, atol=1e-6)


class Masked(keras.layers.Layer):
    """Gives its first input the second as a mask."""

    def call(self, inputs):
        return inputs[0] + 0

    def compute_mask(self, inputs, previous_mask=None):
        return inputs[1]


def masked_model():
    inputs = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    middle = [
        models.layers.MaxPool1D(3, 1, "wide"),
        models.layers.AveragePool1D(3, 2, 1),
        models.layers.L2Pool1D(3, 1, "same"),
        models.layers.BatchNorm(),
        DilatedStack1D(4, 3, (1, 2), iterations=2),
    ]
    x = embedded
    for layer in middle:
        x = layer(x)
    kinds = ("Max", "Average", "L2")
    ends = [getattr(models.layers, f"Global{kind}Pool1D")()(x) for kind in kinds]
    return keras.Model(inputs, ends)


def test_the_mask_of_an_embedding_passes_through_the_stack():
    inputs = keras.Input((None,), dtype="int32")
    embedded = keras.layers.Embedding(9, 4, mask_zero=True)(inputs)
    model = keras.Model(inputs, GlobalMaxPool1D()(DilatedStack1D(4)(embedded)))
    tokens = np.array([[1, 2, 3, 4], [5, 6, 0, 0]])
    together = model.predict(tokens, verbose=0)
    np.testing.assert_allclose(together[1:], model(tokens[1:, :2]), rtol=1e-5)


ON_JAX = """
import json, sys
import jax, keras, numpy as np
import models

model = keras.saving.load_model(sys.argv[1])
trainable = [variable.value for variable in model.trainable_variables]
others = [variable.value for variable in model.non_trainable_variables]
tokens = np.array(json.loads(sys.argv[2]))
answers, _ = jax.jit(model.stateless_call)(trainable, others, tokens)
print(json.dumps([np.asarray(answer).tolist() for answer in answers]))
"""


def test_masked_sequences_give_the_same_numbers_on_jax(tmp_path):
    tokens = np.array([[1, 2, 3, 4, 5, 6], [7, 8, 1, 0, 0, 0], [0] * 6])
    model = masked_model()
    model(tokens, training=True)
    model.save(tmp_path / "model.keras")
    result = runtimes.run_on_jax(ON_JAX, tmp_path / "model.keras", json.dumps(tokens.tolist()))
    assert result.returncode == 0, result.stderr
    for actual, expected in zip(json.loads(result.stdout), model(tokens), strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"])
def test_mixed_precision_is_near_float32(policy):
    x = np.random.default_rng(0).normal(size=(2, 20, 4)).astype("float32")
    stack, mixed = DilatedStack1D(4), DilatedStack1D(4, dtype=policy)
    expected = stack(x)
    mixed.build(x.shape)
    mixed.set_weights(stack.get_weights())
    # Twelve convolutions on, each rounds once.
    tolerance = {"mixed_bfloat16": 0.1, "mixed_float16": 0.02}[policy] * np.max(expected)
    np.testing.assert_allclose(tf.cast(mixed(x), tf.float32), expected, atol=tolerance)


def test_an_input_with_another_number_of_channels_is_refused():
    with pytest.raises(ValueError, match="expected axis -1 of input shape to have value 4"):
        DilatedStack1D(4)(np.ones((1, 9, 3), "float32"))


@pytest.mark.parametrize(
    "bad", [{"iterations": 0}, {"dilation_rates": ()}, {"dilation_rates": 2}, {"kernel_size": 0}]
)
def test_a_bad_argument_is_refused_by_its_name(bad):
    (name,) = bad
    with pytest.raises(ValueError, match=f"`{name}` must be .* Received: {name}="):
        DilatedStack1D(4, **bad)
