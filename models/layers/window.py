"""Windows: what all layers share that look at one small place after another."""

from typing import Any

from keras import layers, ops

from models.geometry import extent, output_sizes, padding_pairs
from models.layers.arguments import padding_of, per_axis


class Window(layers.Layer):
    """Base of the layers that slide a window over `rank` axes.

    A subclass sets `rank`, and `window_name`, the argument that gives the window's size. Its
    `slide(inputs)` works on whole sequences; here those are cut to their lengths: where the input
    of a rank 1 layer carries a mask, what it hides counts as padding, and as many outputs stay
    visible as the unpadded sequence would have had. Masks hide the end of a sequence.
    """

    rank: int
    window_name: str

    def __init__(self, window, strides, padding, dilation_rate: int | tuple = 1, **kwargs):
        super().__init__(**kwargs)
        self.window = per_axis(window, self.rank, self.window_name)
        self.strides = per_axis(strides, self.rank, "strides")
        self.padding = padding_of(padding, self.rank)
        self.dilation_rate = per_axis(dilation_rate, self.rank, "dilation_rate")
        self.input_spec = layers.InputSpec(ndim=self.rank + 2)
        self.supports_masking = True

    @property
    def extents(self):
        """Length of each axis that the window covers, gaps of dilation included."""
        axes = zip(self.window, self.dilation_rate, strict=True)
        return tuple(extent(*axis) for axis in axes)

    def call(self, inputs, mask=None):
        return self.slide(inputs if mask is None else hide(inputs, mask))

    def slide(self, inputs):
        raise NotImplementedError

    def padded(self, inputs, value=0.0):
        """Return `inputs` with explicit padding done, and what is left: `"same"` or `"valid"`."""
        if self.padding == "same":
            return inputs, "same"
        if self.padding in ("valid", "narrow"):
            return inputs, "valid"
        pairs = padding_pairs(inputs.shape[1:-1], self.extents, self.strides, self.padding)
        widths: Any = [(0, 0), *pairs, (0, 0)]
        return ops.pad(inputs, widths, constant_values=value), "valid"

    def compute_mask(self, inputs, previous_mask=None):
        if previous_mask is None or self.rank != 1:
            return None
        lengths = ops.sum(ops.cast(previous_mask, "int32"), axis=1)
        (size,), (window,), (stride,) = inputs.shape[1:-1], self.extents, self.strides
        if self.padding == "same":
            lengths = -(-lengths // stride)
        else:
            zeros = sum(padding_pairs((size,), (window,), (stride,), self.padding)[0])
            lengths = (lengths + zeros - window) // stride + 1
        positions = ops.arange(self.compute_output_shape(inputs.shape)[1] or ops.shape(inputs)[1])
        return positions < lengths[:, None]

    def compute_output_sizes(self, sizes):
        """Return the number of positions along each axis."""
        return output_sizes(sizes, self.extents, self.strides, self.padding)

    def get_config(self):
        return {
            **super().get_config(),
            self.window_name: self.window,
            "strides": self.strides,
            "padding": self.padding,
        }


def hide(inputs, mask, value=0.0):
    """Return `inputs`, `(batch, steps, channels)`, with `value` where `mask` is `False`."""
    return ops.where(mask[..., None], inputs, ops.cast(value, inputs.dtype))
