"""What must hold for every layer. A new layer is one line of `LAYERS`."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import layers

LAYERS = {
    "conv2d": (lambda **kwargs: layers.Conv2D(3, (3, 2), 2, **kwargs), (2, 6, 5, 2)),
    "conv2d_valid": (
        lambda **kwargs: layers.Conv2D(3, 3, padding="valid", use_bias=False, **kwargs),
        (2, 6, 5, 2),
    ),
    "max_pool2d": (lambda **kwargs: layers.MaxPool2D(**kwargs), (2, 6, 5, 2)),
    "average_pool2d": (
        lambda **kwargs: layers.AveragePool2D((3, 2), 1, "same", **kwargs),
        (2, 6, 5, 2),
    ),
    "global_max_pool2d": (lambda **kwargs: layers.GlobalMaxPool2D(**kwargs), (2, 6, 5, 2)),
    "global_average_pool2d": (lambda **kwargs: layers.GlobalAveragePool2D(**kwargs), (2, 6, 5, 2)),
    "batch_norm_dense": (lambda **kwargs: layers.BatchNorm(0.8, **kwargs), (4, 3)),
    "batch_norm_image": (lambda **kwargs: layers.BatchNorm(epsilon=1e-2, **kwargs), (2, 6, 5, 2)),
    "residual": (lambda **kwargs: layers.ResidualBlock(2, **kwargs), (2, 6, 5, 2)),
    "residual_projected": (
        lambda **kwargs: layers.ResidualBlock(3, 2, "linear", **kwargs),
        (2, 6, 5, 2),
    ),
}


@pytest.fixture(params=LAYERS)
def descriptor(request):
    return LAYERS[request.param]


@pytest.fixture
def create(descriptor):
    return descriptor[0]


@pytest.fixture
def x(descriptor):
    return np.random.default_rng(0).normal(size=descriptor[1]).astype("float32")


def test_a_layer_is_documented_with_an_example(create):
    for part in ("Input shape:", "Output shape:", "Example:", "Reference:"):
        assert part in type(create()).__doc__


def test_config_makes_the_same_layer_again(create, x):
    layer = create(name="original")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert copy.get_config() == layer.get_config()
    layer.build(x.shape)
    copy.build(x.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), layer(x))


def test_a_saved_layer_gives_the_same_numbers_again(create, x, tmp_path):
    inputs = keras.Input(x.shape[1:])
    model = keras.Model(inputs, create()(inputs))
    model(x, training=True)  # Moves the statistics that a save could forget.
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(x), model(x))


def test_the_output_shape_is_known_before_the_call(create, x):
    layer = create()
    assert layer.compute_output_shape(x.shape) == layer(x).shape
    unknown_batch = layer(keras.Input(x.shape[1:]))
    assert unknown_batch.shape == (None, *layer(x).shape[1:])


def test_mixed_precision_computes_in_bfloat16_and_keeps_weights_in_float32(create, x):
    layer, reference = create(dtype="mixed_bfloat16"), create(dtype="float32")
    y = layer(x)
    assert y.dtype == tf.bfloat16
    assert {weight.dtype for weight in layer.weights} <= {"float32"}
    reference.build(x.shape)
    reference.set_weights(layer.get_weights())
    np.testing.assert_allclose(tf.cast(y, tf.float32), reference(x), rtol=0.1, atol=0.1)


def test_every_input_and_weight_gets_a_gradient(create, x):
    layer, inputs = create(), tf.constant(x)
    layer.build(x.shape)
    sources = [inputs, *(weight.value for weight in layer.trainable_weights)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(layer(inputs) ** 2)
    for gradient in tape.gradient(loss, sources):
        assert np.isfinite(gradient).all()
        assert np.any(gradient)
