"""Real images through the whole road, as small as it can be: does this machine work?

    convoy train smoke

Not for use: a LeNet on 6,000 images for two epochs, proven on 1,000.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="smoke",
    network=network("lenet"),
    data=Data(max_train_images=6000, max_test_images=1000, batch_size=128),
    training=Training(epochs=2, learning_rate=0.1),
)
