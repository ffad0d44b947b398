"""Networks without values: no memory, now or later, and nothing of the caller's is lost."""

import keras
import numpy as np
import pytest

import models
from models.outlines import without_values
from tests.models.outlines import outline


def valued(model):
    """Names of the weights that have values."""
    return [weight.path for weight in model.weights if weight._value is not None]


def test_an_outline_has_shapes_and_never_gets_values():
    model = outline("vgg16", (224, 224, 3), 1000, head="dense")
    assert model.count_params() > 138e6
    with keras.StatelessScope():
        pass  # Keras gives values at its end, to all that wait.
    assert valued(model) == []


def test_what_is_built_afterwards_has_values():
    outline("lenet", (28, 28, 1), 10)
    model = models.build("lenet", (28, 28, 1), 10, width=1)
    assert len(valued(model)) == len(model.weights)


def test_weights_that_wait_for_values_get_theirs_all_the_same():
    with keras.StatelessScope():
        layer = keras.layers.Dense(2)
        layer.build((None, 3))
        model = outline("lenet", (28, 28, 1), 10, width=1)
    assert len(valued(layer)) == 2
    assert valued(model) == []


@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_the_dtype_policy_and_the_seed_stay_as_they_were(policy):
    keras.utils.set_random_seed(7)
    expected = np.array([keras.random.normal((3,)) for _ in range(2)])
    keras.utils.set_random_seed(7)
    first = keras.random.normal((3,))
    outline("lenet", (28, 28, 1), 10, width=1)
    second = keras.random.normal((3,))
    np.testing.assert_array_equal([first, second], expected)
    assert keras.config.dtype_policy().name == policy


def test_a_network_starts_from_the_same_weights_whether_or_not_it_was_outlined_before():
    built = []
    for outlines in (0, 2):
        keras.utils.set_random_seed(7)
        for _ in range(outlines):
            outline("lenet", (28, 28, 1), 10, width=1)
        built.append(models.build("lenet", (28, 28, 1), 10, width=1).get_weights())
    for one, other in zip(*built, strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_seed_that_is_first_asked_for_inside_does_not_stay_without_a_value():
    class Noise(keras.layers.Layer):
        """Draws from the generator that all share."""

        def call(self, inputs):
            return inputs + keras.random.normal((3,))

    with without_values():
        Noise()(keras.Input((3,)))
    assert np.isfinite(keras.random.normal((3,))).all()


def test_an_error_inside_leaves_everything_as_it_was():
    with pytest.raises(ValueError, match="input_shape"):
        outline("lenet", (2, 2, 1), 10)
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    assert len(valued(layer)) == 2
