"""The plain twin of ResNet-20 on Fashion-MNIST: the layers and the training of `resnet20`.

    convoy train plain20

Test accuracy 93.03% with seed 0, int8 93.03%. Training took 361 s on two cores that other work
shared.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="plain20",
    network=network("plain20"),
    data=Data(validation_fraction=1 / 24, shift=1),
    training=Training(epochs=8, learning_rate=0.2),
)
