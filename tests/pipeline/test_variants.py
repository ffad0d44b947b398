"""Which TFLite files a recipe wants, and whether its network can become them."""

import dataclasses

import keras
import pytest

import models
from models.layers import Conv2D, GlobalL2Pool2D
from pipeline import stages
from pipeline.export.tflite import require_convertible
from pipeline.files import write_json
from pipeline.flags import parse
from pipeline.recipe import Network, Recipe
from serving.bundle import open_bundle
from serving.errors import ConvoyError


def energetic(input_shape, num_classes):
    """A network that TFLite cannot compute in integers."""
    image = keras.Input(input_shape, name="image")
    energy = GlobalL2Pool2D(name="energy")(Conv2D(2, 3)(image))
    return keras.Model(image, {"logits": keras.layers.Dense(num_classes)(energy)}, name="energetic")


@pytest.fixture
def recipe(monkeypatch, smoke_recipe, tmp_path):
    """A recipe of a network that has no int8 file."""
    monkeypatch.setitem(models.ARCHITECTURES, "energetic", energetic)
    return dataclasses.replace(smoke_recipe, network=Network("energetic"), runs=tmp_path)


def test_a_network_without_an_int8_file_is_refused_before_training(recipe):
    with pytest.raises(ConvoyError, match="int8") as refusal:
        stages.train(recipe)
    said = str(refusal.value)
    assert "expected layers that TFLite has, received `energy` (TFLite squares in floats" in said
    assert said.endswith("give --export.tflite fp32.")
    assert not list(recipe.runs.iterdir())


def test_a_network_may_do_without_the_file_that_it_cannot_become():
    require_convertible(energetic((8, 8, 1), 3), ("fp32",))
    require_convertible(energetic((8, 8, 1), 3), ())


def test_an_export_of_one_variant_holds_that_one_and_the_saved_model(run_copy):
    content = run_copy.read(run_copy.recipe_json)
    content["recipe"]["export"]["tflite"] = ["fp32"]
    write_json(run_copy.recipe_json, content)
    stages.export(run_copy)
    stages.verify(run_copy)
    manifest = open_bundle(run_copy.bundle).manifest
    assert [route.route for route in manifest.routes] == ["saved_model", "tflite-fp32"]
    assert not list(run_copy.bundle.rglob("*.int8.tflite"))


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        ([], ("fp32", "int8")),
        (["--export.tflite", "int8"], ("int8",)),
        (["--export.tflite", "fp32", "int8"], ("fp32", "int8")),
        (["--export.tflite"], ()),
    ],
)
def test_the_flag_takes_any_of_the_variants(args, expected, smoke_recipe):
    recipe = parse(Recipe, args, "convoy train smoke", default=smoke_recipe)
    assert recipe.export.tflite == expected
    assert Recipe.from_dict(recipe.to_dict()) == recipe


def test_an_unknown_variant_is_refused(smoke_recipe):
    with pytest.raises(ConvoyError, match="fp16"):
        parse(Recipe, ["--export.tflite", "fp16"], "convoy train smoke", default=smoke_recipe)


def test_a_recipe_from_before_there_was_a_choice_wants_both(smoke_recipe):
    content = smoke_recipe.to_dict()
    del content["export"]["tflite"]
    assert Recipe.from_dict(content).export == dataclasses.replace(
        smoke_recipe.export, tflite=("fp32", "int8")
    )
