"""One image on one thread: our class beside the bare interpreter, and beside other runtimes.

Ours is timed from uint8 pixels to float32 probabilities, conversions included. The bare
interpreter is given its input ready made and hands out what it has. ONNX Runtime and OpenVINO,
where they are installed, run the bundle's ONNX file: the same network in floats.
"""

import importlib
import importlib.util
import os
import statistics
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from benchmarks.pairs import in_turn, in_words, notes, ratios, require_pairs, spread, surroundings
from serving.bundle import DEVICE_ROUTES, Bundle, open_bundle
from serving.edge import load
from serving.errors import ConvoyError
from serving.tflite import EdgeModel, quantised, runtime
from serving.timing import time_single

# Images in a turn of one side; the first ones warm up.
IMAGES, WARMING = 200, 20


def run(bundle: Path, pairs: int = 10) -> dict[str, Any]:
    """Time single images on each side, in turn.

    Raises:
        ConvoyError: no bundle, or one without a TFLite file that may ship.
    """
    require_pairs(pairs, steady=10)
    opened = open_bundle(Path(bundle).resolve())
    shipping = [each.route for each in opened.manifest.routes if each.may_ship]
    routes = [route for route in shipping if route in DEVICE_ROUTES]
    if not routes:
        raise ConvoyError(
            f"{bundle} has nothing to time: expected a TFLite file that passed the gate, received "
            "none; run `convoy verify` on its run."
        )
    before = os.getloadavg()
    sides = {name: side for route in routes for name, side in of_tflite(opened, route)}
    if "onnx" in shipping:
        sides |= dict(of_onnx(opened))
    figures = in_turn({name: side.turn for name, side in sides.items()}, pairs)
    return {
        "bundle": str(opened.folder),
        "pairs": pairs,
        "images": IMAGES,
        "milliseconds": {name: spread(found) for name, found in figures.items()},
        "ratio_to_bare": {
            route: ratios(figures[route], figures[f"{route}, bare"]) for route in routes
        },
        **surroundings(before),
    }


class Side(NamedTuple):
    """A runtime with a network, and an image as it takes it."""

    image: np.ndarray
    run: Callable[[np.ndarray], Any]

    def turn(self) -> float:
        """Median milliseconds of one turn."""
        found = time_single(self.image[np.newaxis], self.run, IMAGES, WARMING)
        return statistics.median(found.tolist())


def image_for(bundle: Bundle) -> np.ndarray:
    """Pixels of noise: a network takes as long for any image."""
    return np.random.default_rng(0).integers(0, 256, bundle.manifest.input.shape, np.uint8)


def of_tflite(bundle: Bundle, route: str) -> Iterator[tuple[str, Side]]:
    """Our class, and the interpreter by itself on the same file."""
    pixels = image_for(bundle)
    model = load(bundle.folder, route)
    assert isinstance(model, EdgeModel)
    yield route, Side(pixels, model.probabilities)
    interpreter = runtime().Interpreter(str(model.path), num_threads=1)
    interpreter.allocate_tensors()
    source, target = interpreter.get_input_details()[0], interpreter.get_output_details()[0]

    def bare(ready: np.ndarray) -> Any:
        interpreter.set_tensor(source["index"], ready)
        interpreter.invoke()
        return interpreter.get_tensor(target["index"])

    yield f"{route}, bare", Side(quantised(pixels[np.newaxis], model._input), bare)


def of_onnx(bundle: Bundle) -> Iterator[tuple[str, Side]]:
    """The runtimes for ONNX files that are installed."""
    path = str(bundle.checked("onnx"))
    pixels = image_for(bundle)[np.newaxis].astype(np.float32)
    name = bundle.manifest.input.name
    if importlib.util.find_spec("onnxruntime"):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(path, options, ["CPUExecutionProvider"])
        yield "ONNX Runtime", Side(pixels, lambda image: session.run(None, {name: image}))
    if importlib.util.find_spec("openvino"):
        # No package of ours asks for it.
        openvino = importlib.import_module("openvino")
        settings = {"INFERENCE_NUM_THREADS": 1, "PERFORMANCE_HINT": "LATENCY"}
        core = openvino.Core()
        model = core.read_model(path)
        model.reshape({name: pixels.shape})
        request = core.compile_model(model, "CPU", settings).create_infer_request()
        yield "OpenVINO", Side(pixels, lambda image: request.infer({name: image}))


def table(result: dict[str, Any]) -> str:
    """Render what `run` measured."""
    rows = [f"{'one image, one thread':31}{'ms (quartiles)':>24}{'to the bare one':>22}"]
    for name, found in result["milliseconds"].items():
        ratio = result["ratio_to_bare"].get(name)
        rows.append(
            f"{name:31}{in_words(found, 4):>24}{in_words(ratio, 3) if ratio else '':>22}".rstrip()
        )
    return "\n".join([*rows, "", *notes(result)])
