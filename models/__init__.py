"""Convolutional networks, by name.

>>> build("resnet20", (32, 32, 3), num_classes=10, width=16)
"""

import inspect
from functools import partial

from models import (
    airbench,
    alexnet,
    autoencoder,
    backbone,
    davidnet,
    googlenet,
    idcnn,
    lenet,
    mlp,
    nin,
    resnet,
    resnet3d,
    textcnn,
    topology,
    vgg,
)
from models.layers.arguments import one_of, positive_int
from models.quantize import fake_quantized as fake_quantized

# Name in the paper -> function of an input shape, a number of classes and options.
ARCHITECTURES = {
    "mlp": mlp.mlp,
    "topology": topology.topology,
    "lenet": lenet.lenet,
    "alexnet": alexnet.alexnet,
    "vgg7": partial(vgg.vgg, "vgg7", width=32),
    "vgg11": partial(vgg.vgg, "vgg11"),
    "vgg13": partial(vgg.vgg, "vgg13"),
    "vgg16": partial(vgg.vgg, "vgg16"),
    "davidnet": davidnet.davidnet,
    "airbench": airbench.airbench,
    "nin": nin.nin,
    "googlenet": googlenet.googlenet,
    "resnet8": partial(resnet.small_resnet, 8, shortcut="convolution"),
    "resnet18": partial(resnet.resnet, 18),
    "resnet20": partial(resnet.small_resnet, 20),
    "resnet34": partial(resnet.resnet, 34),
    "resnet50": partial(resnet.resnet, 50),
    "resnet56": partial(resnet.small_resnet, 56),
    "plain8": partial(resnet.small_plain, 8),
    "plain18": partial(resnet.plain, 18),
    "plain20": partial(resnet.small_plain, 20),
    "plain34": partial(resnet.plain, 34),
    "plain50": partial(resnet.plain, 50),
    "plain56": partial(resnet.small_plain, 56),
    "textcnn": textcnn.textcnn,
    "idcnn": idcnn.idcnn,
    "autoencoder": autoencoder.autoencoder,
    "resnet3d": resnet3d.resnet3d,
    "backbone": backbone.backbone,
}
# What they take where nobody says otherwise; a network that is not named here takes an image.
INPUT_SHAPES = {
    "textcnn": (64,),
    "idcnn": (64,),
    "resnet3d": (16, 16, 16, 1),
    "backbone": (224, 224, 3),
}
IMAGE_SHAPE = (28, 28, 1)


def default_input_shape(name):
    """Return the shape that the network called `name` takes where nobody says otherwise.

    Example:

    >>> default_input_shape("lenet")
    (28, 28, 1)
    """
    return INPUT_SHAPES.get(name, IMAGE_SHAPE)


def build(name, input_shape, num_classes, **options):
    """Build the network called `name`; its function in `ARCHITECTURES` says which options it has.

    Args:
        name: str. A key of `ARCHITECTURES`.
        input_shape: ints. Height, width and channels of an image; depth, height, width and channels
            of a volume; or the length of a text.
        num_classes: int. Number of logits; for some networks also `None`.
        **options: the architecture's own, such as `width`.
    """
    architecture = ARCHITECTURES[one_of(name, ARCHITECTURES, "name")]
    _, _, *known = inspect.signature(architecture).parameters
    for option in options:
        one_of(option, known, "option")
    if num_classes is not None:
        # Networks find out at their end, when all else is built.
        positive_int(num_classes, "num_classes")
    return architecture(input_shape, num_classes, **options)
