"""`convoy inspect`: quick, without TensorFlow, and it fits a terminal."""

import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest

import models
from pipeline import cli, inspection
from pipeline.verbs import ArchitectureOptions

REPOSITORY = Path(__file__).parents[2]


def fresh(program, *args, **environment):
    """What a Python program prints in a process of its own."""
    kept = {key: value for key, value in os.environ.items() if key != "KERAS_BACKEND"}
    return subprocess.run(
        [sys.executable, "-c", program, *args],
        env={**kept, "PYTHONPATH": str(REPOSITORY), **environment},
        capture_output=True,
        text=True,
        check=True,
    )


def page_of(name, **given):
    """The page of a network, as it is by default but for what is given."""
    options = inspection.with_network_options(ArchitectureOptions, name)(**given)
    return inspection.page(inspection.report(inspection.build(name, options)))


@pytest.mark.parametrize("environment", [{}, {"KERAS_BACKEND": "tensorflow"}], ids=["", "chosen"])
def test_a_large_network_is_inspected_without_tensorflow(environment):
    program = (
        "import sys; from pipeline import cli; code = cli.main(['inspect', *sys.argv[1:]]); "
        "print(*sys.modules, file=sys.stderr); sys.exit(code)"
    )
    flags = ("--input", "224x224x3", "--classes", "1000")
    done = fresh(program, "vgg16", *flags, **environment)
    loaded = done.stderr.split()
    assert "numpy" in loaded
    assert not {"tensorflow", "jax", "matplotlib"} & set(loaded)
    assert "224x224x64" in done.stdout
    assert done.stdout.splitlines()[-3:] == [f"{route:<13} yes" for route in models.routes.ROUTES]


def test_whoever_uses_keras_after_an_inspection_gets_one_that_trains():
    program = """
import os, sys
before = dict(os.environ)
from pipeline import cli
for _ in range(2):
    assert cli.main(["inspect", "topology"]) == 0
assert "keras" not in sys.modules
assert {**before, **os.environ} == {"TF_CPP_MIN_LOG_LEVEL": "3", **before}
import pipeline.stages, keras, models, numpy as np
assert keras.backend.backend() == "tensorflow"
network = models.build("topology", (12, 12, 1), 2, width=1)
network.compile(loss={"logits": keras.losses.SparseCategoricalCrossentropy(from_logits=True)})
network.fit(np.ones((2, 12, 12, 1)), np.zeros(2, int), verbose=0)
assert cli.main(["inspect", "topology"]) == 0
"""
    assert fresh(program).stdout.count("topology, input 28x28x1") == 3


def test_inspecting_changes_neither_seed_nor_policy_of_the_caller():
    keras.utils.set_random_seed(7)
    expected = np.array(keras.random.normal((3,)))
    keras.utils.set_random_seed(7)
    before = keras.config.dtype_policy()
    page_of("topology")  # Not by the verb: under pytest, tyro draws random numbers too.
    np.testing.assert_array_equal(keras.random.normal((3,)), expected)
    assert keras.config.dtype_policy() is before


# Those whose tables are widest.
PAGES = [("resnet3d", {}), ("resnet34", {}), ("googlenet", {})]
PAGES += [("resnet50", {"input": "224x224x3", "classes": 1000})]


@pytest.mark.parametrize(("name", "given"), PAGES)
def test_the_page_of_a_network_fits_100_columns_and_cuts_nothing(name, given):
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


