"""What must hold for every network. A new network is one line of `NETWORKS`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter

import models

NETWORKS = {
    "lenet": {"name": "lenet", "width": 3},
    "lenet_plain": {"name": "lenet", "width": 3, "batch_norm": False},
    "resnet8": {"name": "resnet", "width": 2},
    "resnet20": {"name": "resnet", "width": 2, "variant": "resnet20"},
    "vgg7": {"name": "vgg", "width": 2},
}
INPUT_SHAPE = (12, 12, 1)
NUM_CLASSES = 3


@pytest.fixture(scope="module", params=NETWORKS)
def options(request):
    return NETWORKS[request.param]


@pytest.fixture(scope="module")
def batch():
    """Noise around one level of grey per class."""
    labels = np.arange(24) % NUM_CLASSES
    noise = np.random.default_rng(0).uniform(0, 85, size=(24, *INPUT_SHAPE))
    return (noise + 85 * labels[:, None, None, None]).astype("float32"), labels


def compiled(options):
    model = models.build(input_shape=INPUT_SHAPE, num_classes=NUM_CLASSES, **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.05), {"logits": loss})
    return model


@pytest.fixture(scope="module")
def trained(options, batch):
    """A network after some steps on one batch, with its losses."""
    keras.utils.set_random_seed(0)
    model = compiled(options)
    images, labels = batch
    return model, [model.train_on_batch(images, {"logits": labels}) for _ in range(6)]


@pytest.fixture(scope="module")
def exported(trained, tmp_path_factory):
    """The folder of a trained network's SavedModel."""
    path = tmp_path_factory.mktemp("saved_model")
    trained[0].export(path, verbose=False)
    return path


def logits(model, batch):
    return np.array(model(batch[0], training=False)["logits"])


def test_training_lowers_the_loss(trained):
    _, losses = trained
    assert losses[-1] < losses[0]


def test_the_input_is_raw_pixels_named_image_and_the_output_float32_named_logits(trained):
    model, _ = trained
    (image,) = model.inputs
    assert (image.name, image.dtype, image.shape) == ("image", "float32", (None, *INPUT_SHAPE))
    assert list(model.output) == ["logits"]
    assert model.output["logits"].dtype == "float32"
    assert model.output["logits"].shape == (None, NUM_CLASSES)
    assert model.layers[1].scale == 1 / 255


@pytest.mark.usefixtures("mixed_bfloat16")
def test_mixed_precision_keeps_weights_and_logits_in_float32(options, batch):
    model = models.build(input_shape=INPUT_SHAPE, num_classes=NUM_CLASSES, **options)
    assert logits(model, batch).dtype == np.float32
    assert model.get_layer("logits").compute_dtype == "float32"
    assert {layer.compute_dtype for layer in model.layers[2:-1]} == {"bfloat16"}
    assert {weight.dtype for weight in model.trainable_weights} == {"float32"}


def test_a_reloaded_network_gives_the_same_numbers(trained, batch, tmp_path):
    model, _ = trained
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(logits(reloaded, batch), logits(model, batch))


def test_the_saved_model_gives_the_same_numbers(trained, exported, batch):
    signature = tf.saved_model.load(exported).signatures["serving_default"]
    actual = signature(image=tf.constant(batch[0]))["logits"]
    np.testing.assert_allclose(actual, logits(trained[0], batch), rtol=1e-4, atol=1e-4)


def test_the_float_tflite_file_gives_the_same_numbers(trained, exported, batch):
    converted = tf.lite.TFLiteConverter.from_saved_model(str(exported)).convert()
    runner = Interpreter(model_content=converted).get_signature_runner("serving_default")
    actual = [runner(image=image[None])["logits"][0] for image in batch[0]]
    np.testing.assert_allclose(actual, logits(trained[0], batch), rtol=1e-4, atol=1e-4)


TRAIN_ON_JAX = """
import json, random, sys
import keras, numpy as np
import models

networks, input_shape, num_classes = json.loads(sys.argv[1])
assert keras.backend.backend() == "jax"
random.seed(0)  # keras.utils.set_random_seed would load TensorFlow.
for key, options in networks.items():
    model = models.build(input_shape=input_shape, num_classes=num_classes, **options)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", {"logits": loss})
    before = model.get_weights()
    images = np.random.default_rng(0).uniform(0, 255, size=(6, *input_shape))
    loss = model.train_on_batch(images, {"logits": np.arange(6) % num_classes})
    assert np.isfinite(loss), key
    moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(moved), key
    print(key)
assert "tensorflow" not in sys.modules
"""


def test_every_network_trains_on_jax_and_never_loads_tensorflow():
    arguments = json.dumps([NETWORKS, INPUT_SHAPE, NUM_CLASSES])
    result = subprocess.run(
        [sys.executable, "-c", TRAIN_ON_JAX, arguments],
        env={**os.environ, "KERAS_BACKEND": "jax", "JAX_PLATFORMS": "cpu"},
        cwd=Path(models.__file__).parents[1],
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    assert result.stdout.split() == list(NETWORKS)
