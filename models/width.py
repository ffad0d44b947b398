"""The width of a network: one number by which all its layers grow or shrink together."""


def scaled(size, width, standard):
    """Return a layer's `size` in a network of `width`, from its size at the `standard` width.

    Args:
        size: int. Filters or units of the layer in the paper.
        width: int. Filters of the network's first layer.
        standard: int. Filters of the first layer in the paper.

    Example:

    >>> scaled(384, width=48, standard=96)
    192
    """
    return max(1, size * width // standard)
