"""Devices as users make them: new environments without TensorFlow answer as Keras does."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pipeline.export.verify import load_network, probabilities
from pipeline.task import Classification
from serving.bundle import open_bundle

REPOSITORY = Path(__file__).parents[1]
SOURCES = ("models", "pipeline", "serving", "benchmarks", "pyproject.toml", "README.md", "LICENSE")
INSTALLS = {
    "edge": [["{convoy}[edge]"]],
    "tflite-runtime": [["--no-deps", "{convoy}"], ["tflite-runtime==2.14.0", "numpy<2", "pillow"]],
}
ANSWER = """
import importlib.util, json, sys
import numpy as np
from serving import edge

assert importlib.util.find_spec("tensorflow") is None
bundle, images = sys.argv[1], np.load(sys.argv[2])
answers = {}
for route in ("tflite-fp32", "tflite-int8"):
    model = edge.load(bundle, route=route)
    answers[route] = [int(model.probabilities(image).argmax()) for image in images]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module", params=INSTALLS)
def device(request, tmp_path_factory):
    """The `bin` folder of a new environment with one way of installing a device."""
    if request.param == "tflite-runtime" and sys.version_info >= (3, 12):
        pytest.skip("tflite-runtime 2.14.0 has no release for Python 3.12 and later")
    folder = tmp_path_factory.mktemp(request.param)
    convoy = folder / "convoy"
    convoy.mkdir()
    for name in SOURCES:
        source = REPOSITORY / name
        copy = shutil.copytree if source.is_dir() else shutil.copy
        copy(source, convoy / name)
    subprocess.run([sys.executable, "-m", "venv", folder / "venv"], check=True)
    for install in INSTALLS[request.param]:
        packages = [each.format(convoy=convoy) for each in install]
        subprocess.run([folder / "venv/bin/pip", "install", "--quiet", *packages], check=True)
    return folder / "venv" / "bin"


@pytest.mark.slow
def test_a_device_answers_a_thousand_test_images_as_keras_does(
    device, smoke_run, smoke_splits, tmp_path
):
    test = smoke_splits.test
    task = Classification(smoke_splits.labels)
    assert len(test) == 1000
    np.save(tmp_path / "images.npy", test.images)
    done = subprocess.run(
        [device / "python", "-c", ANSWER, smoke_run.bundle, tmp_path / "images.npy"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    answers = {route: np.array(given) for route, given in json.loads(done.stdout).items()}
    keras_answers = probabilities(load_network(smoke_run), task, test).argmax(-1)
    np.testing.assert_array_equal(answers["tflite-fp32"], keras_answers)
    lost = np.mean(keras_answers == test.labels) - np.mean(answers["tflite-int8"] == test.labels)
    assert lost <= smoke_run.recipe.export.gate.max_quantized_loss + 1e-9


@pytest.mark.slow
def test_the_command_of_a_device_names_the_class(device, smoke_run, smoke_splits, tmp_path):
    Image.fromarray(smoke_splits.test.images[0, :, :, 0]).save(tmp_path / "garment.png")
    done = subprocess.run(
        [device / "convoy-edge", smoke_run.bundle, tmp_path / "garment.png", "--json"],
        capture_output=True,
        text=True,
        check=True,
        cwd=tmp_path,
    )
    answer = json.loads(done.stdout)["answers"][0]
    assert answer["label"] == open_bundle(smoke_run.bundle).manifest.labels[answer["index"]]
