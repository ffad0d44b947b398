"""What must hold for every network. A new network is one line of `NETWORKS`."""

import functools
import json
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
import pytest
import tensorflow as tf

import models
from models.routes import refusals
from tests.models import runtimes
from tests.models.support import refused

NUM_CLASSES = 3


class Network(NamedTuple):
    """How to build a network small, and whether it is so deep that its tests are slow."""

    options: dict[str, Any]
    input_shape: tuple[int, ...] = (12, 12, 1)
    slow: bool = False
    name: str | None = None


TINY = {"width": 2}
NETWORKS = {
    "mlp": Network(TINY),
    "topology": Network(TINY),
    "topology, m 2, n 2, k 2": Network(
        {"width": 2, "m": 2, "n": 2, "k": 2, "kernel_size": 3, "batch_norm": True},
        (16, 16, 1),
        name="topology",
    ),
    "lenet": Network({"width": 3}),
    "lenet, no batch norm": Network({"width": 3, "batch_norm": False}, name="lenet"),
    "alexnet": Network({"width": 4}, (28, 28, 1)),
    "vgg7": Network(TINY),
    "vgg11": Network(TINY, (28, 28, 1)),
    "vgg13": Network(TINY, (28, 28, 1), slow=True),
    "vgg16": Network(TINY, (28, 28, 1), slow=True),
    "davidnet": Network(TINY),
    "airbench": Network({"width": 4}),
    "nin": Network({"width": 8}, (28, 28, 1)),
    "googlenet": Network({"width": 4}, (28, 28, 1), slow=True),
    "resnet8": Network(TINY),
    "resnet18": Network(TINY, (28, 28, 1), slow=True),
    "resnet20": Network(TINY),
    "resnet34": Network({"width": 8}, slow=True),
    "resnet50": Network(TINY, slow=True),
    "resnet56": Network({"width": 3}, slow=True),
    "plain8": Network(TINY),
    "plain18": Network(TINY, slow=True),
    "plain20": Network(TINY, slow=True),
    "plain34": Network(TINY, slow=True),
    "plain50": Network({"width": 3}, slow=True),
    "plain56": Network({"width": 6}, slow=True),
    "textcnn": Network({"vocabulary_size": 50, "width": 4}, (12,)),
    # Sixteen layers learn little in six steps, which dropout would drown.
    "idcnn": Network({"vocabulary_size": 50, "width": 16, "dropout_rate": 0.0}, (12,)),
    "autoencoder": Network(TINY),
    "resnet3d": Network(TINY, (6, 8, 8, 1)),
    "backbone": Network(
        {"application": "EfficientNetB0", "weights": "none", "trainable": "all"},
        (32, 32, 3),
        slow=True,
    ),
}


def rows(slow=None):
    """The rows as parameters, deep networks marked; or the names of those that are, or are not."""
    if slow is not None:
        return [row for row, network in NETWORKS.items() if network.slow == slow]
    return [
        pytest.param(row, marks=[pytest.mark.slow] if network.slow else [], id=row)
        for row, network in NETWORKS.items()
    ]


def build(row):
    """The row's network in its small form."""
    keras.utils.set_random_seed(0)
    name, network = NETWORKS[row].name or row, NETWORKS[row]
    return models.build(name, network.input_shape, NUM_CLASSES, **network.options)


