"""LeNet with batch normalisation on Fashion-MNIST: the smallest useful network.

convoy train lenet
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="lenet",
    network=network("lenet"),
    data=Data(batch_size=128),
    training=Training(epochs=12, learning_rate=0.1),
)
