"""What every test may use: the repository's data, and one trained run."""

import fcntl
import os
import shutil
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pytest
from hypothesis import settings

import pipeline  # noqa: F401 - before TensorFlow, whose kernels it chooses.
from tests.models.support import PAGE, Support

# The same examples on every machine, at any speed, so that a red test tells of a change. Look for
# new ones with `pytest --hypothesis-profile=default`.
settings.register_profile("steady", deadline=None, derandomize=True)
settings.load_profile("steady")

REPOSITORY = Path(__file__).parents[1]
# Where the rows of docs/support.md are tested.
TABLES = {"test_layer_conformance": "Layers", "test_network_conformance": "Networks"}


def pytest_addoption(parser):
    """Let the conformance tests write what they found into the docs."""
    parser.addoption("--write-support", action="store_true", help="write docs/support.md")


def pytest_configure(config):
    """Begin a table of what is supported."""
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(SupportTable(config), "support-table")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Tell with the outcome of a test which cell of the table it fills."""
    report = yield
    marker = item.get_closest_marker("support")
    if marker and (report.when == "call" or report.failed):
        table = next(table for name, table in TABLES.items() if name in item.nodeid)
        cell = (table, item.callspec.params["row"], *marker.args)
        report.user_properties = [*report.user_properties, ("cell", cell)]
    return report


class SupportTable:
    """Collects the outcomes of all workers, and holds docs/support.md against them."""

    def __init__(self, config):
        self.config = config
        self.support = Support()

    def pytest_runtest_logreport(self, report):
        """Keep the outcome of a test that fills a cell of the table."""
        found = dict(report.user_properties)
        if "cell" in found:
            self.support.record(*found["cell"], report.passed, found.get("refusal"))

    def pytest_sessionfinish(self, session, exitstatus):
        """Write the page after a green run, or fail where it tells something else than found."""
        green = exitstatus == pytest.ExitCode.OK
        if self.config.getoption("write_support"):
            if green:
                PAGE.write_text(self.support.page(), encoding="utf-8")
        elif green and any(self.support.stale()):
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        """Say which lines of the page are out of date."""
        stale = sorted(self.support.stale())
        if stale:
            terminalreporter.section("docs/support.md is out of date: run `make support`")
            terminalreporter.write_line("\n".join(stale))


@pytest.fixture(scope="session")
def shared_folder(tmp_path_factory):
    """A folder that all workers of a session share."""
    own = tmp_path_factory.getbasetemp()
    shared = (own.parent if "PYTEST_XDIST_WORKER" in os.environ else own) / "shared"
    shared.mkdir(exist_ok=True)
    return shared


@pytest.fixture(scope="session")
def smoke_recipe(shared_folder):
    """The smoke recipe with the repository's data and runs of its own."""
    import dataclasses

    from pipeline.recipes import RECIPES

    recipe = RECIPES["smoke"]
    return dataclasses.replace(
        recipe,
        data=dataclasses.replace(recipe.data, folder=REPOSITORY / "data"),
        runs=shared_folder / "runs",
    )


@pytest.fixture(scope="session")
def smoke_run(smoke_recipe, shared_folder):
    """A finished run of the smoke recipe; tests that change it take `run_copy`."""
    from pipeline import stages
    from pipeline.run import Run

    latest = smoke_recipe.runs / "latest"
    with (shared_folder / "lock").open("w") as lock:
        # One worker trains it, the others wait.
        fcntl.flock(lock, fcntl.LOCK_EX)
        return Run(latest.resolve()) if latest.exists() else stages.train(smoke_recipe)


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
