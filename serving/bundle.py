"""The bundle: the one contract between training and everything that runs afterwards.

A bundle is a folder with a `manifest.json` that names every exported file, its
sha256, what it scored on the test split and whether the gate lets it ship.
"""

import dataclasses
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from serving.errors import ConvoyError, GateFailed, nearest

# Raised when an older reader could misunderstand a newer manifest.
SCHEMA = 2
MANIFEST = "manifest.json"
# What any device can run, the first choice first; others need runtimes that not all have.
DEVICE_ROUTES = (
    "tflite-fp32",
    "tflite-int8",
    "tflite-dynamic",
    "tflite-fp16",
    "tflite-int16x8",
)


@dataclass(frozen=True)
class File:
    """One file on disk: its path inside the bundle, sha256 and size in bytes."""

    path: str
    sha256: str
    bytes: int


@dataclass(frozen=True)
class ImageSpec:
    """What the network takes: raw values 0-255, `(height, width, channels)`."""

    name: str
    height: int
    width: int
    channels: int

    @property
    def shape(self) -> tuple[int, int, int]:
        """`(height, width, channels)`."""
        return (self.height, self.width, self.channels)


@dataclass(frozen=True)
class Gate:
    """Whether a route may ship, and each reason why not."""

    passed: bool
    reasons: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evidence:
    """What a route scored on the whole test split, in its own runtime.

    Fractions lie in 0-1; latencies are milliseconds for one image, on the
    runtime's own threads for the SavedModel and on one thread for other files.
    `agreement` is with the trained network, `signatures` that of each further way
    in. The differences are those of single probabilities from the trained
    network's, in the mean and at most; `images_per_second` were answered with all
    cores; `arena_bytes` are what a microcontroller needs beside the file. What
    older bundles do not tell is `None`.
    """

    images: int
    accuracy: float
    agreement: float
    worst_class: str
    worst_class_drop: float
    latency_p50_ms: float
    latency_p99_ms: float
    signatures: dict[str, float] = field(default_factory=dict)
    mean_difference: float | None = None
    largest_difference: float | None = None
    images_per_second: float | None = None
    arena_bytes: int | None = None

    @property
    def accuracy_interval(self) -> tuple[float, float]:
        """Where the accuracy lies on images like these, at 95% confidence.

        Reference:
            Wilson, 1927. https://doi.org/10.1080/01621459.1927.10502953
        """
        z, n, share = 1.959964, self.images, self.accuracy
        centre = (share + z * z / (2 * n)) / (1 + z * z / n)
        half = z * math.sqrt(share * (1 - share) / n + z * z / (4 * n * n)) / (1 + z * z / n)
        return centre - half, centre + half


@dataclass(frozen=True)
class Route:
    """One way to get an answer: `saved_model`, `tflite-fp32`, `tflite-int8`, ...

    `path` is the file, or the folder `saved_model/<name>/<version>`. `evidence`
    and `gate` are `None` until the route has been verified. `model_bytes` is the
    size of the model in C source.
    """

    route: str
    path: str
    files: tuple[File, ...]
    evidence: Evidence | None = None
    gate: Gate | None = None
    model_bytes: int | None = None

    @property
    def bytes(self) -> int:
        """Size of all the route's files together; of C source, that of the model in it."""
        return self.model_bytes or sum(file.bytes for file in self.files)

    @property
    def may_ship(self) -> bool:
        """Whether the gate was asked, and let it pass."""
        return self.gate is not None and self.gate.passed

    @property
    def reasons(self) -> tuple[str, ...]:
        """Why the gate holds the route back; none where it does not, or has not run."""
        return self.gate.reasons if self.gate else ()


