"""AlexNet at a quarter of its width on Fashion-MNIST.

    convoy train alexnet

Its accuracy and time have not been measured yet.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="alexnet",
    network=network("alexnet", width=24, dropout_rate=0.4),
    data=Data(validation_fraction=1 / 24, shift=1),
    training=Training(epochs=14, learning_rate=0.1),
)
