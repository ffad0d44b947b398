import inspect
import socket
import time

import keras
import numpy as np
import pytest
from keras import layers

import models
from models import backbone
from models.backbone import APPLICATIONS, preprocessed
from models.outlines import without_values
from tests.models import runtimes
from tests.models.outlines import outline

SMALL = {"weights": "none", "alpha": 0.35}
RANDOM = np.random.default_rng(0)
# Keras hides which application a module is about, where one function builds several.
HIDDEN = {"mobilenet_v3": ["MobileNetV3Small", "MobileNetV3Large"]}
PREPROCESSING = {
    name: module.preprocess_input
    for path, module in vars(keras.applications).items()
    if inspect.ismodule(module)
    for name in HIDDEN.get(path, vars(module))
    if name in APPLICATIONS
}


def images(count=4, shape=(32, 32, 3)):
    """Noise, from dark to bright."""
    noise = RANDOM.uniform(0, 255, (count, *shape)).astype("float32")
    return noise * np.linspace(0.1, 1, count, dtype="float32").reshape(-1, 1, 1, 1)


def small(shape=(32, 32, 3), **options):
    return models.build("backbone", shape, 3, **{**SMALL, **options})


def lively(network):
    """The network with norms as if it were trained; in a new one features fade to nothing."""
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            shape = layer.gamma.shape
            gamma, variance = RANDOM.uniform(1.5, 2.5, shape), RANDOM.uniform(0.2, 0.4, shape)
            layer.set_weights([gamma, *RANDOM.normal(0, 0.1, (2, *shape)), variance])
    return network


def assert_near(actual, expected):
    """Equal but for rounding, and worth comparing."""
    assert np.ptp(expected, axis=0).max() > 0.01 * np.abs(expected).max()
    np.testing.assert_allclose(actual, expected, atol=1e-4 * np.abs(expected).max())


def pooled(network, x, training=False):
    """What the head of a backbone sees."""
    features = keras.Model(network.input, network.get_layer("pool").output)
    return np.array(features(x, training=training))


