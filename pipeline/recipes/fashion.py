"""A small VGG on Fashion-MNIST: the default of `make train`.

convoy train fashion
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="fashion",
    network=network("vgg", variant="vgg7", width=32),
    data=Data(validation_fraction=1 / 24, batch_size=256, shift=1),
    training=Training(epochs=13, learning_rate=0.4),
)
