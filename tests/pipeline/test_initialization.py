import keras
import numpy as np
import pytest

import models
from pipeline.recipe import Training
from pipeline.training import initialization
from serving.errors import ConvoyError


def initialize(network, training, seed, images=None):
    initialization.initialize(network, training, seed, images)


def lenet(**options):
    return models.build("lenet", (28, 28, 1), 10, **options)


def kernels(network):
    return {
        weight.path: np.array(weight)
        for weight in network.trainable_variables
        if len(weight.shape) > 1
    }


# Rule -> its variance, given how many values a sum takes and how many sums take a value.
VARIANCES = {
    "he_normal": lambda taken, given: 2 / taken,
    "lecun_normal": lambda taken, given: 1 / taken,
    "glorot_uniform": lambda taken, given: 2 / (taken + given),
    "wide": lambda taken, given: 1,
    "zeros": lambda taken, given: 0,
}


@pytest.mark.parametrize("rule", VARIANCES)
def test_every_kernel_begins_by_the_rule_of_the_recipe(rule):
    network = lenet()
    initialize(network, Training(initialization=rule), seed=3)
    for path, kernel in kernels(network).items():
        *window, given, units = kernel.shape
        area = int(np.prod(window))
        expected = VARIANCES[rule](area * given, area * units)
        assert kernel.var() == pytest.approx(expected, rel=6 / np.sqrt(kernel.size)), path


def test_kernels_begin_as_the_seed_says_and_no_two_alike():
    first, again, other = (lenet() for _ in range(3))
    for network, seed in ((first, 1), (again, 1), (other, 2)):
        initialize(network, Training(initialization="he_normal"), seed)
    paths = kernels(first)
    for path in paths:
        np.testing.assert_array_equal(kernels(first)[path], kernels(again)[path])
        assert (kernels(first)[path] != kernels(other)[path]).any()
    starts = {tuple(kernel.ravel()[:3] / kernel.std()) for kernel in paths.values()}
    assert len(starts) == len(paths)


def test_a_network_that_is_left_as_it_is_keeps_its_own_start():
    network = lenet()
    before = network.get_weights()
    initialize(network, Training(), seed=3)
    for weight, same in zip(before, network.get_weights(), strict=True):
        np.testing.assert_array_equal(weight, same)


def test_a_training_starts_from_the_weights_of_a_run(smoke_run):
    trained = keras.saving.load_model(smoke_run.network)
    for source in (smoke_run.folder, smoke_run.network):
        network = lenet()
        initialize(network, Training(start_from=source), seed=3)
        for weight, same in zip(trained.get_weights(), network.get_weights(), strict=True):
            np.testing.assert_array_equal(weight, same)


def test_layers_of_another_shape_keep_their_own_start(smoke_run):
    network = models.build("lenet", (28, 28, 1), 3)
    before = {weight.path: np.array(weight) for weight in network.weights}
    initialize(network, Training(start_from=smoke_run.folder), seed=3)
    changed = {
        weight.path for weight in network.weights if (np.array(weight) != before[weight.path]).any()
    }
    assert "logits/kernel" not in changed
    assert {"conv1/kernel", "conv2/kernel"} <= changed


def test_a_source_without_weights_is_refused(tmp_path):
    with pytest.raises(ConvoyError, match="cannot start from .*: expected a finished run's folder"):
        initialize(lenet(), Training(start_from=tmp_path), seed=3)


def test_a_damaged_source_is_refused(run_copy):
    path = run_copy.network
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)
    with pytest.raises(ConvoyError, match="cannot start from .*: expected a finished run's folder"):
        initialize(lenet(), Training(start_from=path), seed=3)


def test_a_source_with_layers_that_nobody_knows_is_refused(tmp_path):
    class Unknown(keras.layers.Layer):
        """Of another program."""

        def call(self, inputs):
            return inputs

    image = keras.Input((12, 12, 1))
    keras.Model(image, Unknown()(image)).save(tmp_path / "other.keras")
    with pytest.raises(ConvoyError, match="cannot start from .*: expected a finished run's folder"):
        initialize(lenet(), Training(start_from=tmp_path / "other.keras"), seed=3)


def test_weights_that_fit_nowhere_are_refused(smoke_run):
    with pytest.raises(ConvoyError, match="expected weights that fit `resnet8`, received those"):
        initialize(
            models.build("resnet8", (28, 28, 1), 3),
            Training(start_from=smoke_run.folder),
            seed=3,
        )


def test_the_whitened_patches_of_the_images_are_uncorrelated_and_of_one_size():
    random = np.random.default_rng(0)
    # Neighbours are alike.
    images = np.cumsum(random.normal(size=(200, 12, 12, 2)), axis=2) * 12 + 128
    images = np.clip(images, 0, 255).astype("uint8")
    network = models.build("airbench", (12, 12, 2), 3, width=4)
    initialize(network, Training(), 0, images)
    layer = network.get_layer("whitening")
    maps = np.array(layer(images.astype("float32") / 255)).reshape(-1, 16)
    np.testing.assert_allclose(maps[:, :8], -maps[:, 8:], atol=1e-4)
    second_moments = maps[:, :8].T @ maps[:, :8] / len(maps)
    np.testing.assert_allclose(second_moments - np.diag(np.diag(second_moments)), 0, atol=1e-3)
    assert (np.diag(second_moments) > 0.5).all()
    assert np.diag(second_moments).max() < 1.001
    assert layer.kernel.path not in [weight.path for weight in network.trainable_variables]
