"""VGG-11 at half its width on Fashion-MNIST.

    convoy train vgg11

Its accuracy and time have not been measured yet.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="vgg11",
    network=network("vgg11", width=32),
    data=Data(validation_fraction=1 / 24, shift=1),
    training=Training(epochs=12, learning_rate=0.2),
)
