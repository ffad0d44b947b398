"""Any route of a bundle, to answer image by image."""

from pathlib import Path

import numpy as np

from serving import edge
from serving.answers import Answering
from serving.bundle import DEVICE_ROUTES, Bundle, open_bundle


def load_route(folder: Path, route: str | None, allow_unproven: bool = False) -> Answering:
    """Load one route of the bundle in `folder`, its hashes and its gate checked.

    Where none is named it is the first for devices that may ship, else the SavedModel.

    Raises:
        ConvoyError: no bundle, no such route, or a damaged file.
        GateFailed: the gate did not pass the route.
    """
    if route is None and folder.is_dir():
        route = open_bundle(folder).default_route((*DEVICE_ROUTES, "saved_model"), allow_unproven)
    if route == "saved_model":
        return SavedModelRoute(open_bundle(folder), allow_unproven)
    return edge.load(folder, route, allow_unproven=allow_unproven)


class SavedModelRoute:
    """The SavedModel of a bundle, with the face of an `EdgeModel`."""

    route = "saved_model"

    def __init__(self, bundle: Bundle, allow_unproven: bool = False) -> None:
        self.path = bundle.checked(self.route, allow_unproven)
        self.labels = bundle.manifest.labels
        self.shape = bundle.manifest.input.shape
        self._output = bundle.manifest.output
        # Here, not above: TFLite routes answer before TensorFlow would be imported.
        import tensorflow as tf

        self._signature = tf.saved_model.load(str(self.path)).signatures["serving_default"]
        self._constant = tf.constant

    def probabilities(self, pixels: np.ndarray) -> np.ndarray:
        """Answer one image: uint8 `(height, width, channels)` to float32 `(classes,)`."""
        image = self._constant(pixels[np.newaxis].astype(np.float32))
        return self._signature(image=image)[self._output].numpy()[0]
