"""Rounding to eight bits, layer by layer, as the int8 file does it."""

from collections import Counter

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from hypothesis import given
from hypothesis import strategies as st
from keras import layers

import models
from models.equalize import equalized, pairs
from models.integer_form import integer_form
from models.layers import BatchNorm, Conv2D, ConvTranspose2D, DepthwiseConv2D
from models.layers.fake_quant import FakeQuant, FakeQuantKernel
from models.quantize import Trace, calibrate, fake_quantized, noises, rounded_answers, roundings
from models.rewrite import record
from pipeline.export.tflite import write_tflite
from pipeline.task import Classification

NETWORKS = {
    "mlp": {"width": 16},
    "lenet": {"batch_norm": True},
    "alexnet": {},
    "vgg7": {"width": 8},
    "davidnet": {"width": 8, "stem": True},
    "airbench": {"width": 8},
    "nin": {"width": 8},
    "googlenet": {},
    "resnet8": {"width": 8},
    "resnet18": {"width": 8},
    "plain8": {"width": 8},
}
QUICK = ("lenet", "davidnet")
EVERY = [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in NETWORKS]
LABELS = tuple("abcdefghij")


@pytest.fixture
def images():
    """Random pixels of which some are 0 and some 255, smooth enough to be told apart."""
    dice = np.random.default_rng(0)
    small = dice.uniform(0, 255, (80, 7, 7, 1))
    return np.clip(small.repeat(4, 1).repeat(4, 2) * 1.2 - 20, 0, 255).round().astype(np.uint8)


def built(name, images):
    """A network with moving statistics of these images, and norms that do something."""
    keras.utils.set_random_seed(0)
    options = {
        key: value
        for key, value in NETWORKS[name].items()
        if key in models.inspect.signature(models.ARCHITECTURES[name]).parameters
    }
    network = models.build(name, (28, 28, 1), len(LABELS), **options)
    for _ in range(20):
        network(images.astype(np.float32), training=True)
    for layer in network.layers:
        if isinstance(layer, BatchNorm):
            layer.gamma.assign(np.random.uniform(0.5, 1.5, layer.gamma.shape))
    return network


def answers(network, images):
    return np.asarray(network(images.astype(np.float32), training=False)["logits"])


def file_of(network, tmp_path):
    """The int8 file of a network that rounds."""
    target = tmp_path / "int8.tflite"
    write_tflite(network, Classification(LABELS), None, {"int8": target})
    return target.read_bytes()


def run(content, images, kernels=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES):
    """What a file answers, and how often it computes what in which type."""
    model = Interpreter(model_content=content, experimental_op_resolver_type=kernels)
    model.allocate_tensors()
    (source,), (target,) = model.get_input_details(), model.get_output_details()
    assert source["dtype"] == target["dtype"] == np.uint8
    assert source["quantization"] == (1.0, 0)
    found = []
    for image in images:
        model.set_tensor(source["index"], image[None])
        model.invoke()
        found.append(model.get_tensor(target["index"])[0])
    types = {each["index"]: each["dtype"].__name__ for each in model.get_tensor_details()}
    operations = model._get_ops_details()
    return np.stack(found), Counter((op["op_name"], types[op["outputs"][0]]) for op in operations)


def on_steps(values, low, high):
    """Rounding as the paper writes it, with NumPy."""
    step = (high - low) / 255
    zero = np.clip(np.round(-low / step), 0, 255)
    return (np.clip(np.floor(values / step + zero + 0.5), 0, 255) - zero) * step


@given(
    st.floats(-10, -0.1), st.floats(0.1, 10), st.lists(st.floats(-20, 20), min_size=1, max_size=9)
)
def test_values_are_rounded_as_the_paper_says(low, high, values):
    values = np.float32(values)
    found = np.asarray(FakeQuant(low, high)(values))
    step = (high - low) / 255
    # Halfway between two steps either will do.
    assert np.abs(found - on_steps(np.float64(values), low, high)).max() <= step * 1.001
    between = np.abs(values / step - np.floor(values / step) - 0.5)
    sure = between > 0.01
    np.testing.assert_allclose(found[sure], on_steps(values, low, high)[sure], atol=step / 50)


def test_gradients_pass_what_is_rounded_and_not_what_is_cut_off():
    values = tf.constant([-2.0, -0.3, 0.4, 5.0])
    layer = FakeQuant(-1, 1)
    with tf.GradientTape() as tape:
        tape.watch(values)
        total = tf.reduce_sum(layer(values))
    assert tape.gradient(total, values).numpy().tolist() == [0, 1, 1, 0]


