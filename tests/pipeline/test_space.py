"""Spaces: values as one writes them, put into the fields of a recipe."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipe import Recipe, network
from pipeline.recipes import RECIPES
from pipeline.tuning.space import (
    KINDS,
    choice,
    field_names,
    integer,
    log,
    parse,
    require_suitable,
    uniform,
    value_of,
    with_values,
)
from serving.errors import ConvoyError

RECIPE = Recipe(name="small", network=network("lenet", width=4))
numbers = st.floats(1e-6, 1e6)


@given(st.sampled_from(sorted(KINDS)), numbers, numbers)
def test_values_are_read_as_they_are_written(kind, low, high):
    low, high = sorted((low, high))
    if kind == "integer":
        low, high = int(low), int(high)
    if low == high:
        return
    values = KINDS[kind](low, high)
    assert parse(str(values)) == values
    assert all(end in values for end in values.ends)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("lg(1, 2)", "did you mean `log`"),
        ("8, 16", "expected choice, uniform, log, integer"),
        ("choice(8)", "expected two different values"),
        ("choice(8, 8)", "expected two different values"),
        ("uniform(2, 1)", "expected a low and a higher number"),
        ("integer(1, 2.5)", "expected a low and a higher whole number"),
        ("log(0, 1)", "expected numbers above 0"),
        ("uniform(1, 2, 3)", "received 3 values"),
        ("choice(__import__('os'), 1)", "expected numbers, words in quotes"),
    ],
)
def test_what_says_no_values_is_refused_in_one_sentence(text, said):
    with pytest.raises(ConvoyError, match=said.replace("(", r"\(")):
        parse(text)


@pytest.mark.parametrize("name", RECIPES)
def test_every_field_is_found_and_changed_by_its_name(name):
    recipe = RECIPES[name]
    for field in field_names(recipe):
        value = value_of(recipe, field)
        assert with_values(recipe, {field: value}) == recipe
    changed = with_values(recipe, {"training.epochs": 77, "export.gate.max_bytes": 5})
    assert (changed.training.epochs, changed.export.gate.max_bytes) == (77, 5)
    assert dataclasses.replace(changed, training=recipe.training, export=recipe.export) == recipe


def test_another_architecture_has_its_own_options():
    changed = with_values(RECIPE, {"network.width": 8, "network.architecture": "vgg7"})
    assert changed.network == network("vgg7", width=8)


@pytest.mark.parametrize(
    ("space", "said"),
    [
        ({}, "nothing to search"),
        ({"training.learning_rat": log(0.1, 1)}, "did you mean `training.learning_rate`"),
        ({"training.momentum": uniform(0, 2)}, "--training.momentum is out of range"),
        ({"network.depth": integer(1, 2)}, "has no `network.depth`"),
        ({"training": choice(1, 2)}, "has no `training`"),
        ({"data.source": choice("a", "b")}, "cannot be searched"),
        ({"network.width": choice(8, "wide")}, "does not take 'wide'"),
        ({"network.width": uniform(1, 2)}, "does not take 1.0"),
        ({"network.batch_norm": choice(0, 1)}, "does not take 0"),
        (
            {"network.architecture": choice("lenet", "vgg"), "network.width": choice(8, 16)},
            "unknown network `vgg`",
        ),
    ],
)
def test_a_space_that_does_not_suit_is_refused_before_anything_is_trained(space, said):
    with pytest.raises(ConvoyError, match=said.replace("(", r"\(")):
        require_suitable(space, RECIPE)


def test_a_space_that_suits_passes():
    require_suitable(
        {
            "network.architecture": choice("lenet", "vgg7"),
            "network.width": choice(8, 16),
            "training.learning_rate": log(1e-3, 1),
            "training.clip_norm": choice(None, 1.0),
            "data.shift": integer(0, 3),
        },
        RECIPE,
    )
