"""Convolutional networks, by name.

>>> build("resnet", (32, 32, 3), num_classes=10, variant="resnet20")
"""

import inspect

from models import lenet, resnet, vgg
from models.layers.arguments import one_of

ARCHITECTURES = {
    "lenet": lenet.lenet,
    "resnet": resnet.resnet,
    "vgg": vgg.vgg,
}


def build(name, input_shape, num_classes, **options):
    """Build the network called `name`; its function in `ARCHITECTURES` says which options it has.

    Args:
        name: str. A key of `ARCHITECTURES`.
        input_shape: 3 ints. Height, width and channels.
        num_classes: int. Number of logits.
        **options: the architecture's own, such as `width`.
    """
    architecture = ARCHITECTURES[one_of(name, ARCHITECTURES, "name")]
    _, _, *known = inspect.signature(architecture).parameters
    for option in options:
        one_of(option, known, "option")
    return architecture(input_shape, num_classes, **options)
