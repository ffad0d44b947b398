"""What must hold for every layer. A new layer is one line of `LAYERS`."""

import inspect
import json
from functools import partial

import keras
import numpy as np
import pytest
import tensorflow as tf

from models import layers
from models.routes import refusals
from tests.models import runtimes
from tests.models.support import refused

STEPS, IMAGE, VOLUME = (2, 9, 3), (2, 6, 5, 2), (2, 4, 5, 6, 2)
LAYERS = {
    "Conv1D": (partial(layers.Conv1D, 3, 3), STEPS),
    "Conv1D, stride 2, wide": (partial(layers.Conv1D, 3, 3, 2, "wide"), STEPS),
    "Conv1D, dilated": (partial(layers.Conv1D, 3, 3, dilation_rate=2), STEPS),
    "Conv2D": (partial(layers.Conv2D, 3, (3, 2), 2), IMAGE),
    "Conv2D, narrow": (partial(layers.Conv2D, 3, 3, padding="narrow", use_bias=False), IMAGE),
    "Conv2D, wide": (partial(layers.Conv2D, 3, 3, padding="wide"), IMAGE),
    "Conv2D, one-sided padding": (partial(layers.Conv2D, 3, 2, 2, ((0, 1), (1, 0))), IMAGE),
    "Conv2D, dilated": (partial(layers.Conv2D, 3, 3, dilation_rate=2), IMAGE),
    "Conv2D, groups": (partial(layers.Conv2D, 4, 3, groups=2), IMAGE),
    "Conv3D": (partial(layers.Conv3D, 3, 3), VOLUME),
    "Conv3D, stride 2": (partial(layers.Conv3D, 3, (1, 2, 3), 2, "valid"), VOLUME),
    "DepthwiseConv1D": (partial(layers.DepthwiseConv1D, 3), STEPS),
    "DepthwiseConv2D": (partial(layers.DepthwiseConv2D, 3, 2, depth_multiplier=2), IMAGE),
    "DepthwiseConv3D": (partial(layers.DepthwiseConv3D, 3), VOLUME),
    "LocallyConnected1D": (partial(layers.LocallyConnected1D, 3, 3), STEPS),
    "LocallyConnected2D": (partial(layers.LocallyConnected2D, 3, (3, 2), 2), IMAGE),
    "ConvTranspose1D": (partial(layers.ConvTranspose1D, 3, 3, 2), STEPS),
    "ConvTranspose2D": (partial(layers.ConvTranspose2D, 3, 3, 2), IMAGE),
    "ConvTranspose2D, narrow": (partial(layers.ConvTranspose2D, 3, 2, 2, "narrow"), IMAGE),
    "ConvTranspose3D": (partial(layers.ConvTranspose3D, 3, 3, 2), VOLUME),
    "MaxPool1D": (layers.MaxPool1D, STEPS),
    "MaxPool2D": (layers.MaxPool2D, IMAGE),
    "MaxPool2D, overlapping": (partial(layers.MaxPool2D, 3, 2, "same"), IMAGE),
    "MaxPool3D": (layers.MaxPool3D, VOLUME),
    "AveragePool1D": (layers.AveragePool1D, STEPS),
    "AveragePool2D": (partial(layers.AveragePool2D, (3, 2), 1, "same"), IMAGE),
    "AveragePool3D": (layers.AveragePool3D, VOLUME),
    "L2Pool1D": (layers.L2Pool1D, STEPS),
    "L2Pool2D": (layers.L2Pool2D, IMAGE),
    "L2Pool3D": (layers.L2Pool3D, VOLUME),
    "GlobalMaxPool1D": (layers.GlobalMaxPool1D, STEPS),
    "GlobalMaxPool2D": (layers.GlobalMaxPool2D, IMAGE),
    "GlobalMaxPool3D": (layers.GlobalMaxPool3D, VOLUME),
    "GlobalAveragePool1D": (layers.GlobalAveragePool1D, STEPS),
    "GlobalAveragePool2D": (layers.GlobalAveragePool2D, IMAGE),
    "GlobalAveragePool3D": (layers.GlobalAveragePool3D, VOLUME),
    "GlobalL2Pool1D": (layers.GlobalL2Pool1D, STEPS),
    "GlobalL2Pool2D": (layers.GlobalL2Pool2D, IMAGE),
    "GlobalL2Pool3D": (layers.GlobalL2Pool3D, VOLUME),
    "BatchNorm, dense": (partial(layers.BatchNorm, 0.8), (4, 3)),
    "BatchNorm, sequence": (layers.BatchNorm, STEPS),
    "BatchNorm, image": (partial(layers.BatchNorm, epsilon=1e-2), IMAGE),
    "BatchNorm, volume": (layers.BatchNorm, VOLUME),
    "Dense": (partial(layers.Dense, 5), (4, 3)),
    "PaddedShortcut": (partial(layers.PaddedShortcut, 5, 2), IMAGE),
    "PaddedShortcut3D": (partial(layers.PaddedShortcut3D, 5, 2), VOLUME),
    "ResidualBlock": (partial(layers.ResidualBlock, 2), IMAGE),
    "ResidualBlock, projection": (partial(layers.ResidualBlock, 3, 2, "linear"), IMAGE),
    "ResidualBlock, convolution": (
        partial(layers.ResidualBlock, 3, 2, shortcut="convolution"),
        IMAGE,
    ),
    "ResidualBlock, padding": (partial(layers.ResidualBlock, 3, 2, shortcut="padding"), IMAGE),
    "ResidualBlock, plain": (partial(layers.ResidualBlock, 3, 2, shortcut="none"), IMAGE),
    "ResidualBlock3D": (partial(layers.ResidualBlock3D, 3, 2), VOLUME),
    "BottleneckBlock": (partial(layers.BottleneckBlock, 2, 2), IMAGE),
    "VGGBlock": (partial(layers.VGGBlock, 3, 2), IMAGE),
    "NiNBlock": (partial(layers.NiNBlock, 3, 3), IMAGE),
    "InceptionBlock": (partial(layers.InceptionBlock, 2, (2, 3), (1, 2), 2), IMAGE),
    "DilatedStack1D": (partial(layers.DilatedStack1D, 3, 3, (1, 2), 2), STEPS),
    "DilatedStack2D": (partial(layers.DilatedStack2D, 2, 3, (1, 2), 2), IMAGE),
}
# Bases, which are not used by themselves.
BASES = {"Conv", "DepthwiseConv", "LocallyConnected", "ConvTranspose"}
POLICIES = {"mixed_bfloat16": (tf.bfloat16, 0.1), "mixed_float16": (tf.float16, 0.02)}


