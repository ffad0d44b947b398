import pytest
from hypothesis import given
from hypothesis import strategies as st

from models.geometry import output_size, output_sizes


def test_five_wide_field_over_28_pixels_has_24_positions_and_moves_at_most_23():
    positions = output_size(28, window=5)
    assert positions == 24
    assert positions - 1 == 23


@pytest.mark.parametrize(
    ("size", "window", "stride", "padding", "expected"),
    [(32, 5, 1, 0, 28), (6, 3, 1, 0, 4), (7, 3, 1, 1, 7), (8, 3, 2, 1, 4), (24, 2, 2, 0, 12)],
)
def test_output_size_is_the_figure_of_the_texts(size, window, stride, padding, expected):
    assert output_size(size, window, stride, padding) == expected


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5), st.integers(0, 4))
def test_output_size_counts_the_windows_that_fit(size, window, stride, padding):
    padded = size + 2 * padding
    starts = [start for start in range(0, padded, stride) if start + window <= padded]
    if starts:
        assert output_size(size, window, stride, padding) == len(starts)
    else:
        with pytest.raises(ValueError, match="`window` must fit"):
            output_size(size, window, stride, padding)


@given(st.integers(1, 40), st.integers(1, 9), st.integers(1, 5))
def test_same_padding_counts_every_start_inside_the_axis(size, window, stride):
    assert output_size(size, window, stride, "same") == len(range(0, size, stride))


@given(st.integers(9, 40), st.integers(1, 9), st.integers(1, 5))
def test_valid_padding_is_no_padding(size, window, stride):
    assert output_size(size, window, stride, "valid") == output_size(size, window, stride, 0)


def test_an_unknown_size_stays_unknown():
    assert output_sizes((None, 28), (5, 5), (1, 1)) == (None, 24)


def test_a_window_that_does_not_fit_is_named_with_what_was_received():
    message = r"`window` must fit.*Received: window=5, size=3, padding='valid'"
    with pytest.raises(ValueError, match=message):
        output_size(3, window=5)
