"""Fine-tuning: any network of `keras.applications`, its own classes replaced by others.

Reference: https://keras.io/api/applications, which names the paper of each.
"""

import collections
import contextlib
import inspect
import re
import socket
import sys
import warnings
from pathlib import Path

import keras
import numpy as np
from keras import layers, ops
from keras.src.backend.common import global_state, stateless_scope

from models.classifier import pooled_classifier
from models.expand import replay
from models.layers.arguments import fraction, one_of, positive_ints

# Name -> function that builds it.
APPLICATIONS = {
    name: function
    for name, function in vars(keras.applications).items()
    if inspect.isfunction(function)
}
TRAINABLE = ("head", "all_but_norms", "all")
# Colours by which EfficientNets divide a second time. Keras does so where it downloads the weights
# and forgets it where it reads the same file by its path.
EFFICIENTNETS, DEVIATIONS = vars(keras.applications.efficientnet), (0.229, 0.224, 0.225)
# After so long without an answer there is no network.
PATIENCE_SECONDS = 10
# Where Keras counts layers, to name those alike apart.
COUNTS = "object_name_uids"


def preprocessing(application):
    """Return what an application does to RGB pixels of 0-255: a channel order, scales, offsets.

    It is read off the answers of its `preprocess_input`: all of them are linear for each channel.

    Example:

    >>> preprocessing("ResNet50")
    ([2, 1, 0], [1.0, 1.0, 1.0], [-103.939, -116.779, -123.68])
    """
    preprocess = sys.modules[APPLICATIONS[application].__module__].preprocess_input
    offsets = preprocess(np.zeros((1, 1, 1, 3))).reshape(3)
    # Row i: what channel i alone makes of each channel that comes out.
    slopes = (preprocess(np.eye(3).reshape(3, 1, 1, 3) * 255).reshape(3, 3) - offsets) / 255
    order = np.abs(slopes).argmax(axis=0)
    return order.tolist(), slopes[order, range(3)].tolist(), offsets.tolist()


def preprocessed(image, application):
    """Return the pixels of `image` as an application wants them, in float32 under every policy."""
    order, scales, offsets = preprocessing(application)
    x = image
    if image.shape[-1] == 1:
        x = layers.Concatenate(dtype="float32", name="repeat")([image] * 3)
    elif order != [0, 1, 2]:
        x = ops.take(x, order, axis=-1)
    if np.allclose(scales, 1) and not any(offsets):
        return x  # It rescales inside.
    return layers.Rescaling(scales, offsets, dtype="float32", name="rescale")(x)


@contextlib.contextmanager
def named_from_zero():
    """Let layers without a name get the same ones whatever was built before: weights go by them."""
    before = global_state.get_global_attribute(COUNTS)
    global_state.set_global_attribute(COUNTS, collections.defaultdict(int))
    try:
        yield
    finally:
        global_state.set_global_attribute(COUNTS, before)


def untrained(application, shape, alpha, weights=None):
    """Return an application without its classes, on RGB images.

    Raises:
        ValueError: the images are too small, or there are no such weights.
    """
    build, options = APPLICATIONS[application], {}
    if "alpha" in inspect.signature(build).parameters:
        options["alpha"] = alpha
    elif alpha != 1:
        raise ValueError(f"`alpha` must be 1 for {application}. Received: alpha={alpha!r}")
    try:
        return build(include_top=False, weights=weights, input_shape=(*shape[:2], 3), **options)
    except ValueError as error:
        smallest = re.search(r"at least (\d+)x\1", str(error))
        if smallest is None:
            raise
        raise ValueError(
            f"`input_shape` must have, for {application}, a height and a width of at least "
            f"{smallest[1]}. Received: input_shape={shape}"
        ) from error


def trained_on_imagenet(application, shape, alpha):
    """Return an application with the weights that Keras downloads, or has downloaded before."""
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(PATIENCE_SECONDS)
    try:
        with warnings.catch_warnings():
            # It tells of image sizes, which matter to the layers that are left out.
            warnings.filterwarnings("ignore", "`input_shape` is undefined or non-square")
            return untrained(application, shape, alpha, "imagenet")
    except ValueError:
        raise
    except Exception as error:  # As Keras's own downloads end.
        raise ValueError(
            "`weights` must be the path of a file, or 'none', where Keras cannot download those of "
            f"ImageNet ({error}): fetch that file elsewhere and give its path. "
            "Received: weights='imagenet'"
        ) from error
    finally:
        socket.setdefaulttimeout(before)


