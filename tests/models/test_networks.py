"""What the table of architectures promises, for whichever network."""

import inspect
import re

import numpy as np
import pytest

import models
from tests.models.outlines import outline

BAD = {"input_shape": None, "num_classes": 0, "width": 0, "dropout_rate": 1.5}
# Shapes of the wrong rank, by the rank of the right one.
BAD_SHAPES = {1: (28, 28), 3: (28, 28), 4: (8, 8, 8)}
# Of the sizes of a network of Keras, so without a width; test_backbone.py says more.
STOCK = {"backbone": {"weights": "none", "alpha": 0.35}}
OWN = [name for name in models.ARCHITECTURES if name not in STOCK]
SIZED = [name for name in models.ARCHITECTURES if len(models.default_input_shape(name)) > 1]


def cube(name, size):
    """The shape that a network takes, every size of it `size`."""
    *sizes, channels = models.default_input_shape(name)
    return (*[size] * len(sizes), channels)


def narrow(name):
    """Options that make a network small."""
    return STOCK.get(name, {"width": 1})


def options(name):
    return list(inspect.signature(models.ARCHITECTURES[name]).parameters)[2:]


def smallest_size(name):
    """The least size that a network says it takes, to an input of one pixel."""
    try:
        outline(name, cube(name, 1), 2, **narrow(name))
    except ValueError as error:
        return int(re.search(r"of at least (\d+)\. Received: input_shape=", str(error))[1])
    return 1


def documented_size(name):
    """The least size in the docstring of a network, `None` where it depends on options."""
    function = models.ARCHITECTURES[name]
    text = getattr(function, "func", function).__doc__
    found = re.search(r"at least (\d+), and channels", text)
    return int(found[1]) if found else None


@pytest.mark.parametrize("name", SIZED)
def test_the_smallest_input_is_as_documented_and_works_and_a_smaller_one_is_refused(name):
    smallest = smallest_size(name)
    assert documented_size(name) in (None, smallest)
    shape = cube(name, smallest)
    model = models.build(name, shape, 2, **narrow(name))
    assert np.isfinite(model(np.ones((1, *shape)))["logits"]).all()
    if smallest > 1:
        *sizes, channels = shape
        with pytest.raises(ValueError, match=f"at least {smallest}. Received: input_shape="):
            models.build(name, (*sizes[:-1], smallest - 1, channels), 2)


@pytest.mark.parametrize("name", models.ARCHITECTURES)
def test_every_option_is_a_plain_value_with_a_default(name):
    parameters = inspect.signature(models.ARCHITECTURES[name]).parameters
    assert "width" in options(name) or name in STOCK
    assert {type(parameters[option].default) for option in options(name)} <= {int, float, str, bool}


@pytest.mark.parametrize("name", OWN)
def test_a_network_is_named_as_in_the_table_and_as_wide_as_its_option_says(name):
    shape = models.default_input_shape(name)
    small, wide = (outline(name, shape, 2, width=width) for width in (4, 8))
    assert small.name == wide.name == name
    assert wide.count_params() > small.count_params()
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
    shape = models.default_input_shape(name)
    bad = BAD_SHAPES[len(shape)] if argument == "input_shape" else BAD[argument]
    arguments = {"input_shape": shape, "num_classes": 2, **narrow(name), argument: bad}
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


def test_a_wrong_number_of_classes_is_refused_before_anything_is_built(monkeypatch):
    def build(input_shape, num_classes):
        raise AssertionError("built")

    monkeypatch.setitem(models.ARCHITECTURES, "slow", build)
    with pytest.raises(ValueError, match="`num_classes` must be a positive int"):
        models.build("slow", (8, 8, 1), 0)


def test_the_default_input_suits_the_network_and_names_no_other():
    assert set(models.INPUT_SHAPES) < set(models.ARCHITECTURES)
