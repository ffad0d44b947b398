"""Write the bundle of a run: every exported file and the manifest, whole or not at all."""

import dataclasses
import datetime
import functools
import importlib.util
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np

from models.equalize import equalized
from models.fold import fold_batch_norm
from models.quantize import calibrate, fake_quantized, is_fake_quantized
from pipeline.console import console
from pipeline.data.splits import Splits
from pipeline.export.calibration import calibration_images, fingerprint
from pipeline.export.mediapipe import write_mediapipe
from pipeline.export.micro import PACKAGES as MICRO_PACKAGES
from pipeline.export.micro import write_micro
from pipeline.export.onnx import PACKAGES as ONNX_PACKAGES
from pipeline.export.onnx import write_onnx
from pipeline.export.rounding import Rounding, float_layers, require_roundable
from pipeline.export.saved_model import write_saved_model
from pipeline.export.tflite import require_convertible, write_tflite
from pipeline.export.warmup import write_warmup
from pipeline.files import whole
from pipeline.recipe import Export
from pipeline.run import Run
from pipeline.task import Classification
from serving.bundle import MANIFEST, SCHEMA, ImageSpec, Manifest, Route, file_entry
from serving.errors import ConvoyError


def require_exportable(network: keras.Model, export: Export) -> None:
    """Refuse, before it is trained, a network that cannot become the files that are wanted.

    Raises:
        ConvoyError: a layer or a package stands in the way.
    """
    require_convertible(network, export)
    require_one_rounding(network, export)
    require_roundable(network, export)
    if export.onnx:
        require_packages("--export.onnx", "onnx", ONNX_PACKAGES)
    if export.micro:
        require_packages("--export.micro", "micro", MICRO_PACKAGES)


def require_one_rounding(network: keras.Model, export: Export) -> None:
    """Refuse other files of a network that was trained to round: they would round twice, or not.

    Raises:
        ConvoyError: one is wanted, or a layer is to be left to floats.
    """
    if not is_fake_quantized(network):
        return
    others = [f"--export.tflite {each}" for each in export.tflite if each != "int8"]
    others += [f"--export.{each}" for each in ("onnx", "mediapipe") if getattr(export, each)]
    others += ["--export.keep-float"] * bool(export.keep_float)
    others += ["--export.equalize"] * export.equalize
    if others:
        raise ConvoyError(
            f"`{network.name}` was trained to round as int8 does: expected `--export.tflite int8` "
            f"and no other file beside the SavedModel and --export.micro, received "
            f"{', '.join(others)}; export those from the run that it began with."
        )


def require_packages(flag: str, extra: str, packages: Sequence[str]) -> None:
    """Refuse to begin what could not be written or proven in the end.

    Raises:
        ConvoyError: a package is missing.
    """
    if missing := [name for name in packages if importlib.util.find_spec(name) is None]:
        raise ConvoyError(
            f"{flag} cannot be met: expected the packages {', '.join(packages)}, received no "
            f"{', '.join(missing)}; run `pip install 'convoy[{extra}]'` (for micro on x86-64 Linux "
            "alone), or leave it out."
        )


def write_bundle(
    run: Run, network: keras.Model, splits: Splits, task: Classification, export: Export
) -> Manifest:
    """Export `network` into the run's bundle, unproven as yet, as `export` says.

    Raises:
        ConvoyError: a conversion fails, or the disk refuses; an older bundle stays as it was.
    """
    recipe = run.recipe
    name, version = recipe.name, int(f"{datetime.datetime.now():%Y%m%d%H%M%S}")
    calibration = calibration_images(splits.train, export.calibration_images, recipe.seed)
    if export.keep_float:
        rounding = Rounding(network, task, calibration, splits.validation, export.equalize)
        export = dataclasses.replace(export, keep_float=float_layers(rounding, export))
    height, width, channels = splits.image_shape
    with whole(run.bundle) as folder:
        export_files = Exporter(folder, name, version, network, task, calibration, export)
        manifest = Manifest(
            schema=SCHEMA,
            name=name,
            version=version,
            task=task.name,
            labels=task.labels,
            input=ImageSpec("image", height, width, channels),
            output=task.output,
            provenance=run.read(run.recipe_json)
            | {"data": run.metrics["data"], "calibration": fingerprint(calibration)},
            routes=tuple(export_files.all()),
            export=dataclasses.asdict(export),
        )
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


