import keras
import numpy as np
import pytest

import models
from models.airbench import Dirac, whitening_kernel
from models.layers import Conv2D
from tests.models.outlines import outline


@pytest.mark.parametrize(("channels", "filters"), [(3, 8), (5, 5), (6, 2)])
def test_a_dirac_convolution_passes_channels_on(channels, filters):
    x = np.random.default_rng(0).normal(size=(2, 7, 6, channels)).astype("float32")
    y = Conv2D(filters, 3, kernel_initializer=Dirac(seed=0))(x)
    passed = min(channels, filters)
    np.testing.assert_allclose(y[..., :passed], x[..., :passed], atol=1e-6)


def test_filters_beyond_the_channels_are_drawn_with_a_third_of_the_variance():
    kernel = np.array(Dirac(seed=1)((3, 3, 16, 256)))[..., 16:]
    assert kernel.var() == pytest.approx(1 / (3 * 9 * 16), rel=0.05)
    assert abs(kernel).max() <= 1 / np.sqrt(9 * 16) + 1e-6


def test_the_initializer_survives_its_configuration():
    again = keras.initializers.deserialize(keras.initializers.serialize(Dirac(seed=4)))
    np.testing.assert_array_equal(again((3, 3, 2, 5)), Dirac(seed=4)((3, 3, 2, 5)))


def test_whitening_filters_come_in_pairs_of_both_signs_the_smoothest_first():
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 1), np.uint8)
    kernel = whitening_kernel(images)
    assert kernel.shape == (2, 2, 1, 8)
    np.testing.assert_array_equal(kernel[..., 4:], -kernel[..., :4])
    # The mean of noise varies most: its filter has one sign.
    assert len(np.unique(np.sign(kernel[..., 0]))) == 1


def test_its_weights_are_those_of_its_layers():
    def norm(channels):
        return 4 * channels

    convolutions = 4 * 8 + 9 * (8 * 32 + 32 * 32 + 32 * 128 + 3 * 128 * 128)
    norms = 2 * norm(32) + 4 * norm(128)
    network = outline("airbench", (28, 28, 1), 10, width=32)
    assert network.count_params() == convolutions + norms + 128 * 10 + 10


def test_maps_are_halved_three_times_after_a_narrow_window():
    network = models.build("airbench", (28, 28, 1), 10, width=2)
    sizes = [network.get_layer(f"block{index}_2_relu").output.shape[1] for index in (1, 2, 3)]
    assert network.get_layer("whitening").output.shape[1:] == (27, 27, 8)
    assert sizes == [13, 6, 3]


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="at least 9"):
        models.build("airbench", (8, 12, 1), 10)
