"""What a network costs on a device, known before it is trained."""

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np

from models.fold import fold_batch_norm
from models.inspection import inspect_network
from pipeline.data.splits import Splits
from pipeline.export.calibration import calibration_images
from pipeline.export.tflite import write_tflite
from pipeline.recipe import Recipe
from pipeline.task import Classification
from pipeline.training.prepare import build, dtype_policy
from pipeline.tuning.search import Limits
from pipeline.tuning.space import with_values
from serving.errors import ConvoyError

# Their values are of no interest: what counts is the size of the file.
CALIBRATION_IMAGES = 10


class Costs:
    """Says of values whether the network they make stays within limits.

    What a network costs depends on its options alone, and is found out once.

    Args:
        recipe: that values are put into.
        splits: the data.
        limits: what a network may cost.
    """

    def __init__(self, recipe: Recipe, splits: Splits, limits: Limits):
        self.recipe, self.splits, self.limits = recipe, splits, limits
        self.known: dict[str, str | None] = {}

    def refusal(self, values: Mapping[str, Any]) -> str | None:
        """Why these values are not worth a training; `None` where they may be."""
        try:
            recipe = with_values(self.recipe, values)
        except ConvoyError as error:
            return str(error)
        network = repr(recipe.network)
        if network not in self.known:
            self.known[network] = self.too_much(recipe)
        return self.known[network]

    def too_much(self, recipe: Recipe) -> str | None:
        """What a recipe's network costs more than it may."""
        try:
            with dtype_policy("float32"):
                network = build(recipe, self.splits)
        except ConvoyError as error:
            return str(error)
        rows = inspect_network(network)
        found = {
            "parameters": (network.count_params(), self.limits.max_parameters),
            "multiply-adds": (
                sum(row.multiply_adds or 0 for row in rows),
                self.limits.max_multiply_adds,
            ),
        }
        for what, (count, most) in found.items():
            if most is not None and count > most:
                return f"{count:,} {what}"
        most = self.limits.max_bytes
        if most is None:
            return None
        weights = sum(int(each.shape.num_elements() or 0) for each in network.trainable_weights)
        # Each takes a byte, whatever else the file holds.
        if weights > most:
            return f"{weights:,} weights for {most:,} bytes"
        size = self.bytes_of(network)
        return f"{size:,} bytes" if size > most else None

    def bytes_of(self, network: keras.Model) -> int:
        """The size of a network's int8 file, once it is trained."""
        dice = np.random.default_rng(0)
        for weight in network.weights:
            if keras.backend.is_float_dtype(weight.dtype):
                # Of tables that are alike, such as biases before a training, files hold one.
                weight.assign(weight + dice.uniform(0.01, 0.1, weight.shape))
        images = calibration_images(self.splits.train, CALIBRATION_IMAGES, seed=0)
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "int8.tflite"
            task = Classification(self.splits.labels)
            write_tflite(fold_batch_norm(network), task, images, {"int8": file})
            return file.stat().st_size
