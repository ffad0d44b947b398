"""Which TFLite files a recipe wants, and whether its network can become them."""

import dataclasses
from typing import get_args

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter, OpResolverType

import models
from models.fold import fold_batch_norm
from models.layers import Conv2D, GlobalL2Pool2D
from pipeline import cli, stages
from pipeline.export import write
from pipeline.export.calibration import calibration_images
from pipeline.export.gate import QUANTIZED
from pipeline.export.tflite import require_convertible, write_tflite
from pipeline.export.verify import load_network
from pipeline.flags import parse
from pipeline.recipe import Export, Network, Recipe, Variant
from pipeline.task import Classification
from serving.bundle import DEVICE_ROUTES
from serving.errors import ConvoyError
from serving.tflite import EdgeModel


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
    require_convertible(energetic((8, 8, 1), 3), Export(tflite=("fp32",), mediapipe=True))
    require_convertible(energetic((8, 8, 1), 3), Export(tflite=()))


def test_a_network_that_microcontrollers_cannot_run_is_refused_before_training():
    image = keras.Input((8, 8, 1), name="image")
    alone = keras.layers.Activation("relu6", name="alone")(keras.layers.MaxPooling2D()(image))
    logits = keras.layers.Dense(3)(keras.layers.Flatten()(alone))
    network = keras.Model(image, {"logits": logits}, name="clipped")
    require_convertible(network, Export(tflite=("fp32", "int8")))
    with pytest.raises(ConvoyError, match="received `alone`.*give --export.no-micro"):
        require_convertible(network, Export(micro=True))


@pytest.mark.parametrize("args", [[], ["--export.tflite", "fp32"]])
def test_an_export_of_no_run_says_that_a_run_comes_first(args, capsys):
    assert cli.main(["export", *args]) == 2
    assert "expected a run folder first" in capsys.readouterr().err


@pytest.fixture(scope="module")
def all_variants(smoke_run, smoke_splits, tmp_path_factory):
    """The network of the smoke run as each TFLite file that there is."""
    folder = tmp_path_factory.mktemp("variants")
    files = {variant: folder / f"{variant}.tflite" for variant in get_args(Variant)}
    calibration = calibration_images(smoke_splits.train, 50, seed=0)
    network, task = load_network(smoke_run), Classification(smoke_splits.labels)
    write_tflite(fold_batch_norm(network), task, calibration, files)
    reference = task.activate(network.predict(smoke_splits.test.images[:200], verbose=0)["logits"])
    return files, np.asarray(reference)


# What a file stores its weights in, and between layers its activations; and how far probabilities
# lie from the network's.
KINDS = {
    "fp32": ("float32", "float32", 1e-5),
    "fp16": ("float16", "float32", 5e-3),
    "dynamic": ("int8", "float32", 5e-2),
    "int8": ("int8", "int8", 0.1),
    "int16x8": ("int8", "int16", 5e-2),
}


@pytest.mark.parametrize("variant", KINDS)
def test_each_variant_computes_as_its_name_says_and_answers_as_the_network(
    variant, all_variants, smoke_splits
):
    files, reference = all_variants
    weights, activations, apart = KINDS[variant]
    interpreter = Interpreter(
        model_path=str(files[variant]),
        # Without it tensors show what was stored, not what a kernel unpacked.
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    interpreter.allocate_tensors()
    operations = {each["op_name"]: each for each in interpreter._get_ops_details()}
    assert not {name for name in operations if name.startswith("Flex") or name == "CUSTOM"}
    kinds = {each["index"]: each["dtype"] for each in interpreter.get_tensor_details()}
    stored = max(interpreter.get_tensor_details(), key=lambda each: np.prod(each["shape"]))
    assert np.dtype(stored["dtype"]) == weights
    assert np.dtype(kinds[operations["CONV_2D"]["outputs"][0]]) == activations
    model = EdgeModel(files[variant])
    answers = np.stack([model.probabilities(image) for image in smoke_splits.test.images[:200]])
    assert np.abs(answers - reference).max() < apart


def test_onnx_without_its_packages_is_refused_before_training(monkeypatch, smoke_recipe):
    monkeypatch.setattr(write, "ONNX_PACKAGES", ("tf2onnx", "no_such_package"))
    wanted = dataclasses.replace(smoke_recipe.export, tflite=("fp32",), onnx=True)
    with pytest.raises(ConvoyError, match="no no_such_package; run `pip install"):
        write.require_exportable(energetic((8, 8, 1), 3), wanted)


def test_every_variant_is_a_route_of_devices_and_has_a_limit_in_the_gate(all_variants):
    assert {f"tflite-{variant}" for variant in KINDS} == set(DEVICE_ROUTES)
    assert set(KINDS) == set(get_args(Variant))
    # Floats may differ by their rounding alone, from the very network.
    assert set(DEVICE_ROUTES) - set(QUANTIZED) == {"tflite-fp32", "tflite-fp16"}


def test_files_shrink_as_their_weights_do(all_variants):
    size = {variant: file.stat().st_size for variant, file in all_variants[0].items()}
    assert size["fp16"] < 0.55 * size["fp32"]
    assert max(size[variant] for variant in ("dynamic", "int8", "int16x8")) < 0.3 * size["fp32"]


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
    with pytest.raises(ConvoyError, match="fp8"):
        parse(Recipe, ["--export.tflite", "fp8"], "convoy train smoke", default=smoke_recipe)


def test_a_recipe_from_before_there_was_a_choice_wants_both(smoke_recipe):
    content = smoke_recipe.to_dict()
    del content["export"]["tflite"]
    assert Recipe.from_dict(content).export == dataclasses.replace(
        smoke_recipe.export, tflite=("fp32", "int8")
    )
