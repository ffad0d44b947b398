"""A fully connected network by plain gradient descent: what the others are measured against.

    convoy train mlp

Sigmoid units, cross-entropy, a constant learning rate, and no momentum, decay, smoothing or varied
images. Its accuracy and time have not been measured yet.
"""

from pipeline.recipe import Data, Recipe, Training, network

RECIPE = Recipe(
    name="mlp",
    network=network("mlp", width=128),
    data=Data(batch_size=32, flip=False, shift=0),
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
