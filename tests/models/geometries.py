"""Which geometries tests draw: every rank, padding, stride and dilation that fits."""

from hypothesis import strategies as st

from tests.models import loops

NAMES = ("same", "valid", "narrow", "wide")


def paddings(rank):
    """Every kind of padding: a name, one int, or for each axis an int or a pair."""
    zeros = st.integers(0, 2)
    axis = st.one_of(zeros, st.tuples(zeros, zeros))
    return st.one_of(st.sampled_from(NAMES), zeros, st.tuples(*[axis] * rank))


@st.composite
def windows(draw, ranks=(1, 2, 3), dilated=True):
    """Arguments of a layer, and sizes of an input that the window fits into."""
    rank = draw(st.sampled_from(ranks))
    window = draw(st.tuples(*[st.integers(1, 3)] * rank))
    strides = draw(st.one_of(st.integers(1, 3).map(lambda step: (step,) * rank),
                             st.tuples(*[st.integers(1, 3)] * rank)))  # fmt: skip
    gaps = draw(st.tuples(*[st.integers(1, 3)] * rank)) if dilated else (1,) * rank
    padding = draw(paddings(rank))
    axes = zip(window, strides, gaps, loops.per_axis(padding, rank), strict=True)
    sizes = [draw(fitting_sizes(*axis, room={1: 8, 2: 4, 3: 3}[rank])) for axis in axes]
    arguments = {"kernel_size": window, "strides": strides, "padding": padding}
    return sizes, {**arguments, "dilation_rate": gaps} if dilated else arguments


def fitting_sizes(window, stride, gap, padding, room):
    """Sizes of an axis from the least that leaves a position."""
    reach = (window - 1) * gap + 1
    zeros = 0 if padding == "same" else sum(loops.zeros_around(1, reach, stride, padding))
    least = 1 if padding == "same" else max(1, reach - zeros)
    return st.integers(least, least + room)


@st.composite
def transposed_windows(draw, ranks=(1, 2, 3)):
    """Arguments of a transposed convolution, and sizes of an input of which something is left."""
    sizes, arguments = draw(windows(ranks, dilated=False))
    axes = zip(
        arguments["kernel_size"],
        arguments["strides"],
        loops.per_axis(arguments["padding"], len(sizes)),
        strict=True,
    )
    return [draw(lasting_sizes(*axis)) for axis in axes], arguments


def lasting_sizes(window, stride, padding):
    """Sizes of an axis from the least whose windows stand on more than is cut off."""
    zeros = 0 if padding == "same" else sum(loops.zeros_around(1, window, stride, padding))
    least = 1 if padding == "same" else max(1, -((window - zeros - 1) // stride) + 1)
    return st.integers(least, least + 3)