def trained_before(application, shape, alpha, path):
    """Return an application with the weights of a file."""
    network = untrained(application, shape, alpha)
    try:
        network.load_weights(path)
    except Exception as error:  # Whatever the damage.
        raise ValueError(
            f"`weights` must hold what {application} has without its classes. "
            f"Received: weights={path!r} ({str(error).splitlines()[0]})"
        ) from error
    return network


def application_with(weights, application, shape, alpha):
    """Return an application with these weights; where weights have no values, without any."""
    is_file = weights not in ("imagenet", "none")
    if is_file and not Path(weights).is_file():
        raise ValueError(
            "`weights` must be 'imagenet', 'none', or the path of a `.weights.h5`, `.h5` or "
            f"`.keras` file. Received: weights={weights!r}"
        )
    if weights == "none" or stateless_scope.in_stateless_scope():
        return untrained(application, shape, alpha)
    if is_file:
        return trained_before(application, shape, alpha, weights)
    return trained_on_imagenet(application, shape, alpha)


def as_reloaded(network):
    """Return a network whose weights have the paths that they will have when it is read again.

    Keras builds parts of some applications under a name of their own, which it does not keep. A run
    that starts from another finds its weights by their paths.
    """
    if all(weight.path.count("/") == 1 for weight in network.weights):
        return network
    with named_from_zero():
        copy = type(network).from_config(network.get_config())
    if not stateless_scope.in_stateless_scope():
        copy.set_weights(network.get_weights())
    return copy


def freeze(network, trainable):
    """Let nothing of a network train, or all, or all but its batch norms and their statistics."""
    network.trainable = trainable != "head"
    for layer in network.layers:
        if isinstance(layer, layers.BatchNormalization):
            layer.trainable = trainable == "all"


def features_of(network, x, application, trainable):
    """Return the last maps of an application from pixels as it wants them, layer by layer."""
    rescalings = sum(isinstance(layer, layers.Rescaling) for layer in network.layers)
    lacks_one = application in EFFICIENTNETS and rescalings == 1

    def call(layer, *args, **kwargs):
        if isinstance(layer, layers.Dropout) and trainable == "head":
            return args[0]
        if isinstance(layer, layers.Rescaling | layers.Normalization):
            layer.dtype_policy = "float32"
        output = layer(*args, **kwargs)
        if isinstance(layer, layers.Normalization) and lacks_one:
            scale = [deviation**-0.5 for deviation in DEVIATIONS]
            output = layers.Rescaling(scale, dtype="float32", name="rescale_again")(output)
        return output

    return replay(network, x, call)


def backbone(
    input_shape,
    num_classes,
    application="MobileNetV2",
    weights="imagenet",
    trainable="head",
    alpha=1.0,
    dropout_rate=0.2,
):
    """Build a classifier of 0-255 images on a network of `keras.applications`.

    Args:
        input_shape: 3 ints. Height and width, both as large as the application needs, most of them
            32, and 1 or 3 channels. Grey images are repeated for the 3 that it takes.
        num_classes: int. Number of logits.
        application: str. A function of `keras.applications`.
        weights: str. `"imagenet"`, which Keras downloads once; `"none"`; or the path of a
            `.weights.h5`, `.h5` or `.keras` file of the application without its classes.
        trainable: str. What learns: the new `"head"` alone, its backbone answering as in
            inference; `"all_but_norms"`, where batch norms stay as they are; or `"all"`.
        alpha: float. Width of the application, where it has that option; else 1.
        dropout_rate: float. Share of the head's inputs dropped in training.

    Raises:
        ValueError: an argument does not suit the application, or there are no such weights.

    Example:

    >>> backbone((64, 64, 3), 10, "EfficientNetB0", weights="none").count_params()
    4062381
    """
    shape = positive_ints(input_shape, 3, "input_shape")
    if shape[-1] not in (1, 3):
        raise ValueError(f"`input_shape` must have 1 or 3 channels. Received: input_shape={shape}")
    one_of(application, APPLICATIONS, "application")
    one_of(trainable, TRAINABLE, "trainable")
    dropout_rate = fraction(dropout_rate, "dropout_rate")
    with named_from_zero():
        network = as_reloaded(application_with(weights, application, shape, alpha))
        freeze(network, trainable)
        image = keras.Input(shape, dtype="float32", name="image")
        x = preprocessed(image, application)
        maps = features_of(network, x, application, trainable)
    return pooled_classifier(image, maps, num_classes, dropout_rate, name="backbone")
