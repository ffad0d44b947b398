"""Write the bundle of a run: every exported file and the manifest, whole or not at all."""

import dataclasses
import datetime
from pathlib import Path

import keras

from pipeline.console import console
from pipeline.data.splits import Splits
from pipeline.export.calibration import calibration_images, fingerprint
from pipeline.export.onnx import require_onnx, write_onnx
from pipeline.export.saved_model import write_saved_model
from pipeline.export.tflite import require_convertible, write_tflite
from pipeline.export.warmup import write_warmup
from pipeline.files import whole
from pipeline.recipe import Export
from pipeline.run import Run
from pipeline.task import Classification
from serving.bundle import MANIFEST, SCHEMA, ImageSpec, Manifest, Route, file_entry


def require_exportable(network: keras.Model, export: Export) -> None:
    """Refuse, before it is trained, a network that cannot become the files that are wanted.

    Raises:
        ConvoyError: a layer or a package stands in the way.
    """
    require_convertible(network, export.tflite)
    if export.onnx:
        require_onnx()


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
    with whole(run.bundle) as folder:
        console.print("Exporting SavedModel ...")
        saved_model = folder / "saved_model" / name / str(version)
        write_saved_model(network, task, saved_model)
        write_warmup(saved_model, name, calibration[0])
        tflite = folder / "tflite"
        files = {each: tflite / f"{name}.{each}.tflite" for each in export.tflite}
        if files:
            console.print("Exporting TFLite ...")
            tflite.mkdir()
            write_tflite(network, task, calibration, files)
        routes = [("saved_model", saved_model)]
        routes += [(f"tflite-{variant}", file) for variant, file in files.items()]
        if export.onnx:
            console.print("Exporting ONNX ...")
            file = folder / "onnx" / f"{name}.onnx"
            file.parent.mkdir()
            write_onnx(network, task, file)
            routes.append(("onnx", file))
        height, width, channels = splits.image_shape
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
            routes=tuple(describe(route, path, folder) for route, path in routes),
            export=dataclasses.asdict(export),
        )
        (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return manifest


def describe(route: str, path: Path, bundle: Path) -> Route:
    """A route with the hashes of its file, or of all files below its folder."""
    inside = sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]
    files = tuple(file_entry(bundle, each.relative_to(bundle).as_posix()) for each in inside)
    return Route(route, path.relative_to(bundle).as_posix(), files)
