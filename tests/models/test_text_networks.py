"""The networks of texts, against NumPy and against padding."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models

VOCABULARY = 50
TEXTS = st.lists(st.integers(1, VOCABULARY - 1), min_size=1, max_size=12)


@pytest.fixture(scope="module")
def networks():
    """Both networks, with biases that could tell a padded position from none."""
    keras.utils.set_random_seed(0)
    built = {}
    for name in ("textcnn", "idcnn"):
        options = {"width": 4, "dimensions": 6, "vocabulary_size": VOCABULARY}
        built[name] = models.build(name, (None,), 3, **options)
        for weight in built[name].weights:
            if weight.name == "bias":
                weight.assign(np.random.default_rng(0).normal(size=weight.shape))
    return built


def answer(model, *texts, length=None):
    """The logits for texts of different lengths, each padded at the end."""
    length = length or max(map(len, texts))
    return np.array(
        model(np.array([text + [0] * (length - len(text)) for text in texts]))["logits"]
    )


@settings(max_examples=12)
@given(TEXTS, st.integers(0, 9))
def test_padding_never_changes_the_answer(networks, text, zeros):
    for model in networks.values():
        padded = answer(model, text, length=len(text) + zeros)
        visible = padded[:, : len(text)] if padded.ndim == 3 else padded
        np.testing.assert_allclose(visible, answer(model, text), rtol=1e-5, atol=1e-5)


@settings(max_examples=6)
@given(TEXTS, TEXTS)
def test_a_text_gets_the_same_answer_in_any_company(networks, text, other):
    for model in networks.values():
        together, alone = answer(model, text, other)[0], answer(model, text)[0]
        together = together[: len(text)] if together.ndim == 2 else together
        np.testing.assert_allclose(together, alone, rtol=1e-5, atol=1e-5)


def convolve(x, kernel, bias, before, after, dilation=1):
    """A convolution of a sequence with ReLU, in plain loops."""
    padded = np.pad(x, ((before, after), (0, 0)))
    reach = (len(kernel) - 1) * dilation
    outputs = [
        sum(padded[start + tap * dilation] @ kernel[tap] for tap in range(len(kernel)))
        for start in range(len(padded) - reach)
    ]
    return np.maximum(np.array(outputs) + bias, 0)


def weights(model, layer):
    return [np.array(weight) for weight in model.get_layer(layer).weights]


@settings(max_examples=6)
@given(TEXTS)
def test_textcnn_is_windows_that_reach_over_both_ends_and_their_maxima(networks, text):
    model = networks["textcnn"]
    (vectors,) = weights(model, "embedding")
    maxima = [
        convolve(vectors[text], *weights(model, f"window{size}_conv"), size - 1, size - 1).max(0)
        for size in (3, 4, 5)
    ]
    kernel, bias = weights(model, "logits")
    expected = np.concatenate(maxima) @ kernel + bias
    np.testing.assert_allclose(answer(model, text)[0], expected, rtol=1e-4, atol=1e-4)


@settings(max_examples=6)
@given(TEXTS)
def test_idcnn_is_one_block_of_dilated_convolutions_again_and_again(networks, text):
    model = networks["idcnn"]
    (vectors,) = weights(model, "embedding")
    x = convolve(vectors[text], *weights(model, "conv"), 1, 1)
    stack = weights(model, "stack")
    for _ in range(4):
        for index, dilation in enumerate((1, 2, 4, 1)):
            x = convolve(x, *stack[2 * index : 2 * index + 2], dilation, dilation, dilation)
    kernel, bias = weights(model, "logits")
    np.testing.assert_allclose(answer(model, text)[0], x @ kernel + bias, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize(("depth", "iterations", "reach"), [(1, 1, 3), (3, 1, 9), (3, 2, 17)])
def test_a_word_is_seen_as_far_as_the_dilations_reach_and_no_farther(depth, iterations, reach):
    options = {"width": 32, "dimensions": 8, "vocabulary_size": VOCABULARY}
    model = models.build("idcnn", (None,), 2, depth=depth, iterations=iterations, **options)
    text = [1] * 61
    changed = [*text[:30], 2, *text[31:]]
    moved = np.any(answer(model, text)[0] != answer(model, changed)[0], axis=-1)
    assert np.flatnonzero(moved).tolist() == list(range(30 - reach, 30 + reach + 1))


@pytest.mark.parametrize("name", ["textcnn", "idcnn"])
@pytest.mark.parametrize("shape", [50, (0,), (7, 7)])
def test_a_length_that_is_none_is_refused(name, shape):
    with pytest.raises(ValueError, match="`input_shape` must be .* Received: input_shape="):
        models.build(name, shape, 2)


@pytest.mark.parametrize("name", ["textcnn", "idcnn"])
def test_texts_may_have_one_length_or_any(name):
    assert models.build(name, (7,), 2, width=1).input_shape == (None, 7)
    assert models.build(name, (None,), 2, width=1).input_shape == (None, None)


@pytest.mark.parametrize("argument", ["vocabulary_size", "dimensions"])
@pytest.mark.parametrize("name", ["textcnn", "idcnn"])
def test_a_size_of_the_embedding_that_is_none_is_refused(name, argument):
    with pytest.raises(ValueError, match=f"`{argument}` must be a positive int. Received: "):
        models.build(name, (7,), 2, **{argument: 0})
