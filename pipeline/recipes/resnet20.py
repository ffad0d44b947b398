"""ResNet-20 at the width of the paper on Fashion-MNIST; `plain20` is the same without shortcuts.

    convoy train resnet20

Test accuracy 93.66% with seed 0, int8 93.65%. Training took 421 s on two cores that other work
shared.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="resnet20",
    network=network("resnet20"),
    data=Data(validation_fraction=1 / 24, shift=1),
    training=Training(epochs=8, learning_rate=0.2),
)
