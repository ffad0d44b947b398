import numpy as np
import pytest

from models.layers.arguments import (
    fraction,
    one_of,
    per_axis,
    positive_int,
    positive_ints,
    positive_number,
)


@pytest.mark.parametrize("value", [0, -1, 1.5, True, "3", None])
def test_positive_int_refuses_and_shows(value):
    with pytest.raises(ValueError, match=rf"`filters` must be .* Received: filters={value!r}"):
        positive_int(value, "filters")


def test_positive_int_takes_a_numpy_int_and_returns_a_plain_one():
    assert type(positive_int(np.int64(3), "filters")) is int


@pytest.mark.parametrize("value", [3, (3,), (3, 3, 3), (3, 0), (3, 1.5), "33"])
def test_positive_ints_refuses_another_length_or_content(value):
    with pytest.raises(ValueError, match="`sizes` must be a tuple of 2 positive ints"):
        positive_ints(value, 2, "sizes")


def test_one_int_stands_for_every_axis():
    assert per_axis(3, 2, "kernel_size") == (3, 3)


def test_a_list_as_it_comes_from_json_becomes_a_tuple():
    assert per_axis([3, 1], 2, "kernel_size") == (3, 1)


@pytest.mark.parametrize("value", [-0.1, 1, 1.5, "0.5", None, float("nan")])
def test_fraction_refuses_and_shows(value):
    with pytest.raises(ValueError, match=rf"`rate` must be .* Received: rate={value!r}"):
        fraction(value, "rate")


@pytest.mark.parametrize("value", [0, -1.5, "2", None, float("nan"), float("inf")])
def test_positive_number_refuses_and_shows(value):
    with pytest.raises(ValueError, match=rf"`growth` must be .* Received: growth={value!r}"):
        positive_number(value, "growth")


def test_one_of_lists_the_choices_and_names_the_nearest():
    with pytest.raises(ValueError, match="'same', 'valid'. Did you mean 'same'.*padding='smae'"):
        one_of("smae", ("same", "valid"), "padding")


def test_one_of_refuses_a_value_that_cannot_be_a_key():
    with pytest.raises(ValueError, match=r"Received: variant=\[\]"):
        one_of([], {"resnet8": ()}, "variant")


@pytest.mark.parametrize("value", [(), 3, (1, 0)])
def test_positive_ints_of_any_number_must_be_one_or_more(value):
    with pytest.raises(ValueError, match="`rates` must be a tuple of positive ints. Received"):
        positive_ints(value, None, "rates")


def test_positive_ints_of_any_number_become_a_tuple():
    assert positive_ints([1, 2, 4], None, "rates") == (1, 2, 4)
