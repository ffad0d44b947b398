"""What every test may use: the repository's data, and one trained run."""

import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from hypothesis import settings

# The same examples on every machine, at any speed, so that a red test tells of a change. Look for
# new ones with `pytest --hypothesis-profile=default`.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

REPOSITORY = Path(__file__).parents[1]


def pytest_addoption(parser):
    """Let the conformance tests write what they found into the docs."""
    parser.addoption("--write-support", action="store_true", help="write docs/support.md")


@pytest.fixture(scope="session")
def smoke_recipe(tmp_path_factory):
    """The smoke recipe with the repository's data and runs of its own."""
    import dataclasses

    from pipeline.recipes import RECIPES

    recipe = RECIPES["smoke"]
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, folder=REPOSITORY / "data"),
        runs=tmp_path_factory.mktemp("runs"),
    )


@pytest.fixture(scope="session")
def smoke_run(smoke_recipe):
    """A finished run of the smoke recipe; tests that change it take `run_copy`."""
    from pipeline import stages

    return stages.train(smoke_recipe)


@pytest.fixture
def run_copy(smoke_run, tmp_path):
    """A copy of the finished run that a test may spoil."""
    from pipeline.run import Run

    return Run(Path(shutil.copytree(smoke_run.folder, tmp_path / "run")))


@pytest.fixture(scope="session")
def smoke_splits(smoke_recipe):
    """The smoke recipe's data."""
    from pipeline.data.sources import load

    return load(smoke_recipe.data)
