import pytest

import models
from tests.models.outlines import outline

IMAGE = (28, 28, 1)


def test_its_weights_are_those_of_its_layers():
    # Down and one more convolution in each stage; four numbers of each norm a channel.
    pairs = [(1, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256)]
    convolutions = sum(9 * channels * filters for channels, filters in pairs)
    norms = sum(4 * filters for _, filters in pairs)
    network = outline("davidnet", IMAGE, 10)
    assert network.count_params() == convolutions + norms + 256 * 10 + 10


def test_without_shortcuts_it_has_the_weights_of_a_vgg():
    plain = outline("davidnet", IMAGE, 10, width=32, shortcut=False)
    assert plain.count_params() == outline("vgg7", IMAGE, 10, width=32).count_params()


def test_options_shape_it():
    network = models.build("davidnet", IMAGE, 10, width=4, growth=1.5, stages=2, depth=2, stem=True)
    shapes = {layer.name: layer.output.shape[1:] for layer in network.layers}
    assert shapes["stem_relu"] == (28, 28, 4)
    assert shapes["stage1_down_relu"] == shapes["stage1_2_add"] == (14, 14, 4)
    assert shapes["stage2_down_relu"] == shapes["stage2_2_add"] == (7, 7, 6)
    assert not any(name.startswith(("stage3", "stage1_3")) for name in shapes)


def test_maps_are_halved_before_they_are_normalized():
    network = models.build("davidnet", IMAGE, 10, width=2)
    for index, size in [(1, 14), (2, 7), (3, 3)]:
        assert network.get_layer(f"stage{index}_down_norm").input.shape[1] == size


def test_too_small_an_image_is_refused():
    with pytest.raises(ValueError, match="at least 8"):
        models.build("davidnet", (7, 12, 1), 10)
