"""Blocks: layers that are made of layers."""

import keras
from keras import layers


class Block(layers.Layer):
    """Base of the layers that are made of layers, their parts.

    A subclass makes its parts in `__init__` by `part`, and says in `call`, by calling parts and
    nothing else, what goes through which. So `models.expand` can show a network without blocks.
    """

    def part(self, kind, *args, name, **kwargs):
        """Return a layer of class `kind` under the block's dtype policy, named after both."""
        return kind(*args, **kwargs, dtype=self.dtype_policy, name=f"{self.name}_{name}")

    def build(self, input_shape):
        self.call(keras.Input(batch_shape=input_shape, dtype=self.compute_dtype))

    def call(self, inputs):
        raise NotImplementedError