@dataclass(frozen=True)
class Exporter:
    """Writes a network into a bundle's folder, route by route."""

    folder: Path
    name: str
    version: int
    network: keras.Model
    task: Classification
    calibration: np.ndarray
    export: Export

    def all(self) -> Iterator[Route]:
        """Write every file that is wanted."""
        export = self.export
        yield self.saved_model()
        yield from self.tflite(export.tflite)
        if export.mediapipe:
            yield self.mediapipe()
        if export.onnx:
            yield self.onnx()
        if export.micro:
            yield self.micro()

    @functools.cached_property
    def folded(self) -> keras.Model:
        """The network for converters: they fold a batch norm, but not through a pool, as we do."""
        form = equalized if self.export.equalize else fold_batch_norm
        return form(self.network)

    @functools.cached_property
    def integers(self) -> tuple[keras.Model, np.ndarray | None]:
        """The network for the int8 file, with images for its ranges where it has none itself."""
        if is_fake_quantized(self.network):
            return self.network, None
        if not self.export.keep_float:
            return self.folded, self.calibration
        rounded = fake_quantized(self.folded, self.export.keep_float)
        calibrate(rounded, self.calibration)
        return rounded, None

    def saved_model(self) -> Route:
        """The SavedModel, with requests that warm it up."""
        console.print("Exporting SavedModel ...")
        path = self.folder / "saved_model" / self.name / str(self.version)
        write_saved_model(self.network, self.task, path)
        write_warmup(path, self.name, self.calibration[0])
        files = sorted(each for each in path.rglob("*") if each.is_file())
        return self.route("saved_model", path, files)

    def tflite(self, variants: Sequence[str]) -> list[Route]:
        """The TFLite files, all by one converter."""
        if not variants:
            return []
        console.print("Exporting TFLite ...")
        files = {each: self.place("tflite", f".{each}.tflite") for each in variants}
        network, calibration = self.integers
        calibrated = dict(files)
        if calibration is None and "int8" in files:
            write_tflite(network, self.task, None, {"int8": calibrated.pop("int8")})
        if calibrated:
            write_tflite(self.folded, self.task, self.calibration, calibrated)
        return [self.route(f"tflite-{each}", file, [file]) for each, file in files.items()]

    def mediapipe(self) -> Route:
        """The TFLite file that MediaPipe Tasks loads."""
        console.print("Exporting for MediaPipe ...")
        file = self.place("mediapipe", ".tflite")
        write_mediapipe(self.folded, self.task, self.name, self.version, file)
        return self.route("mediapipe", file, [file])

    def onnx(self) -> Route:
        """The ONNX file."""
        console.print("Exporting ONNX ...")
        file = self.place("onnx", ".onnx")
        write_onnx(self.folded, self.task, file)
        return self.route("onnx", file, [file])

    def micro(self) -> Route:
        """The int8 file as C source; its size is that of the model, not of the text."""
        console.print("Exporting C source ...")
        shape = self.calibration.shape[1:]
        source = self.place("micro", ".c")
        model = self.int8()
        write_micro(model, self.name, self.version, self.task.labels, shape, source)
        route = self.route("tflite-micro", source, [source, source.with_suffix(".h")])
        return dataclasses.replace(route, model_bytes=len(model))

    def int8(self) -> bytes:
        """The int8 file: the one in the bundle, or one that is made for a moment."""
        file = self.folder / "tflite" / f"{self.name}.int8.tflite"
        if file.exists():
            return file.read_bytes()
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, "int8.tflite")
            network, calibration = self.integers
            write_tflite(network, self.task, calibration, {"int8": file})
            return file.read_bytes()

    def place(self, kind: str, ending: str) -> Path:
        """Where a file of a kind goes; its folder is made."""
        (self.folder / kind).mkdir(exist_ok=True)
        return self.folder / kind / (self.name + ending)

    def route(self, name: str, path: Path, files: Sequence[Path]) -> Route:
        """A route with the hashes of its files."""
        inside = [each.relative_to(self.folder).as_posix() for each in files]
        entries = tuple(file_entry(self.folder, each) for each in inside)
        return Route(name, path.relative_to(self.folder).as_posix(), entries)
