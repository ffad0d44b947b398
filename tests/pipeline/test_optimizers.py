import keras
import numpy as np
import pytest
import tensorflow as tf

from pipeline.recipe import Training
from pipeline.training.optimizers import FusedSGD, find_optimizer, make_optimizer, optimizers
from serving.errors import ConvoyError


def network():
    """A convolution, a norm and a dense layer: matrices, vectors, offsets."""
    image = keras.Input((4, 4, 1))
    x = keras.layers.BatchNormalization(name="norm")(keras.layers.Conv2D(2, 3, name="conv")(image))
    return keras.Model(image, keras.layers.Dense(3, name="dense")(keras.layers.Flatten()(x)))


def gradients(weights, seed=0):
    generator = np.random.default_rng(seed)
    return [tf.constant(generator.normal(size=each.shape), tf.float32) for each in weights]


def steps(optimizer, weights, count=4):
    """The weights after a few steps of the same gradients."""
    for number in range(count):
        optimizer.apply(gradients(weights, number), weights)
    return [np.array(weight) for weight in weights]


@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("nesterov", [False, True])
def test_the_fused_step_is_the_one_written_out(momentum, nesterov):
    weight = keras.Variable(np.arange(6.0).reshape(2, 3))
    optimizer = FusedSGD(0.1, momentum=momentum, nesterov=nesterov)
    expected, speed = np.array(weight), np.zeros((2, 3))
    for number in range(4):
        (gradient,) = gradients([weight], number)
        optimizer.apply([gradient], [weight])
        speed = momentum * speed - 0.1 * gradient.numpy()
        expected += momentum * speed - 0.1 * gradient.numpy() if nesterov else speed
    np.testing.assert_allclose(weight, expected, rtol=1e-5)


def test_offsets_move_faster_by_the_bias_rate_and_nothing_else_does():
    plain, fast = network(), network()
    fast.set_weights(plain.get_weights())
    before = [np.array(weight) for weight in plain.trainable_variables]
    slow_steps = steps(FusedSGD(0.1, momentum=0.9), plain.trainable_variables)
    fast_steps = steps(FusedSGD(0.1, momentum=0.9, bias_rate=64.0), fast.trainable_variables)
    for weight, start, one, other in zip(
        plain.trainable_variables, before, slow_steps, fast_steps, strict=True
    ):
        rate = 64 if weight.name in ("bias", "beta") else 1
        np.testing.assert_allclose(other - start, rate * (one - start), rtol=1e-4, atol=1e-5)


def test_rows_of_a_table_move_alone():
    weight = keras.Variable(np.ones((4, 2)))
    rows = tf.IndexedSlices(tf.ones((1, 2)), tf.constant([2]), tf.constant([4, 2]))
    FusedSGD(0.5).apply([rows], [weight])
    np.testing.assert_array_equal(weight, [[1, 1], [1, 1], [0.5, 0.5], [1, 1]])


@pytest.mark.parametrize("kind", optimizers(), ids=lambda kind: kind.__name__)
def test_every_keras_optimizer_is_found_by_its_name_and_spares_norms_and_biases(kind):
    training = Training(optimizer=kind.__name__.lower(), learning_rate=0.01, weight_decay=0.1)
    chosen = make_optimizer(training, steps=10, network=(model := network()))
    assert isinstance(chosen, kind)
    chosen.build(model.trainable_variables)
    decaying = {each.path for each in model.trainable_variables if chosen._use_weight_decay(each)}
    assert {path.rpartition("/")[2] for path in decaying} == {"kernel"}
    before = [np.array(weight) for weight in model.trainable_variables]
    after = steps(chosen, model.trainable_variables)
    assert all((one != other).any() for one, other in zip(before, after, strict=True))


@pytest.mark.parametrize("kind", optimizers(), ids=lambda kind: kind.__name__)
def test_every_optimizer_does_without_weight_decay(kind):
    training = Training(optimizer=kind.__name__, weight_decay=0.0)
    chosen = make_optimizer(training, steps=10, network=network())
    assert not chosen.weight_decay


def test_a_gradient_of_any_size_moves_no_further_than_the_clipped_norm():
    weight = keras.Variable(np.zeros((2, 2)))
    steady = {"learning_rate": 1.0, "warmup": 0.0, "decay": "none", "momentum": 0.0}
    training = Training(**steady, weight_decay=0.0, clip_norm=2.0)
    chosen = make_optimizer(training, steps=10, network=network())
    chosen.apply([tf.constant([[300.0, 400.0], [0.0, 0.0]])], [weight])
    np.testing.assert_allclose(weight, [[-1.2, -1.6], [0, 0]], rtol=1e-5)


def test_faster_offsets_are_refused_where_the_optimizer_has_none():
    with pytest.raises(ConvoyError, match="--training.bias-rate does not suit Adam: expected 1"):
        make_optimizer(Training(optimizer="adam", bias_rate=64.0), 10, network())


def test_an_unknown_optimizer_is_named_with_the_nearest():
    with pytest.raises(ConvoyError, match="unknown --training.optimizer `rmspop`: .*`RMSprop`"):
        find_optimizer("rmspop")


def test_the_optimizer_survives_serialization():
    optimizer = FusedSGD(0.1, momentum=0.9, nesterov=True, bias_rate=8.0)
    again = keras.optimizers.deserialize(keras.optimizers.serialize(optimizer))
    assert isinstance(again, FusedSGD)
    assert again.get_config() == optimizer.get_config()