def test_a_total_is_unknown_where_a_part_is_and_nothing_else_is(tmp_path, capsys):
    path = str(tmp_path / "text.keras")
    models.build("textcnn", (None,), 2, width=3, vocabulary_size=50, dimensions=4).save(path)
    assert cli.main(["inspect", path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    unknown = ("unshared", "dense", "multiply_adds", "activation_bytes")
    assert [report["total"].pop(name) for name in unknown] == [None] * 4
    assert report["total"] == {"parameters": 50 * 4 + 3 * (3 + 4 + 5) * 4 + 3 * 3 + 9 * 2 + 2}
    rows = {row["layer"]: [row[name] for name in unknown] for row in report["layers"]}
    assert rows["window3_conv"] == [None] * 4
    assert rows["window3_relu"] == [0, 0, 0, None]
    assert rows["window3_pool"] == [0, 0, 0, 3 * 4]
    assert rows["logits"] == [18, 18, 18, 2 * 4]
    assert cli.main(["inspect", path]) == 0
    lines = capsys.readouterr().out.splitlines()
    (total,) = [line for line in lines if line.startswith(" total")]
    assert total.split() == ["total", "373", "?", "?", "?"]


@keras.saving.register_keras_serializable(package="tests")
class Subclassed(keras.Model):
    """A network that is Python code, not a graph of layers."""

    def call(self, inputs):
        return inputs


def test_a_network_that_is_no_graph_of_layers_is_refused_in_one_sentence(tmp_path, capsys):
    network = Subclassed()
    network(np.ones((1, 3)))
    network.save(tmp_path / "own.keras")
    assert cli.main(["inspect", str(tmp_path / "own.keras")]) == 2
    said = capsys.readouterr().err
    assert "received one that does not say which layer follows which" in said
    assert said.count("\n") == 1


def test_a_subclassed_network_as_a_layer_is_one_row(tmp_path, capsys):
    inputs = keras.Input((3,))
    keras.Model(inputs, Subclassed(name="own")(inputs)).save(tmp_path / "model.keras")
    assert cli.main(["inspect", str(tmp_path), "--json"]) == 0
    (row,) = json.loads(capsys.readouterr().out)["layers"]
    assert (row["layer"], row["output_shape"]) == ("own", [3])


def test_a_damaged_keras_file_is_refused_in_one_sentence(tmp_path, capsys):
    path = tmp_path / "model.keras"
    keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)]).save(path)
    whole = path.read_bytes()
    with zipfile.ZipFile(path) as archive:
        config = archive.read("config.json")
    for content in (b"", whole[:200], whole.replace(config, b"[" * len(config))):
        path.write_bytes(content)
        assert cli.main(["inspect", str(path)]) == 2
        said = capsys.readouterr().err
        assert "received a file that Keras did not write, or a damaged one" in said
        assert said.count("\n") == 1


def test_an_own_layer_in_a_file_is_refused_in_one_sentence(tmp_path, capsys):
    class Own(keras.layers.Layer):
        """Unknown to whoever opens the file."""

        def call(self, inputs):
            return inputs

    inputs = keras.Input((3,))
    keras.Model(inputs, Own()(inputs)).save(tmp_path / "own.keras")
    assert cli.main(["inspect", str(tmp_path / "own.keras")]) == 2
    said = capsys.readouterr().err
    assert "received one with layers that only its own program can make" in said
    assert said.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lenat"], "did you mean `lenet`?"),
        (["lenet", "--widht", "3"], "did you mean `--width`?"),
        (["lenet", "--input", "28by28"], "expected sizes and channels such as 32x32x3"),
        (["lenet", "--input", "28x28"], "--input does not suit `lenet`: it must be a tuple of 3"),
        (["lenet", "--input", "4x4x1"], "at least 12, received `4x4x1`; give another, such as 28x"),
        (["lenet", "--width", "0"], "--width does not suit `lenet`: it must be a positive int"),
        (["lenet", "--classes", "0"], "--classes does not suit `lenet`: it must be a positive int"),
        (["lenet", "--dropout-rate", "2"], "--dropout-rate does not suit"),
        (["mlp", "--activation", "no"], "cannot build `mlp` (Could not interpret activation"),
        (["idcnn", "--input", "0"], "received `0`; give another, such as 64."),
        ([], "received nothing; give it, as in `convoy inspect lenet`"),
        (["--width", "3", "lenet"], "received --width; give it"),
        (["runs/latst"], "there is no file runs/latst: "),
        (["model.keras"], "there is no file model.keras: "),
        ([str(REPOSITORY / "README.md")], "received a file that Keras did not write"),
        ([str(REPOSITORY / "tests")], "there is no file " + str(REPOSITORY / "tests/model.keras")),
    ],
)
def test_bad_input_gets_one_sentence_and_code_2(args, words, capsys):
    assert cli.main(["inspect", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1
    assert "Error" not in said


def test_json_may_be_asked_for_first(capsys):
    assert cli.main(["inspect", "--json", "topology", "--width", "3"]) == 0
    assert json.loads(capsys.readouterr().out)["layers"][1]["output_shape"] == [24, 24, 3]


@pytest.mark.parametrize(("name", "shape"), [("lenet", "28x28x1"), ("resnet3d", "16x16x16x1")])
def test_help_of_a_network_states_its_default_input(name, shape, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["inspect", name, "--help"])
    assert not end.value.code
    assert f"(default: {shape})" in capsys.readouterr().out


def test_help_lists_the_networks(capsys):
    assert cli.main(["inspect", "--help"]) == 0
    assert ", ".join(models.ARCHITECTURES) in capsys.readouterr().out
