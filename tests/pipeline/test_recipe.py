import dataclasses
import importlib
import inspect
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.outlines import without_values
from pipeline.recipe import Data, Export, Gate, Network, Recipe, Training, network
from pipeline.recipes import RECIPES, find_recipe
from serving.errors import ConvoyError

PATHS = st.sampled_from([Path("data"), Path("/far/away"), Path("../a b")])
RANGED = [
    (kind, name, bounds)
    for kind in (Data, Training, Gate, Export)
    for name, bounds in kind.ranges.items()
]


def draw_fields(kind, **own):
    """Instances of a part of a recipe, each field drawn from what it allows."""
    drawn = {}
    for field in dataclasses.fields(kind):
        if field.name in getattr(kind, "ranges", {}):
            least, most = kind.ranges[field.name]
            integer = "int" in str(field.type)
            drawn[field.name] = st.integers(least, most) if integer else st.floats(least, most)
    return st.builds(kind, **drawn, **own)


# The one network that has no width.
WIDTHLESS = "backbone"
NETWORKS = st.sampled_from(sorted({*models.ARCHITECTURES} - {WIDTHLESS})).flatmap(
    lambda architecture: st.builds(network, st.just(architecture), width=st.integers(1, 99))
)
RECIPE_STRATEGY = st.builds(
    Recipe,
    name=st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]*", fullmatch=True).filter("latest".__ne__),
    network=NETWORKS,
    data=draw_fields(Data, source=st.text(), folder=PATHS),
    training=draw_fields(Training),
    export=draw_fields(Export, gate=draw_fields(Gate)),
    seed=st.integers(0, 2**32 - 1),
    runs=PATHS,
)


def write_recipe(folder, text):
    path = folder / "mine.py"
    path.write_text(text)
    return str(path)


def test_a_recipe_of_training_that_rounds_survives_json():
    start = Training(start_from=Path("runs/latest"))
    recipe = Recipe("mine", network(WIDTHLESS, alpha=0.35), training=start, quantize="qat")
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@pytest.mark.parametrize("name", RECIPES)
def test_every_recipe_survives_json(name):
    recipe = RECIPES[name]
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


@settings(deadline=None)
@given(RECIPE_STRATEGY)
def test_a_recipe_with_any_fields_survives_json(recipe):
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe


def test_the_dictionary_holds_every_field_and_plain_values_only():
    content = Recipe("mine", network("resnet20", width=32)).to_dict()
    assert set(content) == {field.name for field in dataclasses.fields(Recipe)}
    assert content["network"]["architecture"] == "resnet20"
    assert content["network"]["width"] == 32
    assert content["data"]["folder"] == "data"
    assert content["export"]["gate"]["min_float_agreement"] == 0.999


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_a_network_has_the_options_of_its_function_with_their_defaults_and_types(architecture):
    _, _, *parameters = inspect.signature(models.ARCHITECTURES[architecture]).parameters.values()
    described = network(architecture)
    assert described.architecture == architecture
    assert described.options == {each.name: each.default for each in parameters}
    types = {field.name: field.type for field in dataclasses.fields(described)}
    assert types == {"architecture": str} | {each.name: type(each.default) for each in parameters}


@pytest.mark.parametrize("architecture", models.ARCHITECTURES)
def test_the_options_build_the_network(architecture):
    narrow = {"alpha": 0.35} if architecture == WIDTHLESS else {"width": 2}
    described = network(architecture, **narrow)
    shape = models.default_input_shape(architecture)
    with without_values():
        built = models.build(described.architecture, shape, 3, **described.options)
    assert built.output["logits"].shape[-1] == 3


def test_an_option_that_is_given_is_taken_and_keeps_the_type_of_its_default():
    described = network("resnet20", width=32, dropout_rate=0)
    assert described.options == {"width": 32, "shortcut": "padding", "dropout_rate": 0}
    assert {field.name: field.type for field in dataclasses.fields(described)}["dropout_rate"] is (
        float
    )


def test_equal_networks_are_equal_and_frozen():
    assert network("lenet", width=3) == network("lenet", width=3) != network("lenet")
    assert isinstance(network("lenet"), Network)
    with pytest.raises(dataclasses.FrozenInstanceError):
        network("lenet").width = 4


