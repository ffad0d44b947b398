"""Many steps in one call: what they compute hangs on nothing but the steps."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

import models
from pipeline.recipe import Data, Network, Recipe, Training, network
from pipeline.run import create_run
from pipeline.task import Classification
from pipeline.training.fit import batches_from, fit
from pipeline.training.prepare import prepare
from tests.pipeline.stripes import stripe_splits


def recipe(runs, **training):
    """Eight steps an epoch."""
    chosen = {"epochs": 2, "learning_rate": 0.05, "precision": "float32"}
    return Recipe(
        name="stripes",
        network=network("lenet", width=3),
        data=Data(batch_size=32),
        training=Training(**{**chosen, **training}),
        runs=runs,
    )


def learner_of(wanted):
    splits = stripe_splits()
    learner = prepare(wanted, splits, Classification(splits.labels))
    batches = batches_from(0, wanted, splits)
    learner.build_for(batches.element_spec)
    learner.make_train_function()
    return learner, iter(batches)


def copies(weights):
    return [np.array(keras.ops.convert_to_numpy(weight)) for weight in weights]


def test_how_steps_are_grouped_into_calls_changes_nothing(tmp_path):
    found = []
    for steps_per_call in (1, 3, 100):
        learner, batches = learner_of(recipe(tmp_path))
        learner.steps_per_call = steps_per_call
        learner.adapt = lambda pace: None
        calls = []
        learner.watchers = [calls.append]
        scores = learner.train_epoch(batches)
        assert len(calls) == -(-8 // steps_per_call)
        assert calls[-1] == scores
        found.append([*copies(learner.weights), *scores.values(), learner.steps_done])
    for one, *others in zip(*found, strict=True):
        for other in others:
            np.testing.assert_array_equal(one, other)


def test_the_average_is_the_sum_that_its_decay_says(tmp_path):
    learner, batches = learner_of(recipe(tmp_path, average=0.7))
    expected = copies(learner.weights)
    learner.steps_per_call, learner.adapt = 1, lambda pace: None

    def follow(_):
        # Of step t what is kept is 0.7, or (1 + t) / (10 + t) while that is less.
        step = learner.steps_done
        kept = min(0.7, (1 + step) / (10 + step))
        for index, weight in enumerate(copies(learner.weights)):
            expected[index] = kept * expected[index] + (1 - kept) * weight

    learner.watchers = [follow]
    learner.train_epoch(batches)
    for average, weight in zip(learner.averages, expected, strict=True):
        np.testing.assert_allclose(average, weight, rtol=1e-4, atol=1e-6)


def test_calls_grow_until_they_take_a_quarter_of_a_second(tmp_path):
    learner, _ = learner_of(recipe(tmp_path))
    taken = []
    for _ in range(5):
        learner.adapt(steps_per_second=1000.0)
        taken.append(learner.steps_per_call)
    assert taken == [10, 100, 250, 250, 250]
    learner.adapt(steps_per_second=0.01)
    assert learner.steps_per_call == 1


def test_a_compiled_step_is_the_step(tmp_path):
    # Without dropout, for which a compiler throws its own dice.
    wanted = dataclasses.replace(
        recipe(tmp_path), network=network("lenet", width=3, dropout_rate=0.0)
    )
    (plain, batches), (compiled, same_batches) = learner_of(wanted), learner_of(wanted)
    # As on a GPU.
    compiled.jit_compile = True
    compiled.make_train_function(force=True)
    for learner, source in ((plain, batches), (compiled, same_batches)):
        learner.train_steps(source, tf.constant(2, tf.int64))
    for one, other in zip(copies(plain.weights), copies(compiled.weights), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-3 * max(abs(other).max(), 1))


@pytest.mark.parametrize("is_better", [True, False], ids=["average", "weights"])
def test_the_better_of_weights_and_average_is_given_back_and_said(tmp_path, monkeypatch, is_better):
    splits = stripe_splits()
    wanted = recipe(tmp_path, average=0.9, epochs=1)
    task, run = Classification(splits.labels), create_run(wanted)
    learner = prepare(wanted, splits, task)
    worse = learner.weights if is_better else learner.averages
    train_epoch = learner.train_epoch

    def then_spoil(batches):
        scores = train_epoch(batches)
        # Every answer is the first class.
        worse[-1].assign(np.array([1e9, -1e9], np.float32))
        return scores

    monkeypatch.setattr(learner, "train_epoch", then_spoil)
    model = fit(learner, wanted, splits, task, run)
    scores = learner.history.history
    assert (scores["val_average_accuracy"] > scores["val_accuracy"]) == is_better
    assert run.metrics["best_is_average"] == is_better
    chosen = learner.averages if is_better else learner.weights
    for weight, expected in zip(model.get_weights(), copies(chosen), strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_the_last_epoch_is_validated_however_seldom_others_are(tmp_path):
    splits = stripe_splits()
    wanted = recipe(tmp_path, epochs=3, validate_every=2)
    task, run = Classification(splits.labels), create_run(wanted)
    fit(prepare(wanted, splits, task), wanted, splits, task, run)
    rows = run.history.read_text().splitlines()
    names = rows[0].split(",")
    scores = [dict(zip(names, row.split(","), strict=True))["val_accuracy"] for row in rows[1:]]
    assert [bool(score) for score in scores] == [False, True, True]


def test_weights_that_count_are_kept_as_they_are_in_an_average(monkeypatch, tmp_path):
    """As those of Keras's Normalization, which EfficientNets begin with."""

    def build(input_shape, num_classes):
        image = keras.Input(input_shape, name="image")
        x = keras.layers.Flatten()(keras.layers.Normalization()(image))
        return keras.Model(image, {"logits": keras.layers.Dense(num_classes)(x)})

    monkeypatch.setitem(models.ARCHITECTURES, "normalized", build)
    wanted = dataclasses.replace(recipe(tmp_path, average=0.5), network=Network("normalized"))
    learner, batches = learner_of(wanted)
    learner.train_steps(batches, tf.constant(3, tf.int64))
    pairs = list(zip(learner.averages, learner.weights, strict=True))
    (counts,) = [pair for pair in pairs if not pair[0].dtype.is_floating]
    assert int(counts[0]) == int(counts[1])
    learner.set_weights([average.numpy() for average in learner.averages])
