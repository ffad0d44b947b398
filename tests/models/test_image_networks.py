"""How the networks of images shrink them, and what they are made of."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import models
from models.topology import smallest_size
from tests.models.outlines import outline, output_shapes

PHOTOGRAPH = (224, 224, 3)


def sizes(model, names):
    """Height of what each of the layers answers."""
    return [height for height, *_ in output_shapes(model, names)]


def layer_names(model, word):
    return [layer.name for layer in model.layers if word in layer.name]


@pytest.mark.parametrize(
    ("name", "layers", "options"),
    [
        ("lenet", 5, {}),
        ("alexnet", 8, {}),
        ("vgg11", 11, {"head": "dense"}),
        ("vgg13", 13, {"head": "dense"}),
        ("vgg16", 16, {"head": "dense"}),
        ("vgg7", 7, {}),
        *(
            (f"{kind}{layers}", layers, {})
            for kind in ("resnet", "plain")
            for layers in (8, 18, 20, 34, 50, 56)
        ),
    ],
)
def test_a_network_is_named_after_its_layers_with_weights(name, layers, options):
    model = outline(name, (28, 28, 1), 2, width=2, **options)
    kernels = [weight.path for weight in model.weights if weight.name == "kernel"]
    assert len([path for path in kernels if "projection" not in path]) == layers


def test_the_first_network_of_the_texts_has_24x24_neurons_pooled_to_12x12():
    model = outline("topology", (28, 28, 1), 10)
    names = ("block1_conv1", "block1_pool", "flatten", "logits")
    assert output_shapes(model, names) == [(24, 24, 20), (12, 12, 20), (2880,), (10,)]


def test_the_topology_repeats_what_its_formula_says():
    model = outline("topology", (64, 64, 1), 10, m=2, n=3, k=2, width=4, kernel_size=3, units=7)
    assert layer_names(model, "conv")[::2] == [
        f"block{block}_conv{index}" for block in (1, 2, 3) for index in (1, 2)
    ]
    assert sizes(model, layer_names(model, "pool")) == [30, 13, 4]
    assert output_shapes(model, ("block3_pool", "dense1", "logits")) == [(4, 4, 16), (7,), (10,)]


def test_a_topology_without_pools_keeps_what_same_padding_keeps():
    model = outline("topology", (9, 9, 1), 10, m=2, n=2, padding="same", pool=False)
    assert layer_names(model, "pool") == []
    assert model.get_layer("block2_conv2").output.shape == (None, 9, 9, 40)


def fits(size, m, n, kernel_size, padding, pool):
    """Whether windows and pools of a topology find a place, one after the other."""
    for _ in range(n):
        for _ in range(m):
            size += {"valid": 0, "same": kernel_size - 1, "wide": 2 * (kernel_size - 1)}[padding]
            size -= kernel_size - 1
            if size < 1:
                return False
        size = size // 2 if pool else size
    return size >= 1


COUNT = st.integers(1, 4)


@settings(max_examples=100)
@given(COUNT, COUNT, COUNT, st.sampled_from(["valid", "same", "wide"]), st.booleans())
def test_the_smallest_image_of_a_topology_is_the_first_that_fits(m, n, kernel_size, padding, pool):
    window = (m, n, kernel_size, padding, pool)
    expected = next(size for size in range(1, 1000) if fits(size, *window))
    assert smallest_size(*window) == expected


def test_lenet_shrinks_the_digit_as_the_paper_does():
    model = outline("lenet", (28, 28, 1), 10, width=6)
    names = ("conv1", "pool1", "conv2", "pool2", "dense1", "dense2")
    assert output_shapes(model, names) == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (120,),
        (84,),
    ]


@pytest.mark.parametrize(("name", "biases"), [("lenet", 5), ("topology", 2), ("alexnet", 8)])
def test_without_batch_norm_there_are_biases_instead(name, biases):
    with_norm = outline(name, (28, 28, 1), 2, width=2, batch_norm=True)
    without = outline(name, (28, 28, 1), 2, width=2, batch_norm=False)
    norms = sum(weight.name == "gamma" for weight in with_norm.weights)
    assert norms > 0
    assert sum(weight.name == "bias" for weight in with_norm.weights) == biases - norms
    assert sum(weight.name == "bias" for weight in without.weights) == biases
    assert not any(weight.name == "gamma" for weight in without.weights)


@pytest.mark.parametrize("name", ["lenet", "alexnet"])
def test_dropout_is_on_the_dense_layers_alone(name):
    model = outline(name, (28, 28, 1), 2, width=2)
    assert layer_names(model, "dropout") == ["dense1_dropout", "dense2_dropout"]


def test_alexnet_shrinks_a_photograph_as_the_paper_does():
    model = outline("alexnet", PHOTOGRAPH, 1000)
    names = ("conv1", "conv1_pool", "conv2", "conv2_pool", "conv3", "conv4", "conv5", "conv5_pool")
    assert sizes(model, names) == [55, 27, 27, 13, 13, 13, 13, 6]
    channels = [shape[-1] for shape in output_shapes(model, names)]
    assert channels == [96, 96, 256, 256, 384, 384, 256, 256]


@pytest.mark.parametrize(("size", "last"), [(28, 2), (32, 3), (63, 7), (64, 1)])
def test_alexnet_looks_at_every_position_of_a_small_image(size, last):
    model = outline("alexnet", (size, size, 1), 10, width=2)
    first = size if size < 64 else 15
    assert sizes(model, ("conv1", "conv5_pool")) == [first, last]


def test_a_filter_of_alexnet_sees_one_of_the_groups():
    halves, whole = (outline("alexnet", PHOTOGRAPH, 10, groups=groups) for groups in (2, 1))
    for name, seen, all_channels in (("conv2", 48, 96), ("conv4", 192, 384), ("conv5", 192, 384)):
        assert halves.get_layer(name).kernel.shape[2] == seen
        assert whole.get_layer(name).kernel.shape[2] == all_channels
    assert halves.get_layer("conv3").kernel.shape[2] == 256


def test_a_width_that_groups_do_not_divide_is_rounded_up():
    model = models.build("alexnet", (28, 28, 1), 3, width=5, groups=3)
    filters = [model.get_layer(f"conv{index}").filters for index in range(1, 6)]
    assert filters == [6, 15, 21, 21, 15]
    assert model(np.ones((1, 28, 28, 1)))["logits"].shape == (1, 3)


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("vgg7", 28, [14, 7, 3]),
        ("vgg7", 32, [16, 8, 4]),
        ("vgg11", 28, [14, 7, 3, 1, 1]),
        ("vgg16", 32, [16, 8, 4, 2, 1]),
        ("vgg16", 224, [112, 56, 28, 14, 7]),
    ],
)
def test_a_block_of_vgg_halves_the_image_while_there_is_something_to_halve(name, size, expected):
    model = outline(name, (size, size, 1), 10, width=2)
    assert sizes(model, layer_names(model, "block")) == expected


def test_the_head_of_vgg_is_an_average_or_two_dense_layers():
    average = outline("vgg11", (32, 32, 3), 10, width=2)
    dense = outline("vgg11", (32, 32, 3), 10, width=2, head="dense")
    assert [layer.name for layer in average.layers[-3:]] == ["pool", "dropout", "logits"]
    assert output_shapes(dense, ("dense1", "dense2")) == [(128,), (128,)]
    with pytest.raises(ValueError, match="Did you mean 'dense'.*Received: head='dens'"):
        models.build("vgg11", (32, 32, 3), 10, head="dens")


@pytest.mark.parametrize(("size", "expected"), [(32, [32, 16, 8]), (28, [28, 14, 7])])
def test_nin_ends_in_one_map_for_each_class(size, expected):
    model = outline("nin", (size, size, 3), 7, width=8)
    names = ("block1", "block2", "block3")
    assert sizes(model, names) == expected
    assert model.get_layer("block3").output.shape[-1] == 7
    assert type(model.get_layer("logits")).__name__ == "GlobalAveragePool2D"


def test_googlenet_shrinks_a_photograph_as_table_1_says():
    model = outline("googlenet", PHOTOGRAPH, 1000)
    expected = {
        "conv1": (112, 112, 64),
        "pool1": (56, 56, 64),
        "conv2": (56, 56, 192),
        "pool2": (28, 28, 192),
        "inception3a": (28, 28, 256),
        "inception3b": (28, 28, 480),
        "pool3": (14, 14, 480),
        "inception4a": (14, 14, 512),
        "inception4b": (14, 14, 512),
        "inception4c": (14, 14, 512),
        "inception4d": (14, 14, 528),
        "inception4e": (14, 14, 832),
        "pool4": (7, 7, 832),
        "inception5a": (7, 7, 832),
        "inception5b": (7, 7, 1024),
        "pool": (1024,),
    }
    assert output_shapes(model, expected) == list(expected.values())


@pytest.mark.parametrize(("size", "expected"), [(28, [28, 14, 7, 4]), (32, [32, 16, 8, 4])])
def test_googlenet_begins_without_steps_on_a_small_image(size, expected):
    model = outline("googlenet", (size, size, 1), 10, width=4)
    assert sizes(model, ("conv2", "inception3b", "inception4e", "inception5b")) == expected


@pytest.mark.parametrize(
    ("name", "size", "expected"),
    [
        ("resnet18", 224, [112, 56, 56, 28, 14, 7]),
        ("resnet18", 64, [32, 16, 16, 8, 4, 2]),
        ("resnet18", 32, [32, 32, 16, 8, 4]),
        ("resnet18", 28, [28, 28, 14, 7, 4]),
        ("resnet20", 32, [32, 32, 16, 8]),
        ("resnet20", 224, [224, 224, 112, 56]),
    ],
)
def test_a_resnet_halves_large_images_twice_before_its_stages(name, size, expected):
    model = outline(name, (size, size, 3), 10, width=2)
    stem = ["stem_conv", *layer_names(model, "stem_pool")]
    stages = [each for each in layer_names(model, "stage") if each.endswith("block1")]
    assert sizes(model, [*stem, *stages]) == expected


@pytest.mark.parametrize(
    ("name", "channels"),
    [
        ("resnet20", [16, 32, 64]),
        ("resnet34", [64, 128, 256, 512]),
        ("resnet50", [256, 512, 1024, 2048]),
    ],
)
def test_stages_double_the_channels(name, channels):
    model = outline(name, (32, 32, 3), 10)
    stages = [each for each in layer_names(model, "stage") if each.endswith("block3")]
    assert [shape[-1] for shape in output_shapes(model, stages)] == channels


def test_the_only_convolutions_with_bias_in_resnet8_are_the_projections():
    model = outline("resnet8", (32, 32, 3), 10)
    biases = [weight.path for weight in model.weights if weight.name == "bias"]
    assert biases == [
        "stage2_block1/stage2_block1_projection/bias",
        "stage3_block1/stage3_block1_projection/bias",
        "logits/bias",
    ]


@pytest.mark.parametrize("name", ["resnet20", "resnet18"])
def test_a_plain_twin_has_the_weights_and_not_the_answers_of_its_resnet(name):
    residual = models.build(name, (8, 8, 1), 3, width=2, shortcut="padding")
    plain = models.build(name.replace("resnet", "plain"), (8, 8, 1), 3, width=2)
    plain.set_weights(residual.get_weights())
    x = np.random.default_rng(0).uniform(0, 255, size=(4, 8, 8, 1))
    assert not np.allclose(plain(x)["logits"], residual(x)["logits"], rtol=0.01)


@pytest.mark.parametrize(
    ("size", "expected"), [(112, [56, 56, 28, 14, 7]), (28, [28, 28, 14, 7, 4])]
)
def test_resnet3d_shrinks_films_and_volumes(size, expected):
    model = outline("resnet3d", (16, size, size, 3), 10, width=2)
    names = ("stem_conv", *(f"stage{stage}_block2" for stage in (1, 2, 3, 4)))
    shapes = output_shapes(model, names)
    assert [shape[:3] for shape in shapes] == [
        (depth, size, size) for depth, size in zip([16, 16, 8, 4, 2], expected, strict=True)
    ]


@pytest.mark.parametrize("shape", [(28, 28), (32, 32), (30, 30), (15, 15), (15, 28), (4, 5)])
@pytest.mark.parametrize("num_classes", [None, 6])
def test_the_autoencoder_answers_for_every_pixel_of_an_image_of_any_size(shape, num_classes):
    model = models.build("autoencoder", (*shape, 3), num_classes, width=2)
    answers = model(np.ones((2, *shape, 3)))["logits"]
    assert answers.shape == (2, *shape, num_classes or 3)


def test_the_autoencoder_halves_and_doubles_as_often_as_it_is_deep():
    model = outline("autoencoder", (30, 30, 1), None, width=4, depth=3)
    names = [f"encoder{index}_conv" for index in (1, 2, 3)]
    assert output_shapes(model, names) == [(15, 15, 4), (8, 8, 8), (4, 4, 16)]
    names = ("decoder3_conv", "decoder2_conv", "decoder2_cut", "decoder1_conv")
    assert sizes(model, names) == [8, 16, 15, 30]
