"""Tiny real models, and a bundle around them."""

import dataclasses
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from serving.bundle import Bundle, Gate, ImageSpec, Manifest, Route, file_entry, open_bundle

LABELS = ("ankle boot", "bag", "coat")
SHAPE = (8, 6, 1)


def with_gate(bundle, gate):
    """The bundle, each of its routes with another gate."""
    return with_gates(bundle, {route.route: gate for route in bundle.manifest.routes})


def with_gates(bundle, gates):
    """The bundle with these of its routes alone, in this order, each with its gate."""
    routes = [dataclasses.replace(bundle.route(name), gate=gate) for name, gate in gates.items()]
    changed = dataclasses.replace(bundle.manifest, routes=tuple(routes))
    (bundle.folder / "manifest.json").write_text(changed.to_json())
    return open_bundle(bundle.folder)


@pytest.fixture(scope="session")
def exported(tmp_path_factory) -> Path:
    """A folder of TFLite files; the converter leaks, so it runs in a child."""
    folder = tmp_path_factory.mktemp("exported")
    script = Path(__file__).with_name("export_tiny.py")
    subprocess.run([sys.executable, script, folder], check=True, capture_output=True)
    return folder


@pytest.fixture
def bundle(exported, tmp_path) -> Bundle:
    """A bundle that a test may spoil: fp32 passed the gate, int8 too."""
    folder = tmp_path / "bundle"
    (folder / "tflite").mkdir(parents=True)
    routes = []
    for variant in ("fp32", "int8"):
        path = f"tflite/tiny.{variant}.tflite"
        shutil.copy(exported / f"channels1.{variant}.tflite", folder / path)
        files = (file_entry(folder, path),)
        routes.append(Route(f"tflite-{variant}", path, files, gate=Gate(True)))
    manifest = Manifest(
        schema=1,
        name="tiny",
        version=1,
        task="classification",
        labels=LABELS,
        input=ImageSpec("image", *SHAPE),
        output="probabilities",
        provenance={},
        routes=tuple(routes),
    )
    (folder / "manifest.json").write_text(manifest.to_json())
    return Bundle(folder, manifest)


@pytest.fixture
def photo(tmp_path) -> Path:
    """A grey image of the network's size."""
    pixels = np.random.default_rng(7).integers(0, 256, SHAPE[:2], np.uint8)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    return path
