"""Windows: what all layers share that look at one small place after another."""

from typing import Any

from keras import layers, ops

from models.geometry import extent, output_sizes, padding_pairs
from models.layers.arguments import padding_of, per_axis
from models.layers.masking import hide, of_positions


class Window(layers.Layer):
    """Base of the layers that slide a window over `rank` axes.

    A subclass sets `rank`, and `window_name`, the argument that gives the window's size. Its
    `slide(inputs)` works on whole sequences; here those are cut to their lengths: where the input
    carries a mask of its positions, what that hides counts as padding, and as many outputs of a
    rank 1 layer stay visible as the unpadded sequence would have had. Masks hide the end of a
    sequence. Where padding is `"same"` and windows step further than 1, the length of the batch
    decides where they stand.
    """

    rank: int
    window_name: str

    def __init__(self, window, strides, padding, **kwargs):
        super().__init__(**kwargs)
        self.window = per_axis(window, self.rank, self.window_name)
        self.strides = per_axis(strides, self.rank, "strides")
        self.padding: Any = padding_of(padding, self.rank)
        self.dilation_rate = (1,) * self.rank
        self.input_spec = layers.InputSpec(ndim=self.rank + 2)
        self.supports_masking = True

    @property
    def extents(self):
        """Length of each axis that the window covers, gaps of dilation included."""
        axes = zip(self.window, self.dilation_rate, strict=True)
        return tuple(extent(*axis) for axis in axes)

    def call(self, inputs, mask=None):
        mask = of_positions(mask, inputs)
        return self.slide(inputs) if mask is None else self.slide_masked(inputs, mask)

    def slide_masked(self, inputs, mask):
        return self.slide(hide(inputs, mask))

    def slide(self, inputs):
        raise NotImplementedError

    def padded(self, inputs):
        """Return `inputs` with explicit padding done, and what is left: `"same"` or `"valid"`."""
        if self.padding == "same":
            return inputs, "same"
        return self.padded_by_pairs(inputs), "valid"

    def padded_by_pairs(self, inputs):
        """Return `inputs` with all padding done."""
        if self.padding in ("valid", "narrow"):
            return inputs
        pairs = self.pairs(inputs)
        widths: Any = [(0, 0), *pairs, (0, 0)]
        return ops.pad(inputs, widths)

    def pairs(self, inputs):
        """Return how many zeros stand before and after each axis of `inputs`."""
        sizes = ops.shape(inputs)[1:-1]
        return padding_pairs(sizes, self.extents, self.strides, self.padding)

    def compute_mask(self, inputs, previous_mask=None):
        if previous_mask is None or self.rank != 1:
            return None
        (window,), (stride,) = self.extents, self.strides
        if self.padding == "same":
            return previous_mask[:, ::stride]
        # An output stays visible where the last position of its window is in the sequence, or in
        # the zeros around it. Those are as visible as the first step, for some sequences are empty.
        zeros = sum(padding_pairs((None,), (window,), (stride,), self.padding)[0])
        around = ops.repeat(previous_mask[:, :1], zeros, axis=1)
        return ops.concatenate([around, previous_mask], axis=1)[:, window - 1 :: stride]

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
