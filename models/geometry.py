"""The arithmetic of windows that slide over an axis: pure functions on ints."""


def output_size(size, window, stride=1, padding="valid"):
    """Return the number of positions of a `window` that slides over an axis of length `size`.

    Args:
        size: int, or `None` for an axis that is not known yet.
        window: int. Length of the window.
        stride: int. Step of the window.
        padding: int, the zeros added at each end; `"valid"`, which is 0; or `"same"`, which
            adds as many zeros as make the answer `ceil(size / stride)`.

    Example:

    >>> output_size(28, window=5)
    24
    """
    if size is None:
        return None
    if padding == "same":
        return -(-size // stride)
    zeros = 0 if padding == "valid" else padding
    span = size + 2 * zeros - window
    if span < 0:
        raise ValueError(
            "`window` must fit into the padded axis: `window <= size + 2 * padding`. "
            f"Received: window={window}, size={size}, padding={padding!r}"
        )
    return span // stride + 1


def output_sizes(sizes, windows, strides, padding="valid"):
    """Return `output_size` for each axis as a tuple."""
    axes = zip(sizes, windows, strides, strict=True)
    return tuple(output_size(*axis, padding) for axis in axes)
