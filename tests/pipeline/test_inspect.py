"""`convoy inspect`: quick, without TensorFlow, and it fits a terminal."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest

import models
from pipeline import cli, inspection
from pipeline.verbs import ArchitectureOptions

REPOSITORY = Path(__file__).parents[2]


def inspect(*args):
    """What the verb prints in a process of its own, and the modules it loaded."""
    program = (
        "import sys; from pipeline import cli; code = cli.main(['inspect', *sys.argv[1:]]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    environment = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    done = subprocess.run(
        [sys.executable, "-c", program, *args],
        env={**environment, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout, done.stderr.split()


def page_of(name, **given):
    """The page of a network, as it is by default but for what is given."""
    options = inspection.with_network_options(ArchitectureOptions, name)(**given)
    return inspection.page(inspection.report(inspection.build(name, options)))


def test_a_large_network_is_inspected_without_tensorflow():
    page, loaded = inspect("vgg16", "--input", "224x224x3", "--classes", "1000")
    assert "keras" in loaded
    assert not {"tensorflow", "jax", "matplotlib"} & set(loaded)
    assert "224x224x64" in page
    assert page.splitlines()[-3:] == [f"{route:<13} yes" for route in models.routes.ROUTES]


PAGES = [(name, {}) for name in models.ARCHITECTURES]
PAGES += [("resnet50", {"input": "224x224x3", "classes": 1000})]


@pytest.mark.parametrize(("name", "given"), PAGES)
def test_the_page_of_every_network_fits_100_columns_and_cuts_nothing(name, given):
    page = page_of(name, **given)
    assert max(map(len, page.splitlines())) <= 100
    assert "…" not in page


def test_the_json_holds_the_figures_of_the_texts(capsys):
    args = ["topology", "--input", "28x28x1", "--padding", "valid", "--json"]
    assert cli.main(["inspect", *args]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["network"], report["input"]) == ("topology", [28, 28, 1])
    convolution = next(row for row in report["layers"] if row["kind"] == "Conv2D")
    assert convolution["parameters"] == 520
    assert convolution["output_shape"] == [24, 24, 20]
    assert convolution["fields"] == [{"size": 5, "stride": 1, "offset": 0}] * 2
    assert report["total"]["parameters"] == sum(row["parameters"] for row in report["layers"])
    assert report["routes"] == {"tflite-fp32": [], "tflite-int8": [], "tflite-micro": []}


def test_the_flags_of_a_network_are_its_options(capsys):
    assert cli.main(["inspect", "lenet", "--width", "6", "--no-batch-norm", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["total"]["parameters"] == 61_706


def test_a_network_that_cannot_ship_names_the_layers_and_the_reason():
    lines = page_of("resnet3d").splitlines()
    assert lines[-3] == "tflite-fp32   yes"
    assert lines[-2].startswith("tflite-int8   no: TFLite convolves volumes in floats alone (stem_")
    assert lines[-2].endswith("more)")


def test_a_keras_file_is_inspected_without_its_weights(tmp_path, capsys):
    network = models.build("resnet8", (12, 12, 1), 3, width=2)
    network.save(tmp_path / "model.keras")
    for path in (tmp_path, tmp_path / "model.keras"):
        assert cli.main(["inspect", str(path), "--json"]) == 0
        report = json.loads(capsys.readouterr().out)
        assert report["total"]["parameters"] == network.count_params()
        assert report["layers"][-1]["output_shape"] == [3]


def test_an_own_layer_in_a_file_is_refused_in_one_sentence(tmp_path, capsys):
    class Own(keras.layers.Layer):
        """Unknown to whoever opens the file."""

        def call(self, inputs):
            return inputs

    inputs = keras.Input((3,))
    keras.Model(inputs, Own()(inputs)).save(tmp_path / "own.keras")
    assert cli.main(["inspect", str(tmp_path / "own.keras")]) == 2
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lenat"], "did you mean `lenet`?"),
        (["lenet", "--widht", "3"], "did you mean `--width`?"),
        (["lenet", "--input", "28by28"], "expected sizes and channels such as 32x32x3"),
        (["lenet", "--input", "28x28"], "Received: input_shape=(28, 28)"),
        (["lenet", "--input", "4x4x1"], "at least 12"),
        (["lenet", "--width", "0"], "`width` must be a positive int"),
        (["lenet", "--classes", "0"], "`num_classes`"),
        ([str(REPOSITORY / "README.md")], "holds no network"),
        ([str(REPOSITORY / "tests")], "holds no network"),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(args, words, capsys):
    assert cli.main(["inspect", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_help_lists_the_networks(capsys):
    assert cli.main(["inspect"]) == 0
    assert ", ".join(models.ARCHITECTURES) in capsys.readouterr().out
