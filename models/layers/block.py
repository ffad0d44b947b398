"""Blocks: layers that are made of layers."""

import keras
from keras import layers

from models.layers.conv import Conv2D
from models.layers.norm import BatchNorm


class Block(layers.Layer):
    """Base of the layers that are made of layers, their parts.

    A subclass makes its parts in `__init__` by `part`, and says in `call`, by calling parts and
    nothing else, what goes through which. So `models.expand` can show a network without blocks.
    """

    def part(self, kind, *args, name, **kwargs):
        """Return a layer of class `kind`, named after the block, with its policy and as frozen."""
        return kind(
            *args,
            **kwargs,
            dtype=self.dtype_policy,
            trainable=self.trainable,
            name=f"{self.name}_{name}",
        )

    def build(self, input_shape):
        self.call(keras.Input(batch_shape=input_shape, dtype=self.compute_dtype))

    def call(self, inputs):
        raise NotImplementedError

    def compute_mask(self, inputs, previous_mask=None):
        return None  # The parts pass masks among themselves, and have set that of the output.


class ConvBlock(Block):
    """Base of the blocks of convolutions, each with ReLU, and batch norm between where asked for.

    A subclass makes chains of parts, which are lists, by `conv_relu`, and calls them by `through`.
    """

    def __init__(self, batch_norm=True, **kwargs):
        super().__init__(**kwargs)
        self.batch_norm = batch_norm
        self.input_spec = layers.InputSpec(ndim=4)

    def conv_relu(self, filters, kernel_size, name, **options):
        """Return a convolution, its batch norm where asked for, and its ReLU, as a chain."""
        conv = self.part(
            Conv2D,
            filters,
            kernel_size,
            use_bias=not self.batch_norm,
            name=f"conv{name}",
            **options,
        )
        norm = [self.part(BatchNorm, name=f"norm{name}")] if self.batch_norm else []
        return [conv, *norm, self.part(layers.ReLU, name=f"relu{name}")]

    def get_config(self):
        return {**super().get_config(), "batch_norm": self.batch_norm}


def through(chain, x):
    """Return what `chain` makes of `x`, one part after another."""
    for part in chain:
        x = part(x)
    return x


def shape_through(chain, shape):
    """Return the shape of what `chain` makes of an input of `shape`."""
    for part in chain:
        shape = part.compute_output_shape(shape)
    return shape
