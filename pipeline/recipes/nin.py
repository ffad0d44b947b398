"""NiN at half its width on Fashion-MNIST.

    convoy train nin

Its accuracy and time have not been measured yet.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="nin",
    network=network("nin", width=96, dropout_rate=0.2),
    data=Data(validation_fraction=1 / 24, shift=1),
    training=Training(epochs=7, learning_rate=0.2),
)
