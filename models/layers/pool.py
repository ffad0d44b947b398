"""Pooling: one number for each window of a map."""

from models.layers.window import Window


class Pool(Window):
    """Base of the pools. A subclass sets `rank`, and slides.

    What a mask hides counts as padding, and padding never changes what a window gives. A window
    that sees nothing else gives 0.
    """

    window_name = "pool_size"

    def __init__(self, pool_size: int | tuple = 2, strides=None, padding="valid", **kwargs):
        super().__init__(pool_size, pool_size if strides is None else strides, padding, **kwargs)
        if not isinstance(self.padding, str):
            self.refuse_windows_of_padding()

    def refuse_windows_of_padding(self):
        pairs = zip(self.padding, self.window, strict=True)
        if any(max(zeros) >= window for zeros, window in pairs):
            raise ValueError(
                "`padding` must be less than `pool_size`, so that each window sees something. "
                f"Received: padding={self.padding}, pool_size={self.window}"
            )

    @property
    def pool_size(self):
        """Size of the window, by its usual name."""
        return self.window

    def build(self, input_shape):
        self.compute_output_shape(input_shape)  # Fails early where the window does not fit.

    def compute_output_shape(self, input_shape):
        batch, *sizes, channels = input_shape
        return (batch, *self.compute_output_sizes(sizes), channels)
