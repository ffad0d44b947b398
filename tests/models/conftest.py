import keras
import pytest

from tests.models.support import PAGE, Support

TABLES = {"test_layer_conformance": "Layers", "test_network_conformance": "Networks"}


@pytest.fixture(autouse=True)
def seed():
    """Start every test from the same random numbers."""
    keras.utils.set_random_seed(0)


@pytest.fixture
def policy(request):
    """Run a test under the dtype policy that it is parametrized with, then put the old one back."""
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(request.param)
    yield request.param
    keras.config.set_dtype_policy(before)


def pytest_configure(config):
    """Begin a table of what is supported."""
    config.stash[SUPPORT] = Support()


SUPPORT = pytest.StashKey[Support]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Keep the outcome of a test that fills a cell of the table."""
    report = yield
    marker = item.get_closest_marker("support")
    if marker and (report.when == "call" or report.failed):
        table = next(table for name, table in TABLES.items() if name in item.nodeid)
        row, refusal = item.callspec.params["row"], dict(item.user_properties).get("refusal")
        item.config.stash[SUPPORT].record(table, row, *marker.args, report.passed, refusal)
    return report


def pytest_sessionfinish(session, exitstatus):
    """Write the page after a green run, or fail where it tells something else than was found."""
    support = session.config.stash[SUPPORT]
    green = exitstatus == pytest.ExitCode.OK
    if session.config.getoption("write_support"):
        if green:
            PAGE.write_text(support.page(), encoding="utf-8")
    elif green and any(support.stale()):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter, config):
    """Say which lines of the page are out of date."""
    stale = sorted(config.stash[SUPPORT].stale())
    if stale:
        terminalreporter.section("docs/support.md is out of date: run `make support`")
        terminalreporter.write_line("\n".join(stale))