def test_an_unknown_network_gives_the_nearest():
    with pytest.raises(ConvoyError, match="^unknown network `resnt20`: did you mean `resnet20`"):
        network("resnt20")


def test_an_unknown_option_gives_the_nearest():
    message = "^network `lenet` has no option `widht`: did you mean `width`"
    with pytest.raises(ConvoyError, match=message):
        network("lenet", widht=3)


@pytest.mark.parametrize(
    ("kind", "name", "bounds"), RANGED, ids=lambda value: value if isinstance(value, str) else ""
)
def test_a_number_out_of_range_is_refused_by_its_flag(kind, name, bounds):
    flag = f"--{kind.section}{name.replace('_', '-')}"
    for bound in bounds:
        assert getattr(kind(**{name: bound}), name) == bound
    for wrong in (bounds[0] - 1, bounds[1] + 1, float("nan")):
        with pytest.raises(ConvoyError, match=f"^{flag} is out of range: .* received .*; give"):
            kind(**{name: wrong})


@pytest.mark.parametrize("name", ["", ".", "a/b", "/tmp/x", "..", "latest", "caf\u00e9", "a b"])
def test_a_name_that_is_no_file_name_is_refused(name):
    with pytest.raises(ConvoyError, match="^--name does not fit a file's name: "):
        dataclasses.replace(RECIPES["smoke"], name=name)


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_seed_that_numpy_cannot_take_is_refused(seed):
    with pytest.raises(ConvoyError, match="^--seed is out of range: expected 0 to 4,294,967,295"):
        dataclasses.replace(RECIPES["smoke"], seed=seed)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_found_by_its_name_and_its_docstring_says_the_command(name):
    assert find_recipe(name) is RECIPES[name]
    assert RECIPES[name].name == name
    module = importlib.import_module(f"pipeline.recipes.{name}")
    assert module.RECIPE is RECIPES[name]
    assert f"convoy train {name}" in module.__doc__


def test_every_recipe_module_is_in_the_table():
    folder = Path(importlib.import_module("pipeline.recipes").__file__).parent
    modules = {path.stem for path in folder.glob("*.py") if path.stem != "__init__"}
    assert modules == set(RECIPES)


def test_an_unknown_recipe_gives_the_nearest_and_tells_of_files():
    message = "^unknown recipe `fashon`: did you mean `fashion`.* by its path, ending in .py"
    with pytest.raises(ConvoyError, match=message):
        find_recipe("fashon")


def test_a_recipe_of_ones_own_is_found_by_its_path(tmp_path):
    path = write_recipe(
        tmp_path,
        "from pipeline.recipe import Recipe, Training, network\n"
        "RECIPE = Recipe('mine', network('vgg7', width=4), training=Training(epochs=3))\n",
    )
    assert find_recipe(path) == Recipe(
        "mine", network("vgg7", width=4), training=Training(epochs=3)
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("1 / 0", "does not run: ZeroDivisionError: division by zero; mend that line"),
        ("import no_such_module", "does not run: ModuleNotFoundError: No module named"),
        ("RECIPE = (", "does not run: SyntaxError: "),
        ("", "defines no recipe: expected `RECIPE = Recipe(...)`, received NoneType"),
        ("RECIPE = 'lenet'", "defines no recipe: expected `RECIPE = Recipe(...)`, received str"),
    ],
)
def test_a_recipe_file_that_does_not_work_gets_one_sentence(tmp_path, text, words):
    path = write_recipe(tmp_path, text)
    with pytest.raises(ConvoyError) as raised:
        find_recipe(path)
    sentence = str(raised.value)
    assert sentence.startswith(f"recipe file {path} {words}")
    assert "\n" not in sentence


def test_a_recipe_file_with_a_wrong_field_keeps_the_sentence_about_it(tmp_path):
    text = "from pipeline.recipe import Training\nRECIPE = Training(epochs=0)"
    with pytest.raises(ConvoyError, match=r"^--training\.epochs is out of range"):
        find_recipe(write_recipe(tmp_path, text))


def test_a_missing_recipe_file_gets_one_sentence(tmp_path):
    path = tmp_path / "gone.py"
    with pytest.raises(ConvoyError, match=f"^no recipe file {path}: expected .* check the path"):
        find_recipe(str(path))
