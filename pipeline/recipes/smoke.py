"""Real images through the whole road, as small as it can be: does this machine work?

    convoy train smoke

Not for use: a LeNet on 6,000 images for two epochs, proven on 1,000, where a single image weighs
0.1 points: the gate lets the int8 file lose two. 42 s on two cores, 12 s of them training.
"""

from pipeline.recipe import Data, Export, Gate, Recipe, Training, network

RECIPE = Recipe(
    name="smoke",
    network=network("lenet"),
    data=Data(max_train_images=6000, max_test_images=1000, batch_size=128),
    training=Training(epochs=2, learning_rate=0.1),
    export=Export(gate=Gate(max_quantized_loss=0.02)),
)
