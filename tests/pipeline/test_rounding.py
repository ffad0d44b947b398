"""A network that int8 breaks: the layer is found, and each remedy lets the file ship."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

import models
from models.quantize import is_fake_quantized
from pipeline import cli, stages
from pipeline.export.calibration import calibration_images
from pipeline.export.rounding import AUTO, Rounding, calibration_curve, float_layers
from pipeline.export.verify import load_network
from pipeline.export.write import require_exportable
from pipeline.recipe import Export, Gate, Recipe
from pipeline.run import Run
from serving.bundle import digest, open_bundle
from serving.errors import ConvoyError


@pytest.fixture(scope="module")
def loud_run(smoke_run, tmp_path_factory):
    """The smoke run with one unit 300 times as loud, which the next layer turns down again."""
    run = Run(shutil.copytree(smoke_run.folder, tmp_path_factory.mktemp("loud") / "run"))
    network = load_network(run)
    norm, reader = network.get_layer("dense1_norm"), network.get_layer("dense2")
    gamma, beta, *statistics = norm.get_weights()
    # One that speaks: its values are spread by gamma around beta, and cut off at 0.
    unit = np.argmax(beta + abs(gamma))
    gamma[unit], beta[unit] = gamma[unit] * 300, beta[unit] * 300
    norm.set_weights([gamma, beta, *statistics])
    kernel, *bias = reader.get_weights()
    kernel[unit] /= 300
    reader.set_weights([kernel, *bias])
    network.save(run.network)
    run.record(model_sha256=digest(run.network))
    return run


@pytest.fixture(scope="module")
def rounding(loud_run):
    splits, task = stages.recall(loud_run)
    few = splits.validation.take(np.arange(500))
    calibration = calibration_images(splits.train, 100, 0)
    return Rounding(load_network(loud_run), task, calibration, few)


def exported(run, *flags):
    """Export and verify by the command line; the exit code, and the int8 file's route."""
    assert cli.main(["export", str(run.folder), "--export.tflite", "int8", *flags]) == 0
    code = cli.main(["verify", str(run.folder)])
    return code, open_bundle(run.bundle)


def test_the_fewest_layers_are_found_with_which_validation_images_pass(rounding):
    limits = Gate(max_quantized_loss=0.02)
    assert not rounding.passes(rounding.answers(rounding.rounded()), limits)
    assert float_layers(rounding, Export(keep_float=AUTO, gate=limits)) == ("dense1",)


def test_no_layer_is_left_to_floats_where_int8_passes(rounding):
    quiet = dataclasses.replace(rounding, equalize=True)
    wanted = Export(keep_float=AUTO, gate=Gate(max_quantized_loss=0.02))
    assert float_layers(quiet, wanted) == ()


def test_limits_that_not_even_floats_meet_are_told(rounding):
    impossible = dataclasses.replace(rounding)
    # A reference that is always right, as no network is.
    impossible.__dict__["reference"] = np.eye(10)[rounding.validation.labels]
    with pytest.raises(ConvoyError, match="auto found no layers: .* raise --export.gate"):
        float_layers(impossible, Export(keep_float=AUTO))


def test_a_layer_that_does_not_round_is_refused_with_the_nearest(rounding):
    with pytest.raises(ConvoyError, match="names no layer that rounds: did you mean `dense1`?"):
        require_exportable(rounding.network, Export(keep_float=("dense_1",)))


def test_layers_left_to_floats_without_an_int8_file_are_refused(rounding):
    with pytest.raises(ConvoyError, match="no file to be about: .* received fp32; add one"):
        require_exportable(rounding.network, Export(tflite=("fp32",), keep_float=AUTO))


def test_layers_that_are_misspelled_are_told_before_a_training(smoke_recipe, tmp_path):
    wanted = dataclasses.replace(
        smoke_recipe, export=Export(keep_float=("logit",)), runs=tmp_path / "runs"
    )
    with pytest.raises(ConvoyError, match="did you mean `logits`?"):
        stages.train(wanted)
    assert not wanted.runs.exists()


def test_a_network_with_convolutions_of_keras_is_refused():
    network = models.build("backbone", (32, 32, 3), 3, weights="none", alpha=0.35)
    with pytest.raises(ConvoyError, match="of `models.layers`. Received: `.*`, a .* of Keras"):
        require_exportable(network, Export(equalize=True))


def test_more_calibration_images_are_no_worse_than_one(rounding, smoke_splits):
    quiet = dataclasses.replace(rounding, equalize=True)
    curve = calibration_curve(quiet, smoke_splits.train.take(np.arange(40)), seed=0)
    assert list(curve) == [1, 3, 10, 30]
    assert all(len(accuracies) == 3 for accuracies in curve.values())
    assert np.mean(curve[30]) >= np.mean(curve[1]) - 0.01
    assert np.ptp(curve[30]) <= np.ptp(curve[1]) + 0.01


