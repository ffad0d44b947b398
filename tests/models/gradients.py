"""What a layer gives, and what flows back through it, beside a reference in NumPy."""

import numpy as np
import tensorflow as tf

# The most that an answer may differ by, as a share of the largest number in it or of 1. Halves
# keep 8 bits (bfloat16) or 11 (float16) of each input, product sum and output.
TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 3e-2, "mixed_float16": 5e-3}


def answers(layer, x, dy, **kwargs):
    """The output of `layer`, and the gradients of `x` and of its weights where `dy` arrives."""
    inputs = tf.constant(x, layer.compute_dtype)
    weights = [weight.value for weight in layer.trainable_weights]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        y = layer(inputs, **kwargs)
    found = tape.gradient(y, [inputs, *weights], tf.constant(dy, y.dtype))
    return [tf.cast(each, "float32").numpy() for each in (y, *found)]


def assert_equals_loops(kind, arguments, x, reference, policy="float32"):
    """Hold a layer and its gradients to a reference, with weights drawn from a seed.

    The reference takes `x` and the weights, and returns the output and its gradient function.
    """
    layer = kind(**arguments, dtype=policy)
    layer.build(x.shape)
    draw_weights(layer)
    expected, gradient = reference(x, *layer.get_weights())
    dy = np.random.default_rng(1).normal(size=expected.shape).astype("float32")
    names = ["output", "gradient of the input", "of the kernel", "of the bias"]
    found = zip(names, answers(layer, x, dy), [expected, *gradient(dy)], strict=True)
    for name, actual, wanted in found:
        assert_close(actual, wanted, TOLERANCES[policy], name)
    assert layer.compute_output_shape(x.shape) == expected.shape


def assert_close(actual, wanted, tolerance, name=""):
    """Hold two arrays to a share of the larger of 1 and the largest number wanted."""
    most = tolerance * max(1, np.abs(wanted).max())
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=most, err_msg=name)


def draw_weights(layer):
    """Give every weight, biases too, numbers that a half holds exactly enough."""
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])


def image(sizes, channels, batch=2, seed=0):
    """An input of any rank."""
    random = np.random.default_rng(seed)
    return random.normal(size=(batch, *sizes, channels)).astype("float32")