@pytest.fixture(scope="module", params=LAYERS)
def row(request):
    return request.param


@pytest.fixture
def create(row):
    return LAYERS[row][0]


@pytest.fixture(scope="module")
def x(row):
    return example(row)


def example(row):
    """Inputs for a row: nowhere two alike, so that every maximum is one position's."""
    return np.random.default_rng(0).normal(size=LAYERS[row][1]).astype("float32")


def network(row):
    """A network of the one layer, whose statistics, if it has any, have moved."""
    keras.utils.set_random_seed(0)
    create, shape = LAYERS[row]
    inputs = keras.Input(shape[1:], name="input")
    model = keras.Model(inputs, create(name="layer")(inputs))
    model(example(row), training=True)
    return model


@pytest.fixture(scope="module")
def model(row):
    return network(row)


@pytest.fixture(scope="module")
def y(model, x):
    return np.array(model(x, training=False))


@pytest.fixture(scope="module")
def saved_model(model, x, tmp_path_factory):
    return runtimes.export(model, tmp_path_factory.mktemp("saved_model"), (1, *x.shape[1:]))


@pytest.fixture(scope="module")
def examples(x):
    """Inputs that set the ranges of an int8 file."""
    more = np.random.default_rng(1).normal(size=(16, *x.shape[1:])).astype("float32")
    return np.concatenate([x, more])


@pytest.fixture(scope="module")
def int8_file(model, saved_model, examples):
    """The full int8 file, or `None` where the layer is refused one."""
    return None if refusals(model)["tflite-int8"] else runtimes.convert(saved_model, examples)


def test_every_public_layer_is_here():
    public = {name for name, value in vars(layers).items() if inspect.isclass(value)} - BASES
    assert {row.partition(",")[0] for row in LAYERS} == public


def test_a_layer_is_documented_with_an_example(create):
    layer = create()
    if type(layer).__module__.startswith("models"):
        for part in ("Input shape:", "Output shape:", "Example:", "Reference:"):
            assert part in type(layer).__doc__


def test_config_makes_the_same_layer_again(create, x):
    layer = create(name="original")
    copy = keras.layers.deserialize(keras.layers.serialize(layer))
    assert copy.get_config() == layer.get_config()
    layer.build(x.shape)
    copy.build(x.shape)
    copy.set_weights(layer.get_weights())
    np.testing.assert_array_equal(copy(x), layer(x))


def test_the_output_shape_is_known_before_the_call(create, x):
    layer = create()
    assert layer.compute_output_shape(x.shape) == layer(x).shape
    unknown_batch = layer(keras.Input(x.shape[1:]))
    assert unknown_batch.shape == (None, *layer(x).shape[1:])


