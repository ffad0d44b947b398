"""The arithmetic of windows that slide over an axis: pure functions on ints."""

from typing import Any

# What padding can be called. `narrow` is the texts' word for `valid`.
PADDINGS = ("same", "valid", "narrow", "wide")
# Typed, for a checker reads `padding="valid"` as a string alone.
Padding = str | int | tuple


def extent(window, dilation=1):
    """Return the length of axis that `window` positions cover, `dilation` apart."""
    return (window - 1) * dilation + 1


def padding_pair(size, window, stride=1, padding: Padding = "valid") -> Any:
    """Return how many zeros stand before and after an axis of length `size`.

    Args:
        size: int, or `None` for an axis that is not known yet.
        window: int. Length that the window covers.
        stride: int. Step of the window.
        padding: `"valid"` or `"narrow"`, no zeros; `"same"`, as many as make `ceil(size / stride)`
            positions, the odd one after; `"wide"`, as many as make every partial overlap a
            position; an int, the zeros at each end; or 2 ints, the zeros before and after.

    Returns:
        2 ints, or `None` where they depend on a size that is not known.

    Example:

    >>> padding_pair(6, window=3, stride=2, padding="same")
    (0, 1)
    """
    if padding in ("valid", "narrow"):
        return 0, 0
    if padding == "wide":
        return window - 1, window - 1
    if padding != "same":
        return (padding, padding) if isinstance(padding, int) else padding
    if size is None:
        if stride > 1:
            return None
        size = 1
    missing = (-(-size // stride) - 1) * stride + window - size
    # Not `max`, so that a size may also be a tensor, known only when a layer runs.
    total = (missing + abs(missing)) // 2
    return total // 2, total - total // 2


def output_size(size, window, stride=1, padding: Padding = "valid"):
    """Return the number of positions of a `window` that slides over an axis of length `size`.

    Args:
        size: int, or `None` for an axis that is not known yet.
        window: int. Length that the window covers.
        stride: int. Step of the window.
        padding: as in `padding_pair`.

    Example:

    >>> output_size(28, window=5)
    24
    """
    if size is None:
        return None
    zeros = sum(padding_pair(size, window, stride, padding))
    span = size + zeros - window
    if isinstance(span, int) and span < 0:
        raise ValueError(
            "`window` must fit into the padded axis: `window <= size + padding`. "
            f"Received: window={window}, size={size}, padding={padding!r}"
        )
    return span // stride + 1


def per_axis_padding(padding, rank):
    """Return what each of `rank` axes is padded with, ready for `padding_pair`."""
    return (padding,) * rank if isinstance(padding, str | int) else padding


def output_sizes(sizes, windows, strides, padding: Padding = "valid"):
    """Return `output_size` for each axis as a tuple; `padding` as layers take it."""
    paddings = per_axis_padding(padding, len(windows))
    axes = zip(sizes, windows, strides, paddings, strict=True)
    return tuple(output_size(*axis) for axis in axes)


def padding_pairs(sizes, windows, strides, padding: Padding = "valid"):
    """Return `padding_pair` for each axis as a tuple; `padding` as layers take it."""
    paddings = per_axis_padding(padding, len(windows))
    axes = zip(sizes, windows, strides, paddings, strict=True)
    return tuple(padding_pair(*axis) for axis in axes)


def transposed_padding_pair(window, stride=1, padding: Padding = "valid") -> Any:
    """Return how many positions a transposed convolution cuts off before and after an axis.

    They are those that its convolution pads where the output's size is a multiple of `stride`.
    """
    return padding_pair(stride, window, stride, padding)


def transposed_size(size, window, stride=1, padding: Padding = "valid"):
    """Return the length of axis that `size` positions of a sliding `window` stand on.

    With `"same"` padding that is `size * stride`; else what the positions cover, less the zeros.

    Args:
        size: int, or `None` for an axis that is not known yet.
        window: int. Length that the window covers.
        stride: int. Step of the window.
        padding: as in `padding_pair`.

    Example:

    >>> transposed_size(24, window=5)
    28
    """
    if size is None:
        return None
    if padding == "same":
        return size * stride
    length = (size - 1) * stride + window - sum(transposed_padding_pair(window, stride, padding))
    if isinstance(length, int) and length < 1:
        raise ValueError(
            "`padding` must leave a position: `(size - 1) * stride + window > padding`. "
            f"Received: padding={padding!r}, size={size}, stride={stride}, window={window}"
        )
    return length


def transposed_sizes(sizes, windows, strides, padding: Padding = "valid"):
    """Return `transposed_size` for each axis as a tuple; `padding` as layers take it."""
    paddings = per_axis_padding(padding, len(windows))
    axes = zip(sizes, windows, strides, paddings, strict=True)
    return tuple(transposed_size(*axis) for axis in axes)


def transposed_padding_pairs(windows, strides, padding: Padding = "valid"):
    """Return `transposed_padding_pair` for each axis as a tuple; `padding` as layers take it."""
    paddings = per_axis_padding(padding, len(windows))
    axes = zip(windows, strides, paddings, strict=True)
    return tuple(transposed_padding_pair(*axis) for axis in axes)
