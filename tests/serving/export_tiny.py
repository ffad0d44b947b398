"""Write tiny real models into a folder: `python export_tiny.py FOLDER`. Runs in a child process."""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf

HEIGHT, WIDTH, CLASSES = 8, 6, 3


def weights(channels: int) -> np.ndarray:
    """What each of the network's 2 x 2 x `channels` pooled values says for each class."""
    return np.random.default_rng(channels).normal(size=(4 * channels, CLASSES)).astype(np.float32)


class Network(tf.Module):
    """Averages each quarter of an image, then one dense layer and softmax."""

    def __init__(self, channels):
        super().__init__()
        self.kernel = tf.Variable(weights(channels))
        spec = tf.TensorSpec((1, HEIGHT, WIDTH, channels), tf.float32, name="image")
        self.serve = tf.function(self.answer, input_signature=[spec])

    def answer(self, image):
        quarters = tf.nn.avg_pool2d(image / 255, (4, 3), (4, 3), "VALID")
        logits = tf.reshape(quarters, (1, -1)) @ self.kernel
        return {"probabilities": tf.nn.softmax(logits)}


def calibration():
    """Random images, each with a black and a white pixel."""
    numbers = np.random.default_rng(0)
    for _ in range(16):
        image = numbers.integers(0, 256, (1, HEIGHT, WIDTH, 1)).astype(np.float32)
        image[0, 0, :2, 0] = 0, 255
        yield [image]


def main(folder: Path) -> None:
    for channels in (1, 3):
        network = Network(channels)
        saved = folder / f"channels{channels}"
        tf.saved_model.save(network, str(saved), signatures=network.serve)
        converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
        (folder / f"channels{channels}.fp32.tflite").write_bytes(converter.convert())
    converter = tf.lite.TFLiteConverter.from_saved_model(str(folder / "channels1"))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = calibration
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = converter.inference_output_type = tf.uint8
    (folder / "channels1.int8.tflite").write_bytes(converter.convert())


if __name__ == "__main__":
    main(Path(sys.argv[1]))