def test_ranges_follow_in_training_alone_unless_they_are_fixed():
    values = np.float32([[-4, 8]])
    moving, fixed = FakeQuant(momentum=0.5), FakeQuant(momentum=1)
    for layer in (moving, fixed):
        layer(values)
        assert (float(layer.low), float(layer.high)) == (-1, 1)
        layer(values, training=True)
    assert (float(moving.low), float(moving.high)) == (-2.5, 4.5)
    assert (float(fixed.low), float(fixed.high)) == (-1, 1)
    # Zero stays between them.
    for _ in range(50):
        moving(np.float32([[3, 4]]), training=True)
    assert float(moving.low) == pytest.approx(0, abs=1e-9)


def test_a_range_without_zero_is_refused():
    with pytest.raises(ValueError, match=r"0 between them. Received: low=1, high=2"):
        FakeQuant(1, 2)


@pytest.mark.parametrize(
    ("layer", "channel_axes", "channels"),
    [
        (lambda: Conv2D(4, 3), 1, (3, 4)),
        (lambda: DepthwiseConv2D(3, depth_multiplier=2), 2, (2, 3, 4)),
        (lambda: ConvTranspose2D(4, 3), 0, None),
    ],
    ids=["conv", "depthwise", "transposed"],
)
def test_a_kernel_has_255_steps_in_each_channel_and_stays_as_fine_as_it_was(
    layer, channel_axes, channels
):
    rounding = FakeQuantKernel(layer(), channel_axes)
    rounding(np.zeros((1, 6, 6, 3), np.float32))
    fine = np.random.default_rng(0).normal(size=rounding.layer.kernel.shape)
    rounding.layer.kernel.assign(fine)
    coarse = np.asarray(rounding.rounded(rounding.layer.kernel.value + 0))
    axes = tuple(range(fine.ndim - channel_axes))
    largest = np.abs(fine).max(axes, keepdims=True)
    steps = coarse / (largest / 127)
    np.testing.assert_allclose(steps, np.round(steps), atol=1e-3)
    assert np.abs(coarse - fine).max() <= largest.max() / 127 / 2 * 1.001
    rounding(np.zeros((1, 6, 6, 3), np.float32))
    np.testing.assert_allclose(rounding.layer.kernel, fine, rtol=1e-6)


def test_a_gain_changes_how_large_a_kernel_is_kept_and_nothing_else():
    x = np.random.default_rng(0).normal(size=(2, 6, 6, 3)).astype(np.float32)
    plain, kept_large = FakeQuantKernel(Conv2D(4, 3)), FakeQuantKernel(Conv2D(4, 3), gain=1 / 255)
    expected = plain(x)
    kept_large(x)
    kept_large.layer.kernel.assign(plain.layer.kernel * 255)
    np.testing.assert_allclose(kept_large(x), expected, atol=1e-5)
    np.testing.assert_allclose(kept_large.exact(x), plain.exact(x), atol=1e-5)


@pytest.mark.parametrize("name", EVERY)
def test_the_integer_form_and_like_channels_change_no_answer(name, images):
    network = built(name, images)
    expected = answers(network, images)
    form = integer_form(network)
    np.testing.assert_allclose(answers(form, images), expected, atol=2e-4 * np.abs(expected).max())
    like = equalized(network)
    np.testing.assert_allclose(answers(like, images), expected, atol=2e-4 * np.abs(expected).max())
    assert not any(isinstance(each, (BatchNorm, layers.Rescaling)) for each in form.layers)


@pytest.mark.parametrize("name", EVERY)
def test_the_int8_file_is_all_integers_and_answers_as_the_network_that_rounds(
    name, images, tmp_path
):
    network = fake_quantized(built(name, images))
    calibrate(network, images)
    found, operations = run(file_of(network, tmp_path), images)
    assert {kind for _, kind in operations} == {"int8", "uint8"}
    expected = keras.ops.softmax(answers(network, images))
    # An answer itself has steps of 1/256.
    assert np.abs(found / 256 - expected).mean() <= 1.5 / 256
    assert np.abs(found / 256 - expected).max() <= 0.06


