"""Plain loops over positions and taps: what a window that slides over 1, 2 or 3 axes must give.

Each reference returns the output and a function from its gradient to that of every input. A step
is a reference of `x` alone, its gradient function giving that of `x` and those of its own weights.
"""

import itertools
import math

import numpy as np


def zeros_around(size, reach, stride, padding):
    """How many zeros stand before and after an axis; `padding` is one axis's own."""
    if padding in ("valid", "narrow"):
        return 0, 0
    if padding == "wide":
        return reach - 1, reach - 1
    if padding == "same":
        total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
        return total // 2, total - total // 2
    return (padding, padding) if isinstance(padding, int) else padding


def per_axis(padding, rank):
    """The padding of each axis; a name and one int stand for all."""
    return [padding] * rank if isinstance(padding, str | int) else list(padding)


class Sliding:
    """Every place of a window: `positions` per axis, and which `x` each `tap` sees there."""

    def __init__(self, sizes, window, strides, padding, dilation_rate=None):
        rank = len(sizes)
        self.window = window
        axes = [
            axis_places(*axis)
            for axis in zip(
                sizes,
                window,
                strides,
                per_axis(padding, rank),
                dilation_rate or (1,) * rank,
                strict=True,
            )
        ]
        self.positions = tuple(count for count, _ in axes)
        self.places = [place for _, place in axes]

    def __iter__(self):
        """Yield position, tap and place in `x`, each an index for all axes, padding left out."""
        for combination in itertools.product(*self.places):
            yield tuple(zip(*combination, strict=True))

    def windows(self):
        """Return each position with all the places that its window sees."""
        seen = {position: [] for position in np.ndindex(*self.positions)}
        for position, _, place in self:
            seen[position].append(place)
        return seen.items()


def axis_places(size, window, stride, padding, dilation):
    """Count the positions on one axis, and list (position, tap, index) without the padding."""
    reach = (window - 1) * dilation + 1
    before, after = zeros_around(size, reach, stride, padding)
    starts = [
        start for start in range(-before, size + after, stride) if start + reach <= size + after
    ]
    places = [
        (position, tap, start + tap * dilation)
        for position, start in enumerate(starts)
        for tap in range(window)
        if 0 <= start + tap * dilation < size
    ]
    return len(starts), places


def at(index):
    """An index of the axes between batch and channels."""
    return (slice(None), *index)


