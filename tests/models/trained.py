"""Networks as training leaves them: no offset is zero and no scale one."""

import keras
import numpy as np

import models


def random(shape, seed=0):
    """Numbers around zero."""
    return np.random.default_rng(seed).normal(size=shape).astype("float32")


def pixels(count, shape=(28, 28, 1)):
    """Images of 0-255."""
    return 255 * np.random.default_rng(0).random((count, *shape), "float32")


def trained(network):
    """Give every bias, scale, offset and statistic of a network or layer a value of its own."""
    generator = np.random.default_rng(0)
    for weight in network.weights:
        if weight.name in ("gamma", "moving_variance"):
            weight.assign(generator.uniform(0.5, 2, weight.shape))
        elif weight.name in ("bias", "beta", "moving_mean"):
            weight.assign(generator.normal(size=weight.shape))
    return network


def chain(shape, *parts):
    """A network of layers, one after another."""
    inputs = x = keras.Input(shape)
    for part in parts:
        x = part(x)
    return trained(keras.Model(inputs, x))


def classifier(name, shape=(28, 28, 1), **options):
    """One of our networks for ten classes."""
    return trained(models.build(name, shape, 10, **options))


def logits(network, x):
    """What a classifier answers in inference."""
    return np.array(network(x, training=False)["logits"])
