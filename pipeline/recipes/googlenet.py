"""GoogLeNet at a quarter of its width on Fashion-MNIST.

    convoy train googlenet

Test accuracy 93.00% with seed 0, int8 92.98%. Training took 455 s on two cores that other work
shared.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="googlenet",
    network=network("googlenet", width=16, dropout_rate=0.2),
    data=Data(validation_fraction=1 / 24, shift=1),
    training=Training(epochs=5, learning_rate=0.2),
)