def conv(x, kernel, bias, strides, padding, dilation_rate=None, groups=1):
    """Cross-correlation with `kernel`, `(*window, channels / groups, filters)`."""
    x, kernel = np.float64(x), np.float64(kernel)
    sliding = Sliding(x.shape[1:-1], kernel.shape[:-2], strides, padding, dilation_rate)
    parts = [
        (np.s_[..., group * x.shape[-1] // groups : (group + 1) * x.shape[-1] // groups],
         np.s_[..., group * kernel.shape[-1] // groups : (group + 1) * kernel.shape[-1] // groups])
        for group in range(groups)
    ]  # fmt: skip
    y = np.zeros((len(x), *sliding.positions, kernel.shape[-1])) + bias
    for position, tap, place in sliding:
        for channels, filters in parts:
            y[at(position)][filters] += x[at(place)][channels] @ kernel[tap][filters]

    def gradient(dy):
        dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
        for position, tap, place in sliding:
            for channels, filters in parts:
                arriving = np.float64(dy)[at(position)][filters]
                dx[at(place)][channels] += arriving @ kernel[tap][filters].T
                dkernel[tap][filters] += x[at(place)][channels].T @ arriving
        return dx, dkernel, np.float64(dy).reshape(-1, dy.shape[-1]).sum(axis=0)

    return y, gradient


def depthwise_conv(x, kernel, bias, strides, padding, dilation_rate=None):
    """Each channel by its own filters: `kernel` is `(*window, channels, multiplier)`."""
    *window, channels, multiplier = kernel.shape
    filters = np.reshape(kernel, (*window, 1, channels * multiplier))
    y, gradient = conv(x, filters, bias, strides, padding, dilation_rate, groups=channels)

    def reshaped(dy):
        dx, dfilters, dbias = gradient(dy)
        return dx, dfilters.reshape(kernel.shape), dbias

    return y, reshaped


def local_conv(x, kernel, bias, window, strides, padding):
    """Each position by filters of its own: `kernel` is `(*positions, taps * channels, filters)`."""
    x, kernel = np.float64(x), np.float64(kernel)
    sliding, channels = Sliding(x.shape[1:-1], window, strides, padding), x.shape[-1]

    def rows(tap):
        first = int(np.ravel_multi_index(tap, window)) * channels
        return slice(first, first + channels)

    y = np.zeros((len(x), *sliding.positions, kernel.shape[-1])) + bias
    for position, tap, place in sliding:
        y[at(position)] += x[at(place)] @ kernel[position][rows(tap)]

    def gradient(dy):
        dx, dkernel = np.zeros_like(x), np.zeros_like(kernel)
        for position, tap, place in sliding:
            arriving = np.float64(dy)[at(position)]
            dx[at(place)] += arriving @ kernel[position][rows(tap)].T
            dkernel[position][rows(tap)] += x[at(place)].T @ arriving
        return dx, dkernel, np.float64(dy).sum(axis=0)

    return y, gradient


def conv_transpose(x, kernel, bias, strides, padding):
    """Spread each position over a window: `kernel` is `(*window, filters, channels)`.

    Written as a loop of its own: each position adds to all places that its window stands on, in
    an axis long enough for all, from which padding is then cut.
    """
    x, kernel, rank = np.float64(x), np.float64(kernel), x.ndim - 2
    window, cuts, lengths = kernel.shape[:-2], [], []
    axes = zip(x.shape[1:-1], window, strides, per_axis(padding, rank), strict=True)
    for size, width, stride, kind in axes:
        before, after = zeros_around(size * stride, width, stride, kind)
        whole = max((size - 1) * stride + width, size * stride if kind == "same" else 0)
        end = before + size * stride if kind == "same" else whole - after
        cuts.append(slice(before, end))
        lengths.append(whole)
    cut = at(cuts)

    def places():
        for position in np.ndindex(*x.shape[1:-1]):
            for tap in np.ndindex(*window):
                steps = zip(position, strides, tap, strict=True)
                yield position, tap, tuple(index * stride + off for index, stride, off in steps)

    whole = np.zeros((len(x), *lengths, kernel.shape[-2]))
    for position, tap, place in places():
        whole[at(place)] += x[at(position)] @ kernel[tap].T

    def gradient(dy):
        dwhole, dx, dkernel = np.zeros_like(whole), np.zeros_like(x), np.zeros_like(kernel)
        dwhole[cut] = dy
        for position, tap, place in places():
            dx[at(position)] += dwhole[at(place)] @ kernel[tap]
            dkernel[tap] += dwhole[at(place)].T @ x[at(position)]
        return dx, dkernel, np.float64(dy).reshape(-1, dy.shape[-1]).sum(axis=0)

    return whole[cut] + bias, gradient


def pool(kind, x, window, strides, padding, real=None):
    """The pool of `x` where `real`, an array without channels; a window of nothing gives 0."""
    x = np.float64(x)
    real = np.ones(x.shape[:-1], bool) if real is None else real
    sliding = Sliding(x.shape[1:-1], window, strides, padding)
    y, slopes = np.zeros((len(x), *sliding.positions, x.shape[-1])), []
    for position, places in sliding.windows():
        for each in range(len(x)):
            seen = [(each, *place) for place in places if real[(each, *place)]]
            for channel in range(x.shape[-1] if seen else 0):
                here, values = (each, *position, channel), [x[place][channel] for place in seen]
                y[here], slope = pool_of_values(kind, np.array(values))
                slopes.append((here, [(*place, channel) for place in seen], slope))

    def gradient(dy):
        dx = np.zeros_like(x)
        for here, seen, slope in slopes:
            for place, share in zip(seen, slope, strict=True):
                dx[place] += dy[here] * share
        return (dx,)

    return y, gradient


def pool_of_values(kind, values):
    """What a window of `values` gives, and the gradient of that."""
    if kind == "Max":
        return max(values), np.eye(len(values))[np.argmax(values)]
    if kind == "Average":
        return sum(values) / len(values), np.full(len(values), 1 / len(values))
    length = np.sqrt(sum(value * value for value in values))
    return length, values / length if length else np.zeros(len(values))


def moments(x):
    """The mean of each channel, and the mean square of what it differs by."""
    mean, variance = [], []
    for values in np.float64(x).reshape(-1, x.shape[-1]).T:
        mean.append(sum(values) / len(values))
        variance.append(sum((value - mean[-1]) ** 2 for value in values) / len(values))
    return np.array(mean), np.array(variance)


def batch_norm(x, gamma, beta, epsilon, moving=None):
    """Normalize by the `moving` mean and variance, or by those of `x`."""
    x = np.float64(x)
    mean, variance = moving or moments(x)
    deviation = np.sqrt(np.float64(variance) + epsilon)
    scaled, axes = (x - mean) / deviation, tuple(range(x.ndim - 1))

    def gradient(dy):
        dgamma, dbeta = (dy * scaled).sum(axis=axes), dy.sum(axis=axes)
        through = 0 if moving else (dbeta + scaled * dgamma) / (x.size / x.shape[-1])
        return gamma / deviation * (dy - through), dgamma, dbeta

    return gamma * scaled + beta, gradient


def relu(x):
    """What is positive, a step."""
    return np.maximum(x, 0), lambda dy: (dy * (x > 0),)


def chain(*steps):
    """The step that takes one of `steps` after another."""

    def step(x):
        gradients = []
        for each in steps:
            x, gradient = each(x)
            gradients.append(gradient)

        def whole(dy):
            weights = []
            for gradient in reversed(gradients):
                dy, *own = gradient(dy)
                weights = own + weights
            return dy, *weights

        return x, whole

    return step


def repeated(step, times):
    """The step that takes `step` again and again, with the same weights."""

    def whole(x):
        y, gradient = chain(*[step] * times)(x)

        def shared(dy):
            dx, *weights = gradient(dy)
            count = len(weights) // times
            return dx, *(sum(weights[index::count]) for index in range(count))

        return y, shared

    return whole


def total(*steps):
    """The step that adds up what each of `steps` makes of the same input."""

    def step(x):
        outputs, gradients = zip(*(each(x) for each in steps), strict=True)
        return sum(outputs), lambda dy: gathered(gradient(dy) for gradient in gradients)

    return step


def joined(*steps):
    """The step that puts the channels of what each of `steps` makes side by side."""

    def step(x):
        outputs, gradients = zip(*(each(x) for each in steps), strict=True)
        ends = np.cumsum([output.shape[-1] for output in outputs])[:-1]

        def whole(dy):
            parts = zip(gradients, np.split(dy, ends, axis=-1), strict=True)
            return gathered(gradient(part) for gradient, part in parts)

        return np.concatenate(outputs, axis=-1), whole

    return step


def gathered(gradients):
    """The gradient of an input that several steps share, and those of all their weights."""
    inputs, weights = zip(*((dx, own) for dx, *own in gradients), strict=True)
    return sum(inputs), *itertools.chain(*weights)