def test_sizes_may_be_unknown_until_the_layer_runs(row, create, x):
    layer = create()
    unknown = (None,) * (x.ndim - 2)
    if row.startswith("LocallyConnected") or not unknown:
        return  # It has weights for each position.
    inputs = keras.Input((*unknown, x.shape[-1]))
    model = keras.Model(inputs, layer(inputs))
    for each in (x, x[:, :3] if x.ndim == 3 else x[:, :3, :3]):
        np.testing.assert_allclose(model.predict_on_batch(each), layer(each), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("policy", POLICIES)
def test_mixed_precision_computes_in_half_and_keeps_weights_in_float32(create, x, policy):
    dtype, tolerance = POLICIES[policy]
    layer, reference = create(dtype=policy), create(dtype="float32")
    y = layer(x)
    assert y.dtype == dtype
    assert {weight.dtype for weight in layer.weights} <= {"float32"}
    reference.build(x.shape)
    reference.set_weights(layer.get_weights())
    expected = reference(x)
    np.testing.assert_allclose(tf.cast(y, tf.float32), expected, rtol=tolerance, atol=tolerance)


@pytest.mark.support("train")
@pytest.mark.parametrize("policy", ["float32", *POLICIES])
def test_every_input_and_weight_gets_a_gradient(create, x, policy):
    layer = create(dtype=policy)
    layer.build(x.shape)
    inputs = tf.constant(x, layer.compute_dtype)
    sources = [inputs, *(weight.value for weight in layer.trainable_weights)]
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(tf.cast(layer(inputs), "float32") ** 2)
    for gradient in tape.gradient(loss, sources):
        assert np.isfinite(tf.cast(gradient, "float32")).all()
        assert np.any(gradient)


@pytest.mark.support(".keras")
def test_a_saved_layer_gives_the_same_numbers_again(model, x, y, tmp_path):
    model.save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(reloaded(x), y)


@pytest.mark.support("SavedModel")
def test_the_saved_model_gives_the_same_numbers(saved_model, x, y):
    signature = tf.saved_model.load(saved_model).signatures["serving_default"]
    answers = [signature(input=tf.constant(each[None]))["output"] for each in x]
    np.testing.assert_allclose(np.concatenate(answers), y, rtol=1e-5, atol=1e-5)


@pytest.mark.support("TFLite float32")
def test_the_float_tflite_file_gives_the_same_numbers(saved_model, x, y):
    answers = runtimes.run_tflite(runtimes.convert(saved_model), x)
    np.testing.assert_allclose(answers, y, rtol=1e-5, atol=1e-5)


@pytest.mark.support("TFLite int8")
def test_the_int8_tflite_file_is_all_integers_and_near_or_is_refused(
    model, saved_model, examples, int8_file, x, y, record_property
):
    if refused(model, "tflite-int8", record_property):
        assert not runtimes.is_full_int8(saved_model, examples)
        return
    assert runtimes.float_operations(int8_file) == []
    np.testing.assert_allclose(runtimes.run_tflite(int8_file, x), y, atol=0.05 * span(y))


def span(y):
    """Length of the range that integers stand for: it always holds 0."""
    return np.ptp([0.0, y.min(), y.max()])


@pytest.mark.support("TFLite Micro")
def test_tflite_micro_runs_the_int8_file_with_its_numbers_or_is_refused(
    model, int8_file, x, y, record_property
):
    if refused(model, "tflite-micro", record_property):
        assert int8_file is None or not runtimes.runs_on_micro(int8_file, x)
        return
    expected = runtimes.run_tflite(int8_file, x)
    np.testing.assert_allclose(runtimes.run_micro(int8_file, x), expected, atol=0.02 * span(y))


ANSWER_ON_JAX = """
import json, sys
import jax, keras, numpy as np
import models.layers

answers = {}
for row, files in json.loads(sys.argv[1]).items():
    model = keras.saving.load_model(files["model"])
    x = np.load(files["x"])
    loss = lambda x: keras.ops.sum(model(x, training=False) ** 2)
    answers[row + " y"] = model(x, training=False)
    answers[row + " gradient"] = jax.grad(loss)(x)
assert "tensorflow" not in sys.modules
np.savez(sys.argv[2], **{name: np.asarray(answer) for name, answer in answers.items()})
"""


@pytest.fixture(scope="module")
def jax_answers(tmp_path_factory):
    """What every layer answers on JAX, and its gradient there, from a process of its own."""
    folder = tmp_path_factory.mktemp("jax")
    files = {}
    for index, row in enumerate(LAYERS):
        paths = {"model": f"{folder}/{index}.keras", "x": f"{folder}/{index}.npy"}
        network(row).save(paths["model"])
        np.save(paths["x"], example(row))
        files[row] = paths
    result = runtimes.run_on_jax(ANSWER_ON_JAX, json.dumps(files), f"{folder}/answers.npz")
    assert result.returncode == 0, result.stderr
    return dict(np.load(folder / "answers.npz"))


@pytest.mark.slow
@pytest.mark.support("JAX")
def test_jax_gives_the_same_numbers_and_gradient(row, model, x, y, jax_answers):
    inputs = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(inputs)
        loss = tf.reduce_sum(model(inputs, training=False) ** 2)
    gradient = tape.gradient(loss, inputs)
    np.testing.assert_allclose(jax_answers[row + " y"], y, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(jax_answers[row + " gradient"], gradient, rtol=1e-3, atol=1e-3)
