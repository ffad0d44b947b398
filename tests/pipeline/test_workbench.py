"""Learners shared by trials: like fresh ones, without being traced anew."""

import dataclasses

import numpy as np
import pytest

from pipeline.data.batches import training_batches
from pipeline.recipe import Data, Recipe, Training, network
from pipeline.task import Classification
from pipeline.tuning.space import with_values
from pipeline.tuning.workbench import Workbench
from tests.pipeline.stripes import stripe_splits

BASE = Recipe(
    name="base",
    network=network("lenet", width=3, dropout_rate=0.3, batch_norm=True),
    data=Data(batch_size=32, shift=1),
    training=Training(epochs=2, learning_rate=0.05, average=0.9),
)
NUMBERS = {
    "training.learning_rate": 0.3,
    "training.weight_decay": 0.3,
    "training.momentum": 0.2,
    "training.warmup": 0.6,
    "training.epochs": 5,
    "training.average": 0.3,
    "training.bias_rate": 8.0,
    "training.label_smoothing": 0.6,
    "training.initialization": "lecun_normal",
    "network.dropout_rate": 0.7,
    "data.shift": 3,
    "data.erase": 0.5,
    "seed": 7,
}
OTHER_STEPS = {
    "training.optimizer": "adam",
    "training.weight_decay": 0.0,
    "training.momentum": 0.0,
    "training.average": 0.0,
    "training.clip_norm": 1.0,
    "training.loss": "quadratic",
    "network.width": 4,
    "network.dropout_rate": 0.0,
    "data.batch_size": 16,
    "data.mixup": 0.5,
}


@pytest.fixture(scope="module")
def splits():
    return stripe_splits()


@pytest.fixture(scope="module")
def used(splits):
    """A workbench whose learner has trained already."""
    bench = Workbench(splits, Classification(splits.labels))
    trained(bench.learner_for(BASE), BASE, splits)
    return bench


def trained(learner, recipe, splits):
    """Its weights, and their averages, after three steps."""
    learner.make_train_function()
    learner.train_steps(iter(training_batches(splits.train, recipe.data, recipe.seed, 0, 2)), 3)
    return [*learner.get_weights(), *(each.numpy() for each in learner.averages)]


@pytest.mark.parametrize("field", NUMBERS)
def test_a_learner_with_another_number_trains_like_a_fresh_one(field, used, splits):
    recipe = with_values(BASE, {field: NUMBERS[field]})
    (learner,) = (kept for kept, _ in used.kept.values())
    assert used.learner_for(recipe) is learner
    found = trained(learner, recipe, splits)
    assert learner.train_steps.experimental_get_tracing_count() == 1
    fresh = Workbench(splits, Classification(splits.labels)).learner_for(recipe)
    for own, expected in zip(found, trained(fresh, recipe, splits), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-4, atol=1e-5)
    before = trained(used.learner_for(BASE), BASE, splits)
    assert any(not np.allclose(own, other) for own, other in zip(found, before, strict=True))


@pytest.mark.parametrize("field", OTHER_STEPS)
def test_what_needs_another_step_gets_one(field, splits):
    bench = Workbench(splits, Classification(splits.labels))
    changed = {field: OTHER_STEPS[field]}
    if field == "training.optimizer":
        changed["training.bias_rate"] = 1.0
    learner = bench.learner_for(BASE)
    assert bench.learner_for(with_values(BASE, changed)) is not learner
    assert bench.learner_for(dataclasses.replace(BASE, name="another")) is learner
