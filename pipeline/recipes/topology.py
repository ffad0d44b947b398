"""The common topology of convolutional networks, whose numbers are there to be searched.

convoy train topology
convoy tune topology --search.limits.max-bytes 50000 --search.minutes 30

((convolution -> activation) x m -> pool) x n -> dense x k
"""

from pipeline.recipe import Recipe, Training, network
from pipeline.tuning.space import choice, log, uniform

RECIPE = Recipe(
    name="topology",
    network=network(
        "topology", m=2, n=3, k=1, width=10, kernel_size=3, padding="same", batch_norm=True
    ),
    training=Training(epochs=4),
)

SPACE = {
    "network.m": choice(1, 2, 3),
    "network.n": choice(1, 2, 3),
    "network.k": choice(1, 2),
    "network.width": choice(6, 8, 10, 12, 16, 24),
    "network.kernel_size": choice(3, 5),
    "network.pool": choice(True, False),
    "network.units": choice(32, 64, 128),
    "network.dropout_rate": uniform(0.0, 0.5),
    "training.learning_rate": log(0.05, 2),
    "training.weight_decay": log(5e-4, 2e-2),
}