@pytest.mark.parametrize(
    "name",
    # In the file the branches of a join have its steps; in the network they have theirs first.
    [each for each in EVERY if "googlenet" not in str(each)],
)
def test_in_xnnpack_the_int8_file_gives_the_very_answers_of_the_network_that_rounds(
    name, images, tmp_path
):
    network = fake_quantized(built(name, images))
    calibrate(network, images)
    found, _ = run(file_of(network, tmp_path), images, OpResolverType.AUTO)
    probabilities = keras.ops.softmax(answers(network, images))
    expected = np.round(rounded_answers(probabilities) * 256)
    # A tie here and there falls to the other side, and many layers carry that far.
    assert np.mean(found == expected) >= 0.9


def test_layers_left_to_floats_and_those_that_read_them_compute_in_floats(images, tmp_path):
    network = built("davidnet", images)
    mixed = fake_quantized(network, keep_float=["stage1_down_conv"])
    calibrate(mixed, images)
    assert "stage1_down_conv" not in roundings(mixed)
    found, operations = run(file_of(mixed, tmp_path), images)
    # The pool follows in floats; of the next block both readers, which round again.
    assert operations["CONV_2D", "float32"] == 2
    assert operations["CONV_2D", "int8"] >= 3
    expected = keras.ops.softmax(answers(mixed, images))
    assert np.abs(found / 256 - expected).mean() <= 1.5 / 256


def test_the_noise_of_a_layer_is_that_of_its_step(images):
    network = fake_quantized(built("lenet", images))
    calibrate(network, images)
    found = noises(network, images)
    assert [noise.layer for noise in found] == sorted(
        roundings(network), key=[noise.layer for noise in found].index
    )
    (last,) = [noise for noise in found if noise.layer == "logits"]
    # Whatever else the logits' rounding does, it rounds them: a step has a variance of 1/12.
    step = (last.high - last.low) / 255
    assert last.error >= step**2 / 12 * 0.8
    assert last.own == last.answer
    assert [noise.answer for noise in found] == sorted(noise.answer for noise in found)


def test_without_rounding_a_trace_is_the_network(images):
    network = built("resnet8", images)
    rounding = fake_quantized(network)
    calibrate(rounding, images)
    trace = Trace(record(rounding), images)
    expected = answers(network, images)
    (output,) = trace.outputs
    np.testing.assert_allclose(trace.values[id(output)], expected, atol=1e-4)
    everything = [layer for parts in roundings(rounding).values() for layer in parts]
    rounded = trace.rounded_by(everything)[id(output)]
    np.testing.assert_allclose(rounded, answers(rounding, images), atol=1e-4)


def shouting(images, factor=300):
    """A network of which one channel is much louder than the others, with the same answers."""
    network = built("lenet", images)
    norm, reader = network.get_layer("dense1_norm"), network.get_layer("dense2")
    gamma, beta, *statistics = norm.get_weights()
    gamma[3], beta[3] = gamma[3] * factor, (beta[3] + 1) * factor
    norm.set_weights([gamma, beta, *statistics])
    kernel, *bias = reader.get_weights()
    kernel[3] /= factor
    reader.set_weights([kernel, *bias])
    return network


def test_a_channel_that_drowns_the_others_is_found_and_made_quiet(images):
    network = shouting(images)
    rounding = fake_quantized(network)
    calibrate(rounding, images)
    worst, second, *_ = noises(rounding, images)
    assert worst.layer == "dense1"
    assert worst.answer < second.answer - 6
    quiet = fake_quantized(equalized(network))
    calibrate(quiet, images)
    assert ("dense1", "dense2") in pairs(integer_form(network))
    assert noises(quiet, images)[0].answer > worst.answer + 12


def test_a_network_of_tokens_is_refused():
    network = models.build("textcnn", (16,), 3)
    with pytest.raises(ValueError, match="one input, of pixels from 0 to 255. Received: inputs"):
        fake_quantized(network)


def test_a_layer_that_is_applied_twice_is_refused():
    image = keras.Input((8, 8, 1), name="image")
    conv = Conv2D(1, 3, name="again")
    logits = layers.Dense(3)(layers.Flatten()(conv(conv(image))))
    with pytest.raises(ValueError, match="`again`, applied 2 times"):
        fake_quantized(keras.Model(image, {"logits": logits}))


def test_a_network_that_rounds_is_saved_and_loaded_whole(images, tmp_path):
    network = fake_quantized(built("mlp", images), keep_float=["logits"])
    calibrate(network, images)
    network.save(tmp_path / "network.keras")
    again = keras.saving.load_model(tmp_path / "network.keras", compile=False)
    np.testing.assert_array_equal(answers(again, images), answers(network, images))
