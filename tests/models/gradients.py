"""What a layer gives, and what flows back through it, beside a reference in NumPy."""

import numpy as np
import tensorflow as tf
from hypothesis import assume

from tests.models import loops

# The most that an answer may differ by, as a share of the largest number in it or of 1. Halves
# keep 8 bits (bfloat16) or 11 (float16) of each input, product sum and output, and of each sum on
# the way to it on processors that compute them in software.
TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 5e-2, "mixed_float16": 5e-3}

# The same for several layers in a row, as a share of the largest number in any of their answers:
# each passes on what it rounded, and before a norm a kernel's gradient is a small sum of large
# numbers, which keeps their rounding.
DEEP_TOLERANCES = {"float32": 1e-5, "mixed_bfloat16": 8e-2, "mixed_float16": 5e-3}


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
    assert_answers(layer, x, expected, gradient, TOLERANCES[policy])


def assert_equals_loops_at_unknown_sizes(layer, x, reference):
    """The same where a layer knows the sizes of its input only when it runs."""
    shape = (None, *[None] * (x.ndim - 2), x.shape[-1])
    layer.build(shape)
    draw_weights(layer)
    expected, gradient = reference(x, *layer.get_weights())
    dy = image(expected.shape[1:-1], expected.shape[-1], seed=1)

    @tf.function(input_signature=[tf.TensorSpec(shape)])
    def run(x):
        y = layer(x)
        return y, *tf.gradients(y, [x, layer.kernel.value, layer.bias.value], dy)

    for actual, wanted in zip(run(x), [expected, *gradient(dy)], strict=True):
        assert_close(actual, wanted, 1e-5)


def assert_answers(layer, x, expected, gradient, tolerance, deep=False, **kwargs):
    """Hold what a built layer gives, and its gradients, to what a reference returned.

    Each answer may differ by a share of its own largest number, or, where the layer is `deep`, of
    the largest in any answer.
    """
    dy = np.random.default_rng(1).integers(-64, 65, expected.shape) / 32  # A half holds them.
    weights = [f"gradient of {weight.path}" for weight in layer.trainable_weights]
    names = ["output", "gradient of the input", *weights]
    wanted = [expected, *gradient(dy)]
    largest = max(np.abs(each).max() for each in wanted) if deep else 1
    found = zip(names, answers(layer, x, dy, **kwargs), wanted, strict=True)
    for name, actual, each in found:
        assert_close(actual, each, tolerance, name, largest)
    assert layer.compute_output_shape(x.shape) == expected.shape


def assert_equals_steps(layer, x, steps, whole, tolerance, modes=(False, True), deep=False):
    """Hold a layer to the step `whole`, with the weights that `steps` drew for it."""
    layer.build(x.shape)
    layer.set_weights(steps.weights)
    for training in modes:
        steps.training = training
        answer = whole(x)
        assume(steps.margin > 2 * tolerance)
        assert_answers(layer, x, *answer, tolerance, deep, training=training)


def assert_equals_paper(kind, arguments, x, steps, whole):
    """Hold a block to the step `whole`: in float32 in both modes, in a half in inference."""
    block = kind(**arguments, dtype=steps.policy)
    modes = (False, True) if steps.policy == "float32" else (False,)
    assert_equals_steps(block, x, steps, whole, DEEP_TOLERANCES[steps.policy], modes, deep=True)


def assert_close(actual, wanted, tolerance, name="", largest=1):
    """Hold two arrays to a share of the largest of 1, the numbers wanted and `largest`."""
    most = tolerance * max(1, np.abs(wanted).max(), largest)
    np.testing.assert_allclose(actual, wanted, rtol=0, atol=most, err_msg=name)


def draw_weights(layer):
    """Give every weight, biases too, numbers that a half holds exactly enough."""
    random = np.random.default_rng(0)
    layer.set_weights([random.normal(size=weight.shape) for weight in layer.weights])


def image(sizes, channels, batch=2, seed=0):
    """An input of any rank."""
    random = np.random.default_rng(seed)
    return random.normal(size=(batch, *sizes, channels)).astype("float32")


def distinct(shape, seed):
    """Values of either sign, about 1 in size, that differ even in bfloat16."""
    random = np.random.default_rng(seed)
    mantissas = np.arange(np.prod(shape), dtype="uint32") + 0x3E80  # From 0.25, 128 an octave.
    values = (mantissas << 16).view("float32") * random.choice([-1, 1], mantissas.size)
    return random.permutation(values).reshape(shape).astype("float32")


class Steps:
    """Steps to write a block with, which draw weights in the order that a layer lists its own.

    `margin` tells how near any value came to where a gradient jumps: a ReLU at 0, or two values
    that are largest. Where it is small, a half cannot tell which side is meant, so under its policy
    each bias is far from 0.
    """

    def __init__(self, seed, policy="float32"):
        self.random = np.random.default_rng(seed)
        self.policy = policy
        self.offset = 0 if policy == "float32" else 4
        self.weights = []
        self.margin = np.inf
        self.training = False

    def drawn(self, values):
        """Keep a weight."""
        self.weights.append(np.float32(values))
        return self.weights[-1]

    def bias(self, channels):
        """Draw what is added to each channel."""
        signs = self.random.choice([-1, 1], channels)
        return self.drawn(self.random.normal(size=channels) / 2 + self.offset * signs)

    def conv(self, window, channels, filters, strides=None, padding="same", gaps=None, bias=False):
        """Draw a convolution."""
        shape = (*window, channels, filters)
        kernel = self.drawn(self.random.normal(size=shape) / np.sqrt(np.prod(shape[:-1])))
        added = self.bias(filters) if bias else 0

        def step(x):
            y, gradient = loops.conv(x, kernel, added, strides or (1,) * len(window), padding, gaps)
            return y, gradient if bias else lambda dy: gradient(dy)[:2]

        return step

    def batch_norm(self, channels):
        """Draw a batch norm, with its moving averages."""
        gamma = self.drawn(self.random.uniform(0.5, 1.5, channels))
        beta = self.bias(channels)
        mean = self.drawn(self.random.normal(size=channels) / 2)
        variance = self.drawn(self.random.uniform(0.5, 1.5, channels))

        def step(x):
            moving = None if self.training else (mean, variance)
            return loops.batch_norm(x, gamma, beta, 1e-3, moving)

        return step

    def relu(self, x):
        """Keep what is positive."""
        self.margin = min(self.margin, np.abs(x).min())
        return loops.relu(x)

    def max_pool(self, x):
        """Keep the largest value of each 2x2 window, none of which overlap."""
        window = ((2, 2), (2, 2), "valid")
        for _, places in loops.Sliding(x.shape[1:-1], *window).windows():
            *_, second, first = np.sort([x[loops.at(place)] for place in places], axis=0)
            self.margin = min(self.margin, np.where(first > 0, first - second, np.inf).min())
        return loops.pool("Max", x, *window)
