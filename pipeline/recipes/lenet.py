"""LeNet with batch normalisation on Fashion-MNIST: where most people begin.

    convoy train lenet

Test accuracy 91.92% as the mean of seeds 0, 1 and 2 (92.06, 91.81, 91.88; standard deviation 0.13).
Training took 292 to 379 s on two cores shared with other work.
"""

from pipeline.recipe import Data, Recipe, Training, network
from pipeline.tuning.space import choice, log

RECIPE = Recipe(
    name="lenet",
    network=network("lenet"),
    data=Data(batch_size=128),
    training=Training(epochs=12, learning_rate=0.1),
)

SPACE = {
    "network.width": choice(6, 12, 18, 24),
    "training.learning_rate": log(0.01, 1),
    "training.weight_decay": log(5e-4, 5e-2),
}