def example_batch(model):
    """Inputs that tell their class at a glance, and a label for each answer of `model`."""
    random = np.random.default_rng(0)
    (inputs,), logits = model.inputs, model.output["logits"]
    classes = np.arange(24) % NUM_CLASSES
    shape = (24, *inputs.shape[1:])
    level = classes.reshape(-1, *[1] * (len(shape) - 1))
    if inputs.name == "tokens":
        x = random.integers(1, 10, size=shape) + 10 * level
        x[::2, shape[1] // 2 :] = 0  # Half of the sequences are shorter than others.
    else:
        x = random.uniform(0, 85, size=shape) + 85 * level
    labels = np.broadcast_to(
        classes.reshape(-1, *[1] * (len(logits.shape) - 2)), (24, *logits.shape[1:-1])
    )
    return x.astype(inputs.dtype), labels


def assert_near(answers, logits):
    """Rounding may bring noise: less than half of how much the logits differ from each other.

    Its share grows with depth, and changes with the kernels that a processor's training took: 0.2
    was seen after fifty layers. Between examples alone, logits of deep networks without shortcuts
    hardly differ after a few steps; those of other networks do.
    """
    noise = np.sqrt(np.mean(np.square(answers - logits)))
    assert noise < 0.5 * np.std(logits)


def compiled(model):
    """The model, ready for steps on labels."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02), {"logits": loss})
    return model


@pytest.fixture(scope="module", params=rows())
def row(request):
    return request.param


@pytest.fixture(scope="module")
def trained(row):
    """A network after some steps on one batch, with its losses."""
    model = compiled(build(row))
    x, labels = example_batch(model)
    return model, [model.train_on_batch(x, {"logits": labels}) for _ in range(6)]


@pytest.fixture(scope="module")
def model(trained):
    return trained[0]


@pytest.fixture(scope="module")
def x(model):
    return example_batch(model)[0]


@pytest.fixture(scope="module")
def logits(model, x):
    return np.array(model(x, training=False)["logits"])


@pytest.fixture(scope="module")
def saved_model(model, x, tmp_path_factory):
    return runtimes.export(model, tmp_path_factory.mktemp("saved_model"), (1, *x.shape[1:]))


@pytest.fixture(scope="module")
def int8_file(model, saved_model, x):
    """The full int8 file, or `None` where the network is refused one."""
    return None if refusals(model)["tflite-int8"] else runtimes.convert(saved_model, x)


def test_every_architecture_is_here():
    assert {network.name or row for row, network in NETWORKS.items()} == set(models.ARCHITECTURES)


@pytest.mark.support("train")
def test_training_lowers_the_loss(trained):
    _, losses = trained
    # Deep networks without shortcuts rise and fall on the way.
    assert min(losses[1:]) < losses[0]


def test_the_input_is_raw_and_named_and_the_output_float32_named_logits(row, model):
    (inputs,) = model.inputs
    name, dtype = {1: ("tokens", "int32"), 3: ("image", "float32"), 4: ("volume", "float32")}[
        len(NETWORKS[row].input_shape)
    ]
    assert (inputs.name, inputs.dtype) == (name, dtype)
    assert inputs.shape == (None, *NETWORKS[row].input_shape)
    assert list(model.output) == ["logits"]
    assert model.output["logits"].dtype == "float32"
    assert model.output["logits"].shape[-1] == NUM_CLASSES
    if name != "tokens":
        assert model.layers[1].scale == 1 / 255


@pytest.mark.support("train")
@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16"], indirect=True)
def test_mixed_precision_keeps_weights_gradients_and_logits_in_float32(row, policy, x, model):
    mixed = build(row)
    assert {layer.compute_dtype for layer in mixed.layers} == {
        policy.removeprefix("mixed_"),
        "float32",
    }
    assert {weight.dtype for weight in mixed.trainable_weights} == {"float32"}
    # As it begins: norms that have followed a few steps let deep networks overflow float16.
    exact = keras.models.clone_model(model)
    exact.set_weights(mixed.get_weights())
    answers, logits = (np.array(each(x, training=False)["logits"]) for each in (mixed, exact))
    assert answers.dtype == np.float32
    assert_near(answers, logits)
    with tf.GradientTape() as tape:
        loss = tf.reduce_mean(mixed(x, training=True)["logits"] ** 2)
    for gradient in tape.gradient(loss, [weight.value for weight in mixed.trainable_weights]):
        assert gradient.dtype == tf.float32
        assert np.isfinite(tf.convert_to_tensor(gradient)).all()  # That of an embedding is sparse.


@pytest.mark.support(".keras")
def test_a_reloaded_network_gives_the_same_numbers(model, x, logits, tmp_path):
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(x, training=False)["logits"], logits)


@pytest.mark.support("SavedModel")
def test_the_saved_model_gives_the_same_numbers(model, saved_model, x, logits):
    signature = tf.saved_model.load(saved_model).signatures["serving_default"]
    name = model.inputs[0].name
    answers = [signature(**{name: tf.constant(each[None])})["logits"] for each in x]
    np.testing.assert_allclose(np.concatenate(answers), logits, rtol=1e-4, atol=1e-4)


@pytest.mark.support("TFLite float32")
def test_the_float_tflite_file_gives_the_same_numbers(saved_model, x, logits):
    answers = runtimes.run_tflite(runtimes.convert(saved_model), x)
    np.testing.assert_allclose(answers, logits, rtol=1e-4, atol=1e-4)


@pytest.mark.support("TFLite int8")
def test_the_int8_tflite_file_is_all_integers_and_near_or_is_refused(
    model, saved_model, int8_file, x, logits, record_property
):
    if refused(model, "tflite-int8", record_property):
        assert not runtimes.is_full_int8(saved_model, x)
        return
    assert runtimes.float_operations(int8_file) == []
    assert_near(runtimes.run_tflite(int8_file, x), logits)


@pytest.mark.support("TFLite Micro")
def test_tflite_micro_runs_the_int8_file_and_is_near_or_is_refused(
    model, int8_file, x, logits, record_property
):
    # Its kernels round otherwise than LiteRT's, so both are held against the float numbers.
    if refused(model, "tflite-micro", record_property):
        assert int8_file is None or not runtimes.runs_on_micro(int8_file, x)
        return
    assert_near(runtimes.run_micro(int8_file, x), logits)


TRAIN_ON_JAX = """
import json, sys, traceback
import keras, numpy as np
import models

def answer(model, x, labels):
    logits = model.predict_on_batch(x)["logits"]
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.02), {"logits": loss})
    before = model.get_weights()
    assert np.isfinite(model.train_on_batch(x, {"logits": labels}))
    moved = [np.any(new != old) for new, old in zip(model.get_weights(), before, strict=True)]
    assert np.mean(moved) > 0.9  # In a network as narrow as these, some ReLUs never answer.
    return logits

