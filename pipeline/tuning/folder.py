"""The folder of a search: what lies in it."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Sweep:
    """A sweep's folder; the properties name what lies in it."""

    folder: Path

    @property
    def search_json(self) -> Path:
        """The recipe, the space, how it was searched, where and with what."""
        return self.folder / "search.json"

    @property
    def oracle_json(self) -> Path:
        """What a search goes on from."""
        return self.folder / "oracle.json"

    @property
    def sweep_json(self) -> Path:
        """Every trial: its values, scores and fate, the best first."""
        return self.folder / "sweep.json"

    @property
    def sweep_csv(self) -> Path:
        """The same as a table."""
        return self.folder / "sweep.csv"

    @property
    def best(self) -> Path:
        """The best recipe, a file that `convoy train` takes."""
        return self.folder / "best.py"

    @property
    def plots(self) -> Path:
        """The pictures."""
        return self.folder / "plots"

    @property
    def trials(self) -> Path:
        """A run folder for each trial."""
        return self.folder / "trials"
