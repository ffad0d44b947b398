"""A fully connected network by plain gradient descent: what the others are measured against.

    convoy train mlp

Sigmoid units, cross-entropy, a constant learning rate, and no momentum, decay, smoothing or varied
images.

Test accuracy 87.96% with seed 0, int8 87.78%. Training took 179 s on two cores that other work
shared.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="mlp",
    network=network("mlp", width=128),
    data=Data(batch_size=32, flip="none", shift=0),
    training=Training(
        epochs=30,
        learning_rate=0.5,
        warmup=0.0,
        decay="none",
        momentum=0.0,
        weight_decay=0.0,
        label_smoothing=0.0,
    ),
)