@dataclass(frozen=True)
class Manifest:
    """The content of `manifest.json`.

    `export` is that part of a recipe, as the bundle was written by it; `golden`
    is there once the bundle was verified.
    """

    schema: int
    name: str
    version: int
    task: str
    labels: tuple[str, ...]
    input: ImageSpec
    output: str
    provenance: dict[str, Any]
    routes: tuple[Route, ...]
    export: dict[str, Any] = field(default_factory=dict)
    golden: File | None = None

    @property
    def held_back(self) -> list[Route]:
        """The routes that went through the gate and may not ship."""
        return [route for route in self.routes if route.gate and not route.gate.passed]

    def to_json(self) -> str:
        """Render as indented JSON, ending with a newline."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> "Manifest":
        """Parse the text of a manifest; `source` names it in errors.

        Raises:
            ConvoyError: the text is damaged, or was written by a newer version.
        """
        try:
            content = json.loads(text)
            schema = int(content["schema"])
            if schema <= SCHEMA:
                return cls._from_content(content)
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ConvoyError(
                f"{source} is damaged: expected a bundle manifest, received {error!r}; "
                "export the run again."
            ) from error
        raise ConvoyError(
            f"{source} was made by a newer version: expected manifest schema {SCHEMA} or older, "
            f"received {schema}; read it with the version that made it."
        )

    @classmethod
    def _from_content(cls, content: dict[str, Any]) -> "Manifest":
        return cls(
            schema=int(content["schema"]),
            name=content["name"],
            version=int(content["version"]),
            task=content["task"],
            labels=tuple(content["labels"]),
            input=ImageSpec(**content["input"]),
            output=content["output"],
            provenance=dict(content["provenance"]),
            routes=tuple(_route(each) for each in content["routes"]),
            export=dict(content.get("export", {})),
            golden=File(**content["golden"]) if content.get("golden") else None,
        )


def _route(content: dict[str, Any]) -> Route:
    evidence, gate = content["evidence"], content["gate"]
    return Route(
        route=content["route"],
        path=content["path"],
        files=tuple(File(**each) for each in content["files"]),
        evidence=Evidence(**evidence) if evidence else None,
        gate=Gate(bool(gate["passed"]), tuple(gate["reasons"])) if gate else None,
        model_bytes=content.get("model_bytes"),
    )


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk: its folder and its manifest."""

    folder: Path
    manifest: Manifest

    def route(self, name: str) -> Route:
        """Find a route by name.

        Raises:
            ConvoyError: the bundle has no such route.
        """
        for route in self.manifest.routes:
            if route.route == name:
                return route
        known = [route.route for route in self.manifest.routes]
        raise ConvoyError(f"{self.folder} has no route `{name}`: {nearest(name, known)}")

    def default_route(self, wanted: Sequence[str], allow_unproven: bool = False) -> str:
        """Name the first of the wanted routes that may ship; the first of all where none may.

        Raises:
            ConvoyError: the bundle has none of them.
        """
        routes = {route.route: route for route in self.manifest.routes}
        found = [routes[name] for name in wanted if name in routes]
        if not found:
            raise ConvoyError(
                f"{self.folder} has no file to run: expected one of {', '.join(wanted)}, received "
                f"{', '.join(routes) or 'no file at all'}; name one with --route, or run `convoy "
                "export` on its run with --export.tflite fp32."
            )
        able = [route for route in found if allow_unproven or route.may_ship]
        return (able or found)[0].route

    def checked(self, name: str, allow_unproven: bool = False) -> Path:
        """Path of a route's file or folder, after its hashes and its gate were checked.

        Args:
            name: the route, for example `tflite-int8`.
            allow_unproven: take a route that failed the gate, or never went through it.

        Raises:
            ConvoyError: the route or one of its files is missing or damaged.
            GateFailed: the gate did not pass this route.
        """
        route = self.route(name)
        if not allow_unproven:
            require_gate(route, self.folder)
        for file in route.files:
            check(self.folder, file)
        return self.folder / route.path


def open_bundle(folder: str | Path) -> Bundle:
    """Read the bundle in `folder`; no file but the manifest is opened.

    Raises:
        ConvoyError: not a bundle, or its manifest is damaged or too new.
    """
    folder = Path(folder)
    manifest = folder / MANIFEST
    try:
        text = manifest.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConvoyError(
            f"{folder} is not a bundle: expected a readable {MANIFEST} in it, received "
            f"{type(error).__name__}; pass the `bundle` folder of a finished run."
        ) from error
    return Bundle(folder, Manifest.from_json(text, source=str(manifest)))


def require_gate(route: Route, folder: Path) -> None:
    """Raise `GateFailed` unless the gate passed this route."""
    if route.gate is None:
        raise GateFailed(
            f"`{route.route}` in {folder} is unproven: no gate has run; "
            "run `convoy verify` on its run."
        )
    if not route.gate.passed:
        raise GateFailed(
            f"`{route.route}` in {folder} may not ship: {'; '.join(route.gate.reasons)}; "
            "choose a route that passed, or allow unproven files to look at it anyway."
        )


def check(folder: Path, file: File, remedy: str = "export the run again") -> None:
    """Compare a file with its hash.

    Args:
        folder: of the bundle.
        file: what the manifest says of it.
        remedy: what helps where copying the bundle again does not.

    Raises:
        ConvoyError: the file is missing, cut short or changed.
    """
    try:
        found = digest(folder / file.path)
    except OSError as error:
        raise ConvoyError(
            f"{folder / file.path} cannot be read ({error.strerror}): expected {file.bytes} bytes "
            f"as the manifest says; copy the bundle again or {remedy}."
        ) from error
    if found != file.sha256:
        raise ConvoyError(
            f"{folder / file.path} is damaged: expected sha256 {file.sha256[:12]}..., received "
            f"{found[:12]}...; copy the bundle again or {remedy}."
        )


def digest(path: Path) -> str:
    """sha256 of a file, in hexadecimal."""
    sha256 = hashlib.sha256()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
    return sha256.hexdigest()


def file_entry(folder: Path, path: str) -> File:
    """Describe the file at `path` inside `folder`."""
    return File(path, digest(folder / path), (folder / path).stat().st_size)
