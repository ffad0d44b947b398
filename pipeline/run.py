"""The run folder: everything one execution of a recipe leaves behind."""

import contextlib
import datetime
import importlib.metadata
import json
import platform
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pipeline.files import alone, point, write_json, writing
from pipeline.recipe import Recipe
from serving.errors import ConvoyError

# Recorded with each run: what another machine needs to get the same figures.
PACKAGES = ("convoy", "tensorflow", "keras", "numpy", "tensorflow-datasets", "ai-edge-litert")


@dataclass(frozen=True)
class Run:
    """A run folder; the properties name what lies in it."""

    folder: Path

    @property
    def recipe_json(self) -> Path:
        """Every field of the recipe, and where and with what it ran."""
        return self.folder / "recipe.json"

    @property
    def metrics_json(self) -> Path:
        """How far it came, and what it scored."""
        return self.folder / "metrics.json"

    @property
    def checkpoints(self) -> Path:
        """What a training goes on from."""
        return self.folder / "checkpoints"

    @property
    def history(self) -> Path:
        """The scores of every epoch."""
        return self.folder / "history.csv"

    @property
    def network(self) -> Path:
        """The trained network in float32."""
        return self.folder / "model.keras"

    @property
    def last_good(self) -> Path:
        """The network as it was before a step that gave no finite numbers."""
        return self.folder / "last_good.keras"

    @property
    def rounding(self) -> Path:
        """What int8 does to the network, as `convoy export --diagnose` found."""
        return self.folder / "rounding"

    @property
    def bundle(self) -> Path:
        """The exported bundle."""
        return self.folder / "bundle"

    @property
    def recipe(self) -> Recipe:
        """The recipe this run executes.

        Raises:
            ConvoyError: missing, damaged, or written by another version.
        """
        try:
            return Recipe.from_dict(self.read(self.recipe_json)["recipe"])
        except (KeyError, TypeError, AttributeError) as error:
            raise ConvoyError(
                f"{self.recipe_json} was written by another version of Convoy: expected every "
                f"field of a recipe, received {error!r}; train again."
            ) from error

    @property
    def metrics(self) -> dict[str, Any]:
        """The content of `metrics.json`."""
        return self.read(self.metrics_json)

    def read(self, path: Path) -> dict[str, Any]:
        """Parse one of the run's JSON files.

        Raises:
            ConvoyError: missing or damaged.
        """
        try:
            return json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConvoyError(
                f"{self.folder} is not a run folder: expected a readable {path.name} in it, "
                f"received {type(error).__name__}; pass a folder that `convoy train` "
                "wrote, such as runs/latest."
            ) from error

    def record(self, **values: Any) -> None:
        """Add values to `metrics.json`."""
        write_json(self.metrics_json, self.metrics | values)

    @contextlib.contextmanager
    def at_work(self) -> Iterator[None]:
        """Keep every other process from working on this run; a killed one lets go of it.

        Raises:
            ConvoyError: another process is at work on it.
        """
        with alone(self.folder / ".lock", wait=False) as is_alone:
            if not is_alone:
                raise ConvoyError(
                    f"{self.folder} is at work: expected a run that no process trains, received "
                    "one that another holds; wait for it, or stop it first."
                )
            yield

    @contextlib.contextmanager
    def recording(self) -> Iterator[None]:
        """Keep the truth about how it ended: finished, interrupted or failed."""
        self.record(status="running", reason=None)
        try:
            yield
        except BaseException as error:
            is_interrupt = isinstance(error, KeyboardInterrupt)
            # Where the disk is full this cannot be written either; the first error matters.
            with contextlib.suppress(ConvoyError):
                status = "interrupted" if is_interrupt else "failed"
                self.record(status=status, reason=str(error).partition("\n")[0])
            if is_interrupt:
                way = f"go on with `convoy train --resume {self.folder}`"
                raise KeyboardInterrupt(way) from None
            raise
        self.record(status="finished")


def create_run(recipe: Recipe, folder: Path | None = None) -> Run:
    """Make the folder `runs/<recipe>/<timestamp>`, or the one named, with `recipe.json` in it.

    Raises:
        ConvoyError: the folder cannot be written to, or another process made it a run meanwhile.
    """
    run = Run(folder or new_folder(recipe))
    with run.at_work():
        if run.recipe_json.exists():
            raise ConvoyError(
                f"{run.folder} is a run already: expected a folder to begin one in, received what "
                "another process began meanwhile; give the same command again to go on with it."
            )
        # Last what makes it a run: before that a killed process leaves nothing to go on with.
        write_json(run.metrics_json, {"status": "running"})
        write_json(run.recipe_json, {"recipe": recipe.to_dict(), "provenance": provenance()})
    return run


def new_folder(recipe: Recipe) -> Path:
    """Make `runs/<recipe>/<timestamp>`, which no other process gets.

    Raises:
        ConvoyError: it cannot be written to.
    """
    folder = recipe.runs / recipe.name / f"{datetime.datetime.now():%Y-%m-%d_%H-%M-%S}"
    with writing(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        while True:
            try:
                folder.mkdir()
            except FileExistsError:
                folder = folder.with_name(folder.name + "+")
            else:
                return folder


def point_latest(run: Run) -> None:
    """Make `runs/latest` lead to this run."""
    point(run.recipe.runs / "latest", run.folder)


def provenance() -> dict[str, Any]:
    """Versions, machine, command and git revision of this process."""
    return {
        "created": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        "command": " ".join(["convoy", *sys.argv[1:]]),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "packages": {name: package_version(name) for name in PACKAGES},
        "git": git_revision(),
    }


def package_version(name: str) -> str | None:
    """Version of an installed package, `None` where it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def git_revision() -> str | None:
    """Commit of the working folder, with `+changes` where files differ from it."""
    try:
        return subprocess.run(
            ["git", "describe", "--always", "--abbrev=40", "--dirty=+changes"],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        ).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None
