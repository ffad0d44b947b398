"""The most accurate network of less than 100,000 weights and bytes.

convoy train tiny

Test accuracy 94.63% as the mean of seeds 0, 1 and 2 (94.81, 94.72, 94.37; standard deviation 0.23);
the int8 files of 99,616 bytes answer 94.83, 94.72 and 94.32%. Training took 66 minutes on one core
with AVX-512 BF16.
"""

from pipeline.recipe import Data, Export, Recipe, Training, network

RECIPE = Recipe(
    name="tiny",
    network=network("davidnet", width=32, growth=1.5, stages=2, depth=2, stem=True),
    data=Data(validation_fraction=1 / 24, shift=1, erase=0.25),
    training=Training(
        epochs=150,
        learning_rate=0.3,
        decay="cosine",
        weight_decay=1.5e-3,
        average=0.99,
        validate_every=10,
    ),
    # Every form that a device may want, but those that need packages of their own.
    export=Export(tflite=("fp32", "fp16", "dynamic", "int8", "int16x8"), mediapipe=True),
)
