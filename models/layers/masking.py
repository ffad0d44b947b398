"""Masks: which positions of an input are no part of it."""

from keras import ops


def of_positions(mask, inputs):
    """Return `mask` where it tells of each position of `inputs`, else `None`.

    Keras hands on masks of other things, too: within `TimeDistributed` that of whole images.
    """
    return mask if mask is not None and len(mask.shape) == len(inputs.shape) - 1 else None


def hide(inputs, mask, value=0.0):
    """Return `inputs`, `(batch, steps, channels)`, with `value` where `mask` is `False`."""
    return ops.where(mask[..., None], inputs, ops.cast(value, inputs.dtype))


def sink(inputs, mask):
    """Return `inputs` with less than the least that is visible where `mask` is `False`.

    It is less by an eighth and a little, so that it shares no gradient with a maximum. The lowest
    number there is would stretch the ranges of an int8 network until nothing else is left.
    """
    shown, axes = hide(inputs, mask), tuple(range(1, len(inputs.shape) - 1))
    least = ops.stop_gradient(ops.min(shown, axes, keepdims=True))
    return hide(shown, mask, value=1.125 * least - 1e-3)


def visible(inputs, mask):
    """Return 1 where `mask` is `True`, else 0, with one channel and the type of `inputs`."""
    one = ops.ones((), inputs.dtype)
    return ops.where(mask[..., None], one, ops.zeros_like(one))