@pytest.mark.slow
def test_int8_fails_the_gate_and_the_diagnosis_names_the_layer(loud_run, capsys):
    code, bundle = exported(loud_run)
    assert code == 3
    assert [route.route for route in bundle.manifest.held_back] == ["tflite-int8"]
    capsys.readouterr()
    assert cli.main(["export", str(loud_run.folder), "--diagnose"]) == 0
    said = capsys.readouterr().out
    rows = [line.split()[0] for line in said.splitlines()[2:] if line.strip()]
    assert rows[1] == "dense1"
    assert "--export.keep-float dense1" in said
    kept = json.loads((loud_run.rounding / "layers.json").read_text())
    assert kept["noises"][0]["layer"] == "dense1"
    # More than the gate lets go; how much more is up to the training.
    limit = loud_run.recipe.export.gate.max_quantized_loss
    assert kept["int8_accuracy"] < kept["kept_accuracy"] - limit
    assert (loud_run.rounding / "layers.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.slow
def test_the_layer_left_to_floats_lets_the_file_pass(loud_run):
    code, bundle = exported(loud_run, "--export.keep-float", "auto")
    assert code == 0
    assert bundle.manifest.export["keep_float"] == ["dense1"]
    assert "leaves to floats: `dense1`" in (bundle.folder / "verify.md").read_text()


@pytest.mark.slow
@pytest.mark.parametrize("flags", [["--export.tflite", "int16x8"], ["--export.equalize"]])
def test_finer_values_or_like_channels_let_it_pass(loud_run, flags):
    code, _ = exported(loud_run, *flags)
    assert code == 0


@pytest.mark.slow
def test_training_that_rounds_ends_with_what_it_began_with_where_that_is_best(loud_run, tmp_path):
    data = str(loud_run.recipe.data.folder)
    start = ["--quantize", "qat", "--training.start-from", str(loud_run.folder)]
    # It forgets everything.
    harm = ["--training.epochs", "1", "--training.learning-rate", "0.1"]
    folder = tmp_path / "run"
    assert (
        cli.main(["train", "smoke", *start, *harm, "--data.folder", data, "--run", str(folder)])
        == 0
    )
    metrics = Run(folder).metrics
    assert metrics["best_epoch"] == 0
    assert metrics["test_accuracy"] >= loud_run.metrics["test_accuracy"] - 0.01


@pytest.mark.slow
def test_training_that_rounds_lets_it_pass_and_the_file_answers_as_the_network(loud_run, tmp_path):
    data = str(loud_run.recipe.data.folder)
    start = ["--quantize", "qat", "--training.start-from", str(loud_run.folder)]
    folder = tmp_path / "run"
    flags = ["--data.folder", data, "--run", str(folder), "--training.epochs", "2"]
    assert cli.main(["train", "smoke", *start, *flags]) == 0
    trained = Run(folder)
    assert is_fake_quantized(load_network(trained))
    assert trained.metrics["precision"] == "float32"
    names = [route.route for route in open_bundle(trained.bundle).manifest.routes]
    assert names == ["saved_model", "tflite-int8"]
    evidence = open_bundle(trained.bundle).route("tflite-int8").evidence
    assert evidence.agreement >= 0.999
    assert evidence.accuracy >= loud_run.metrics["test_accuracy"] - 0.01
    # What rounds already has nothing to find out, nor other files.
    with pytest.raises(ConvoyError, match="was trained to round .* nothing to lose"):
        stages.diagnose(trained, trained.recipe.export)
    with pytest.raises(ConvoyError, match=r"received --export.tflite fp32, --export.keep-float;"):
        stages.export(trained, Export(tflite=("fp32", "int8"), keep_float=("dense1",)))


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--quantize", "qat"], "expected a finished run, received none"),
        (
            ["--quantize", "qat", "--training.start-from", "x", "--training.precision", "bfloat16"],
            "expected auto or float32, received bfloat16",
        ),
    ],
)
def test_training_that_rounds_without_what_it_needs_is_refused(flags, said, capsys, tmp_path):
    assert cli.main(["train", "smoke", "--runs", str(tmp_path), *flags]) == 2
    assert said in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_the_flags_of_training_that_rounds_begin_short_and_with_the_int8_file_alone(smoke_recipe):
    tuned = dataclasses.replace(
        smoke_recipe, training=dataclasses.replace(smoke_recipe.training, epochs=150)
    ).fine_tuning()
    assert tuned.training.epochs == 15
    assert tuned.export.tflite == ("int8",)
    assert Recipe.from_dict(tuned.to_dict()) == tuned