for paths in json.loads(sys.argv[1]):
    model = keras.saving.load_model(paths["model"], compile=False)
    batch = np.load(paths["batch"])
    try:
        np.save(paths["answers"], answer(model, batch["x"], batch["labels"]))
    except Exception:
        traceback.print_exc()
assert "tensorflow" not in sys.modules
"""


@pytest.fixture(scope="module")
def jax_folder(tmp_path_factory):
    return tmp_path_factory.mktemp("jax")


@functools.cache
def answer_on_jax(folder, slow):
    """Let the deep, or all other, networks answer and train on JAX, in a process of its own.

    Returns what it said, and for each row the paths of its model, its batch and its answers.
    """
    names = {"model": "keras", "batch": "npz", "answers": "npy"}
    paths = {
        row: {name: str(folder / f"{index}.{end}") for name, end in names.items()}
        for index, row in enumerate(rows(slow))
    }
    for row, files in paths.items():
        model = build(row)
        x, labels = example_batch(model)
        model(x, training=True)  # Moves the statistics.
        model.save(files["model"])
        expected = model(x, training=False)["logits"]
        np.savez(files["batch"], x=x, labels=labels, expected=expected)
    result = runtimes.run_on_jax(TRAIN_ON_JAX, json.dumps(list(paths.values())))
    return result.stderr, paths


@pytest.mark.slow
@pytest.mark.support("JAX")
def test_jax_gives_the_same_numbers_and_trains(row, jax_folder):
    said, paths = answer_on_jax(jax_folder, NETWORKS[row].slow)
    assert Path(paths[row]["answers"]).exists(), said
    expected = np.load(paths[row]["batch"])["expected"]
    np.testing.assert_allclose(np.load(paths[row]["answers"]), expected, rtol=1e-3, atol=1e-3)
