"""What the table of architectures promises, for whichever network."""

import inspect

import numpy as np
import pytest

import models
from tests.models.outlines import outline

# Smallest height and width, and depth of volumes.
SMALLEST = {
    "mlp": 1,
    "topology": 6,
    "lenet": 12,
    "alexnet": 15,
    "vgg7": 4,
    "vgg11": 16,
    "vgg13": 16,
    "vgg16": 16,
    "nin": 4,
    "googlenet": 8,
    "autoencoder": 4,
    "resnet3d": 5,
    **{f"{kind}{layers}": 4 for kind in ("resnet", "plain") for layers in (8, 20, 56)},
    **{f"{kind}{layers}": 8 for kind in ("resnet", "plain") for layers in (18, 34, 50)},
}
SEQUENCES = ("textcnn", "idcnn")
BAD = {"input_shape": None, "num_classes": 0, "width": 0, "dropout_rate": 1.5}
BAD_SHAPES = {"image": (28, 28), "volume": (8, 8, 8), "tokens": (28, 28)}


def input_name(name):
    """What the network takes: an image, a volume or tokens."""
    return {"textcnn": "tokens", "idcnn": "tokens", "resnet3d": "volume"}.get(name, "image")


def input_shape(name, size=16):
    """A shape of which every size is `size`."""
    return {"image": (size, size, 1), "volume": (size, size, size, 1), "tokens": (size,)}[
        input_name(name)
    ]


def options(name):
    return list(inspect.signature(models.ARCHITECTURES[name]).parameters)[2:]


def test_every_network_of_images_or_volumes_has_a_smallest_size_here():
    assert {*SMALLEST, *SEQUENCES} == set(models.ARCHITECTURES)


@pytest.mark.parametrize("name", SMALLEST)
def test_the_smallest_input_works_and_a_smaller_one_is_refused(name):
    smallest = SMALLEST[name]
    shape = input_shape(name, smallest)
    model = models.build(name, shape, 2, width=1)
    assert np.isfinite(model(np.ones((1, *shape)))["logits"]).all()
    if smallest > 1:
        *sizes, channels = shape
        with pytest.raises(ValueError, match=f"at least {smallest}. Received: input_shape="):
            models.build(name, (*sizes[:-1], smallest - 1, channels), 2)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_a_network_is_called_by_its_name_in_the_table(name):
    assert outline(name, input_shape(name), 2, width=1).name == name


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_option_is_a_plain_value_with_a_default(name):
    parameters = inspect.signature(models.ARCHITECTURES[name]).parameters
    assert "width" in options(name)
    assert {type(parameters[option].default) for option in options(name)} <= {int, float, str, bool}


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_a_wider_network_has_more_weights_and_its_first_layer_as_many_filters(name):
    narrow, wide = (outline(name, input_shape(name), 2, width=width) for width in (4, 8))
    assert wide.count_params() > narrow.count_params()
    kernels = [weight for weight in wide.trainable_weights if weight.name == "kernel"]
    assert kernels[0].shape[-1] == 8


@pytest.mark.parametrize(
    ("name", "argument"),
    [
        (name, argument)
        for name, architecture in models.ARCHITECTURES.items()
        for argument in inspect.signature(architecture).parameters
        if argument in BAD
    ],
)
def test_a_bad_argument_is_refused_by_its_name(name, argument):
    bad = BAD_SHAPES[input_name(name)] if argument == "input_shape" else BAD[argument]
    arguments = {"input_shape": input_shape(name), "num_classes": 2, "width": 1, argument: bad}
    with pytest.raises(ValueError, match=f"`{argument}` must be .* Received: {argument}="):
        outline(name, **arguments)


def test_an_unknown_architecture_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="Did you mean 'resnet20'.*Received: name='resnt20'"):
        models.build("resnt20", (8, 8, 1), 2)


def test_an_unknown_option_is_refused_with_the_nearest_known():
    with pytest.raises(ValueError, match="Did you mean 'width'.*Received: option='widht'"):
        models.build("lenet", (28, 28, 1), 2, widht=6)


def test_the_variant_is_in_the_name_and_no_option():
    with pytest.raises(ValueError, match="`option` must be one of 'width'.*option='variant'"):
        models.build("vgg11", (28, 28, 1), 2, variant="vgg16")
