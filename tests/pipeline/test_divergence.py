"""What is said of a training that breaks, and what is left of it."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import models
from models.layers import Conv2D
from pipeline.data.batches import shuffled_positions
from pipeline.recipe import Data, Network, Recipe, Training, network
from pipeline.run import create_run
from pipeline.task import Classification
from pipeline.training import checkpoints
from pipeline.training.divergence import find_culprit
from pipeline.training.fit import batches_from, fit
from pipeline.training.prepare import prepare
from serving.errors import ConvoyError
from tests.pipeline.stripes import stripe_splits

BAD = 77
SPLITS = stripe_splits()
SPLITS.train.images[BAD] = 255


def is_white(images):
    return tf.reduce_min(images, axis=(1, 2, 3), keepdims=True) > 200.0


class DivideByNothing(keras.layers.Layer):
    """Leaves an image as it is, but divides a white one by zero."""

    def call(self, inputs):
        return inputs / tf.cast(tf.where(is_white(inputs), 0.0, 1.0), inputs.dtype)


class RootOfNothing(keras.layers.Layer):
    """Leaves an image as it is, but gives a white one a gradient without end."""

    def call(self, inputs):
        return inputs + tf.where(is_white(inputs), tf.sqrt(0.0 * inputs), 0.0)


class Scale(keras.layers.Layer):
    """One weight that images are multiplied by."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, inputs):
        return inputs * self.scale


def breaking(layer):
    """A network with a layer that does not bear white images."""

    def build(input_shape, num_classes):
        image = keras.Input(input_shape, name="image")
        x = layer(name="breaking")(Scale(name="scale")(image))
        x = keras.layers.Flatten()(Conv2D(2, 3, 4, name="conv")(x / 255.0))
        return keras.Model(image, {"logits": keras.layers.Dense(num_classes)(x)})

    return build


def train(monkeypatch, tmp_path, layer, precision="float32"):
    monkeypatch.setitem(models.ARCHITECTURES, "breaking", breaking(layer))
    splits = SPLITS
    recipe = Recipe(
        name="breaking",
        network=Network("breaking"),
        data=Data(batch_size=32, flip="none", shift=0),
        training=Training(precision=precision, learning_rate=0.001, warmup=0),
        runs=tmp_path,
    )
    task = Classification(splits.labels)
    learner, run = prepare(recipe, splits, task), create_run(recipe)
    with pytest.raises(ConvoyError) as refusal:
        fit(learner, recipe, splits, task, run)
    orders = shuffled_positions(len(splits.train), recipe.data, recipe.seed)
    seen = [BAD in positions for positions in orders.take(8).as_numpy_iterator()]
    return str(refusal.value), seen.index(True), run


def test_the_layer_the_step_and_the_image_that_break_a_training_are_named(monkeypatch, tmp_path):
    said, step, run = train(monkeypatch, tmp_path, DivideByNothing)
    assert f"in epoch 1 at step {step + 1}: expected finite numbers" in said
    assert f"received others in the output of `breaking` for training images {BAD};" in said
    assert "lower --training.learning-rate" in said


def test_float16_which_skips_bad_gradients_stops_at_a_bad_loss_all_the_same(monkeypatch, tmp_path):
    said, step, _ = train(monkeypatch, tmp_path, DivideByNothing, "float16")
    assert f"at step {step + 1}: " in said
    assert f"the output of `breaking` for training images {BAD};" in said


def test_a_gradient_that_breaks_a_training_is_named_by_its_layer(monkeypatch, tmp_path):
    said, step, _ = train(monkeypatch, tmp_path, RootOfNothing)
    assert f"at step {step + 1}: " in said
    assert "received others in the gradient of `scale`;" in said


def test_the_last_good_weights_are_kept(monkeypatch, tmp_path):
    said, step, run = train(monkeypatch, tmp_path, DivideByNothing)
    assert f"--training.start-from {run.last_good})" in said
    with keras.saving.custom_object_scope(
        {each.__name__: each for each in (Scale, DivideByNothing)}
    ):
        kept = keras.saving.load_model(run.last_good)
    learner = prepare(run.recipe, SPLITS, Classification(SPLITS.labels))
    learner.make_train_function()
    learner.train_steps(iter(batches_from(0, run.recipe, SPLITS)), tf.constant(step, tf.int64))
    for weight, expected in zip(kept.get_weights(), learner.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, expected)


class Spoiler(keras.optimizers.SGD):
    """Gives weights that are no numbers at its third step, whatever the loss is."""

    def update_step(self, gradient, variable, learning_rate):
        spoilt = tf.where(self.iterations.value == 2, np.nan, 0.0)
        super().update_step(gradient + spoilt, variable, learning_rate)


def test_weights_that_are_no_numbers_are_never_kept(monkeypatch, tmp_path):
    splits = stripe_splits()
    recipe = Recipe(
        name="spoilt",
        network=network("lenet", width=2),
        data=Data(batch_size=64),
        training=Training(optimizer="spoiler", epochs=2, checkpoint_seconds=0),
        runs=tmp_path,
    )
    monkeypatch.setattr("pipeline.training.optimizers.find_optimizer", lambda name: Spoiler)
    task = Classification(splits.labels)
    learner, run = prepare(recipe, splits, task), create_run(recipe)
    with pytest.raises(ConvoyError, match="epoch 1 at step 3: .* a weight, by too large a step"):
        fit(learner, recipe, splits, task, run)
    for path in checkpoints.checkpoints(run.checkpoints):
        with np.load(path / "state.npz") as state:
            assert all(np.isfinite(state[name]).all() for name in state.files)


def test_a_layer_of_a_backbone_is_named(tmp_path):
    splits = stripe_splits()
    larger = splits.train.images.repeat(3, 1).repeat(3, 2)
    recipe = Recipe(
        name="backbone",
        network=network("backbone", application="MobileNetV2", weights="none", alpha=0.35),
        training=Training(precision="float32"),
        runs=tmp_path,
    )
    splits = dataclasses.replace(splits, train=dataclasses.replace(splits.train, images=larger))
    learner = prepare(recipe, splits, Classification(splits.labels))
    broken = next(layer for layer in learner.layers if layer.name.endswith("_depthwise"))
    broken.set_weights([np.full_like(weight, np.nan) for weight in broken.get_weights()])
    culprit = find_culprit(learner, (larger[:4], splits.train.labels[:4]))
    assert culprit.what == f"the output of `{broken.name}`"
    assert culprit.rows.tolist() == [0, 1, 2, 3]
