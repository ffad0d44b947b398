"""Exports killed for real: a bundle is the old one or a whole new one."""

import shutil
import time

import pytest

from pipeline import cli
from serving.bundle import open_bundle
from tests.killing import end, none_stays, start, wait_until  # noqa: F401 - a fixture.


def assert_whole(bundle):
    """Every file that the manifest lists is there with its hash."""
    for route in open_bundle(bundle).manifest.routes:
        open_bundle(bundle).checked(route.route, allow_unproven=True)


@pytest.mark.slow
@pytest.mark.parametrize("has_older", [False, True], ids=["first", "again"])
def test_an_export_killed_at_any_point_leaves_the_old_bundle_or_a_whole_new_one(
    run_copy, has_older
):
    seconds = seconds_of_an_export(run_copy)
    if not has_older:
        shutil.rmtree(run_copy.bundle)
    before = open_bundle(run_copy.bundle).manifest if has_older else None
    unfinished = 0
    for share in (0, 0.2, 0.4, 0.6, 0.8, 0.9, 1):
        process = start_export(run_copy)
        time.sleep(share * seconds)
        end(process)
        unfinished += scratch_of(process, run_copy).exists()
        if run_copy.bundle.exists():
            assert_whole(run_copy.bundle)
            if share == 0:
                assert open_bundle(run_copy.bundle).manifest == before
        else:
            assert not has_older
    # Most kills came while the bundle was being written.
    assert unfinished >= 4


def scratch_of(process, run):
    """Where a process writes the bundle until it is whole."""
    return run.folder / f".bundle.{process.pid}.partial"


def start_export(run):
    """An export that has just begun to write."""
    process = start("export", str(run.folder))
    wait_until(scratch_of(process, run).exists, process)
    return process


def seconds_of_an_export(run):
    """From the first thing written to the whole bundle."""
    process = start_export(run)
    began = time.monotonic()
    wait_until(lambda: not scratch_of(process, run).exists(), process)
    seconds = time.monotonic() - began
    process.communicate()
    return seconds


@pytest.mark.slow
def test_the_next_export_clears_away_what_a_killed_one_left(run_copy):
    process = start_export(run_copy)
    end(process)
    assert scratch_of(process, run_copy).exists()
    assert cli.main(["export", str(run_copy.folder)]) == 0
    assert not list(run_copy.folder.glob(".*"))
