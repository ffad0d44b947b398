"""Recipes written as Python files."""

import dataclasses
import runpy
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.recipe import Data, Export, Gate, Recipe, Training, network
from pipeline.recipes import RECIPES
from pipeline.tuning.source import source_of


def read_back(recipe, tmp_path, words="Words."):
    path = tmp_path / "recipe.py"
    path.write_text(source_of(recipe, words), encoding="utf-8")
    compile(path.read_text(encoding="utf-8"), str(path), "exec")
    found = runpy.run_path(str(path))
    assert found["__doc__"] == words
    return found["RECIPE"]


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_is_read_back_as_it_was(name, tmp_path):
    assert read_back(RECIPES[name], tmp_path) == RECIPES[name]


@given(
    st.builds(
        Training,
        epochs=st.integers(1, 999),
        learning_rate=st.floats(0, 10),
        clip_norm=st.none() | st.floats(0, 10),
        class_weights=st.just("balanced") | st.tuples(st.floats(0, 9), st.floats(0, 9)),
        start_from=st.none() | st.just(Path("runs/it's here")),
    ),
    st.builds(
        Export, tflite=st.sampled_from([("int8",), (), ("fp32", "fp16")]), onnx=st.booleans()
    ),
    st.builds(Gate, max_bytes=st.none() | st.integers(1, 10**6)),
    st.text(max_size=40).filter(lambda text: "\r" not in text and not text.endswith(('"', "\\"))),
)
def test_any_recipe_is_read_back_as_it_was(tmp_path_factory, training, export, gate, words):
    recipe = Recipe(
        name="any",
        network=network("mlp", width=3),
        data=Data(source="my images/'here'", shift=3),
        training=training,
        export=dataclasses.replace(export, gate=gate),
    )
    words = words.replace('"""', "").replace("\0", "").encode("utf-8", "ignore").decode()
    assert read_back(recipe, tmp_path_factory.mktemp("source"), words) == recipe