def one_step(network):
    """Names of the layers whose weights one step of training changes, and those it does not."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    network.compile(keras.optimizers.SGD(0.1), {"logits": loss})
    before = [np.array(weight) for weight in network.weights]
    network.train_on_batch(images(12), {"logits": np.arange(12) % 3})
    moved = [(new.numpy() != old).any() for new, old in zip(network.weights, before, strict=True)]
    pairs = list(zip(network.weights, moved, strict=True))
    return [{weight.path for weight, each in pairs if each == wanted} for wanted in (True, False)]


def test_keras_says_for_every_application_how_it_wants_its_pixels():
    assert set(PREPROCESSING) == set(APPLICATIONS)


@pytest.mark.parametrize("application", APPLICATIONS)
def test_pixels_reach_an_application_as_keras_itself_prepares_them(application):
    image = keras.Input((5, 4, 3))
    x = images(2, (5, 4, 3))
    prepared = keras.Model(image, preprocessed(image, application))(x)
    expected = PREPROCESSING[application](x.copy())
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("application", ["VGG16", "DenseNet121", "MobileNetV2", "EfficientNetB0"])
def test_grey_is_prepared_as_the_colour_of_three_equal_channels(application):
    image = keras.Input((5, 4, 1))
    x = images(2, (5, 4, 1))
    prepared = keras.Model(image, preprocessed(image, application))(x)
    expected = PREPROCESSING[application](np.repeat(x, 3, axis=-1))
    np.testing.assert_allclose(prepared, expected, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("end", [".weights.h5", ".keras", ".h5"])
def test_a_file_of_keras_own_network_gives_its_features(tmp_path, end):
    network = keras.applications.MobileNetV2((32, 32, 3), 0.35, include_top=False, weights=None)
    path = str(tmp_path / f"stock{end}")
    lively(network)
    network.save_weights(path) if end == ".weights.h5" else network.save(path)
    x = images()
    prepared = keras.applications.mobilenet_v2.preprocess_input(x.copy())
    assert_near(pooled(small(weights=path), x), np.array(network(prepared)).mean(axis=(1, 2)))


@pytest.mark.slow
def test_the_file_of_a_backbone_gives_its_features_too(tmp_path):
    first, path = lively(small((32, 32, 1))), str(tmp_path / "model.keras")
    first.save(path)
    x = images(shape=(32, 32, 1))
    assert_near(pooled(small((32, 32, 1), weights=path), x), pooled(first, x))


@pytest.mark.slow
def test_an_efficientnet_answers_alike_whether_its_weights_come_by_name_or_by_path(
    tmp_path, monkeypatch
):
    network = keras.applications.EfficientNetB0(
        include_top=False, weights=None, input_shape=(32, 32, 3)
    )
    lively(network)
    colours = next(each for each in network.layers if isinstance(each, layers.Normalization))
    colours.set_weights([np.array([0.485, 0.456, 0.406]), np.full(3, 0.05), np.array(0)])
    path = str(tmp_path / "b0.weights.h5")
    network.save_weights(path)
    monkeypatch.setattr("keras.src.utils.file_utils.get_file", lambda *args, **kwargs: path)
    named, given = (
        small(application="EfficientNetB0", weights=weights, alpha=1.0)
        for weights in ("imagenet", path)
    )
    x = images()
    assert_near(pooled(given, x), pooled(named, x))


def test_a_frozen_backbone_learns_in_its_head_alone_and_answers_as_in_inference():
    network, x = lively(small()), images()
    assert_near(pooled(network, x, training=True), pooled(network, x))
    moved, _ = one_step(network)
    assert moved == {"logits/kernel", "logits/bias"}


def test_a_frozen_backbone_drops_nothing_but_in_its_head():
    def dropping(trainable):
        network = outline(
            "backbone", (32, 32, 3), 2, application="EfficientNetB0", trainable=trainable
        )
        return [layer.name for layer in network.layers if isinstance(layer, layers.Dropout)]

    assert dropping("head") == ["dropout"]
    assert len(dropping("all")) > 1


def test_norms_can_stay_as_they_are_while_all_else_learns():
    network = lively(small(trainable="all_but_norms"))
    norms = {
        weight.path
        for layer in network.layers
        if isinstance(layer, layers.BatchNormalization)
        for weight in layer.weights
    }
    learning = {weight.path for weight in network.trainable_weights}
    assert {"Conv1/kernel", "Conv_1/kernel", "logits/bias"} <= learning
    assert len(learning | norms) == len(learning) + len(norms) == len(network.weights)
    moved, still = one_step(network)
    assert norms <= still
    assert "Conv_1/kernel" in moved


@pytest.mark.slow
def test_all_can_learn_with_the_statistics_of_norms():
    moved, _ = one_step(small(trainable="all"))
    assert {"Conv1/kernel", "bn_Conv1/gamma", "bn_Conv1/moving_mean", "logits/bias"} <= moved


@pytest.mark.slow
def test_a_frozen_backbone_stays_frozen_in_its_file(tmp_path):
    small().save(tmp_path / "model.keras")
    reloaded = keras.saving.load_model(tmp_path / "model.keras")
    assert {each.path for each in reloaded.trainable_weights} == {"logits/kernel", "logits/bias"}


@pytest.mark.slow
@pytest.mark.parametrize("application", ["InceptionV3", "NASNetMobile"])
def test_weights_have_the_same_paths_in_every_network_and_in_its_file(application):
    first, second = (outline("backbone", (75, 75, 3), 2, application=application) for _ in range(2))
    with without_values():
        reloaded = keras.Model.from_config(first.get_config())
    paths = [[each.path for each in network.weights] for network in (first, second, reloaded)]
    assert paths[0] == paths[1] == paths[2]
    assert len(set(paths[0])) == len(paths[0])


@pytest.mark.slow
@pytest.mark.parametrize("policy", ["mixed_bfloat16"], indirect=True)
def test_pixels_are_rescaled_in_float32_inside_an_application_too(policy):
    network = outline("backbone", (32, 32, 3), 2, application="EfficientNetB0")
    kinds = (layers.Rescaling, layers.Normalization)
    found = [layer for layer in network.layers if isinstance(layer, kinds)]
    assert [layer.compute_dtype for layer in found] == ["float32"] * 3
    assert network.get_layer("stem_conv").compute_dtype == "bfloat16"


@pytest.mark.slow
def test_the_int8_file_of_grey_images_is_all_integers_and_near(tmp_path):
    network, x = lively(small((32, 32, 1))), images(24, (32, 32, 1))
    saved = runtimes.export(network, tmp_path, (1, 32, 32, 1))
    content, logits = runtimes.convert(saved, x), np.array(network(x)["logits"])
    assert runtimes.float_operations(content) == []
    np.testing.assert_allclose(runtimes.run_tflite(content, x), logits, atol=0.1 * np.ptp(logits))


@pytest.fixture
def empty_cache(tmp_path, monkeypatch):
    """Keras, as if it had never downloaded anything."""
    monkeypatch.setattr("keras.src.utils.file_utils.config.keras_home", lambda: str(tmp_path))
    monkeypatch.setattr("urllib.request._opener", None)


SENTENCE = r"^`weights` must be the path of a file, .* Received: weights='imagenet'$"


def test_weights_that_cannot_be_downloaded_are_refused_with_the_way_offline(
    empty_cache, monkeypatch
):
    def unknown(*args, **kwargs):
        raise socket.gaierror("Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(ValueError, match=SENTENCE):
        models.build("backbone", (32, 32, 3), 2)


def test_a_network_that_never_answers_is_given_up(empty_cache, monkeypatch):
    monkeypatch.setattr(backbone, "PATIENCE_SECONDS", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("https_proxy", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        began = time.monotonic()
        with pytest.raises(ValueError, match=SENTENCE):
            models.build("backbone", (32, 32, 3), 2)
    assert time.monotonic() - began < 20
    assert socket.getdefaulttimeout() is None


def test_a_file_that_does_not_fit_is_refused(tmp_path):
    path = str(tmp_path / "other.weights.h5")
    models.build("mlp", (4, 4, 1), 2, width=1).save_weights(path)
    with pytest.raises(ValueError, match="`weights` must hold what MobileNetV2 has .* Received:"):
        small(weights=path)


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"application": "MobileNetV4"}, "Did you mean 'MobileNetV.*Received: application="),
        ({"weights": "nowhere.h5"}, "`weights` must be 'imagenet', 'none', or .* Received: weigh"),
        ({"trainable": "some"}, "`trainable` must be one of 'head', .* Received: trainable='some'"),
        ({"application": "VGG16", "alpha": 0.5}, "`alpha` must be 1 for VGG16. Received: alpha="),
        ({"shape": (32, 32, 2)}, "1 or 3 channels. Received: input_shape="),
        ({"application": "Xception", "alpha": 1.0}, "Xception, .* at least 71. Received: input_sh"),
    ],
)
def test_what_does_not_suit_an_application_is_refused(options, sentence):
    with pytest.raises(ValueError, match=sentence):
        small(**options)
