import numpy as np
import pytest

import models
from models.resnet import DEPTHS


def test_resnet8_is_the_mlperf_tiny_network_without_the_biases_batch_norm_cancels():
    model = models.build("resnet", (32, 32, 3), 10)
    filters_before_batch_norm = 16 + 2 * (16 + 32 + 64)
    assert filters_before_batch_norm == 240
    assert model.count_params() == 78_666 - filters_before_batch_norm


def test_the_only_convolutions_with_bias_in_resnet8_are_the_projections():
    model = models.build("resnet", (32, 32, 3), 10)
    biases = [weight.path for weight in model.weights if weight.name == "bias"]
    assert biases == [
        "stage2_block1/stage2_block1_projection/bias",
        "stage3_block1/stage3_block1_projection/bias",
        "logits/bias",
    ]


@pytest.mark.parametrize(("variant", "weighted_layers"), [("resnet8", 8), ("resnet20", 20)])
def test_a_resnet_is_named_after_its_layers_with_weights(variant, weighted_layers):
    stem_and_logits = 2
    assert stem_and_logits + 2 * sum(DEPTHS[variant]) == weighted_layers
    assert models.build("resnet", (8, 8, 1), 2, variant=variant, width=1).name == variant


def test_stages_halve_the_image_and_double_the_channels():
    model = models.build("resnet", (32, 32, 3), 10, variant="resnet20")
    shapes = [model.get_layer(f"stage{stage}_block3").output.shape for stage in (1, 2, 3)]
    assert shapes == [(None, 32, 32, 16), (None, 16, 16, 32), (None, 8, 8, 64)]


def test_lenet_of_width_6_has_the_61706_parameters_of_lenet5_on_digits():
    model = models.build("lenet", (28, 28, 1), 10, width=6, batch_norm=False)
    assert model.count_params() == 61_706


def test_lenet_shrinks_the_digit_as_the_paper_does():
    model = models.build("lenet", (28, 28, 1), 10, width=6)
    names = ("conv1", "pool1", "conv2", "pool2", "dense1", "dense2")
    assert [model.get_layer(name).output.shape[1:] for name in names] == [
        (28, 28, 6),
        (14, 14, 6),
        (10, 10, 16),
        (5, 5, 16),
        (120,),
        (84,),
    ]


def test_lenet_without_batch_norm_has_biases_instead():
    with_norm = models.build("lenet", (12, 12, 1), 2, width=1)
    without = models.build("lenet", (12, 12, 1), 2, width=1, batch_norm=False)
    assert sum(weight.name == "bias" for weight in with_norm.weights) == 1
    assert sum(weight.name == "bias" for weight in without.weights) == 5
    assert not any(weight.name == "gamma" for weight in without.weights)


def test_dropout_in_lenet_is_on_the_dense_layers_alone():
    model = models.build("lenet", (12, 12, 1), 2, width=1)
    dropouts = [layer.name for layer in model.layers if "dropout" in layer.name]
    assert dropouts == ["dense1_dropout", "dense2_dropout"]


@pytest.mark.parametrize(("name", "smallest"), [("lenet", 12), ("resnet", 4), ("vgg", 8)])
def test_the_smallest_image_works_and_a_smaller_one_is_refused(name, smallest):
    model = models.build(name, (smallest, smallest, 1), 2, width=1)
    assert model(np.ones((1, smallest, smallest, 1)))["logits"].shape == (1, 2)
    with pytest.raises(ValueError, match=f"at least {smallest}. Received: input_shape="):
        models.build(name, (smallest, smallest - 1, 1), 2)


def test_an_unknown_architecture_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="Did you mean 'resnet'.*Received: name='resnt'"):
        models.build("resnt", (8, 8, 1), 2)


def test_an_unknown_option_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="Did you mean 'width'.*Received: option='widht'"):
        models.build("lenet", (28, 28, 1), 2, widht=6)


def test_an_unknown_variant_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="Did you mean 'resnet20'.*variant='resnet-20'"):
        models.build("resnet", (8, 8, 1), 2, variant="resnet-20")


@pytest.mark.parametrize("name", models.ARCHITECTURES)
@pytest.mark.parametrize(
    "bad",
    [
        {"input_shape": (28, 28)},
        {"input_shape": (None, 28, 1)},
        {"num_classes": 0},
        {"width": 0},
        {"dropout_rate": 1.5},
    ],
)
def test_a_bad_argument_is_refused_by_its_name(name, bad):
    (argument,) = bad
    arguments = {"input_shape": (28, 28, 1), "num_classes": 2, "width": 1, **bad}
    with pytest.raises(ValueError, match=f"`{argument}` must be .* Received: {argument}="):
        models.build(name, **arguments)
