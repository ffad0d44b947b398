"""How weights begin: as the network has it, by one rule for all kernels, or from another run."""

import zipfile
from pathlib import Path

import keras
import numpy as np

from models.airbench import WHITENING, whitening_kernel
from models.quantize import is_fake_quantized
from pipeline.console import console
from pipeline.recipe import Training
from serving.errors import ConvoyError

# Patches that whitening is measured on: 5,102 images of Fashion-MNIST.
PATCHES = 4_000_000
# Rules by their names in a recipe; `wide` is the start that saturates sigmoids, and shows why the
# others exist.
RULES = {
    "he_normal": keras.initializers.HeNormal,
    "glorot_uniform": keras.initializers.GlorotUniform,
    "lecun_normal": keras.initializers.LecunNormal,
    "wide": lambda seed: keras.initializers.RandomNormal(stddev=1.0, seed=seed),
    "zeros": lambda seed: keras.initializers.Zeros(),
}


def initialize(network: keras.Model, training: Training, seed: int, images: np.ndarray) -> None:
    """Give a new network the first weights that its recipe asks for.

    Args:
        network: its layer called `whitening`, if it has one, is set from the images.
        training: says how.
        seed: of what is drawn.
        images: of the training split.

    Raises:
        ConvoyError: none of the weights to start from fits.
    """
    if training.initialization != "network":
        redraw(network, training.initialization, seed)
    for layer in network.layers:
        if layer.name == WHITENING:
            few = max(PATCHES // (images.shape[1] * images.shape[2]), 1)
            layer.kernel.assign(whitening_kernel(images[:few]))
    if training.start_from:
        take_over(network, training.start_from)


def redraw(network: keras.Model, rule: str, seed: int) -> None:
    """Draw every kernel anew by a rule, each with a seed of its own."""
    for number, weight in enumerate(network.trainable_variables):
        if len(weight.shape) > 1:
            weight.assign(RULES[rule](seed=seed * 10_000 + number)(weight.shape))


def take_over(network: keras.Model, source: Path, whole: bool = False) -> None:
    """Copy the weights of a trained network where layers have the same path and shape.

    Args:
        network: what is given weights.
        source: a finished run, or its model.keras.
        whole: whether all weights must fit.

    Raises:
        ConvoyError: the source cannot be read, or no kernel fits, or not all that must.
    """
    path = source / "model.keras" if source.is_dir() else source
    try:
        trained = keras.saving.load_model(path, compile=False)
    except (OSError, ValueError, TypeError, zipfile.BadZipFile) as error:
        raise ConvoyError(
            f"cannot start from {source}: expected a finished run's folder or its model.keras, "
            f"received `{str(error).splitlines()[0]}`; check the path."
        ) from error
    if is_fake_quantized(trained):
        raise ConvoyError(
            f"cannot start from {source}: expected a network in floats, received one that was "
            "trained to round as int8 does; give the run that it began with."
        )
    known = {weight.path: weight for weight in trained.weights}
    fitting = [
        weight
        for weight in network.weights
        if weight.path in known and known[weight.path].shape == weight.shape
    ]
    missing = len(fitting) < len(network.weights)
    if not any(len(weight.shape) > 1 for weight in fitting) or (whole and missing):
        raise ConvoyError(
            f"cannot start from {source}: expected weights that fit `{network.name}`, received "
            f"those of `{trained.name}`; choose the network it was trained with."
        )
    for weight in fitting:
        weight.assign(known[weight.path])
    if not whole:
        console.print(
            f"{len(fitting)} of {len(network.weights)} weights begin as those of {source}"
        )
