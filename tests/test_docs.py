"""The docs say only what is so: verbs, flags, targets and links exist."""

import dataclasses
import re
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline import cli, stages
from pipeline.bench_verbs import BENCHMARKS
from pipeline.flags import flag_names
from pipeline.recipe import network
from pipeline.recipes import RECIPES
from pipeline.tuning.search import Search

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def path(request):
    return request.param


@pytest.fixture
def page(path):
    return path.read_text()


def code(page):
    """What stands between backticks or in blocks."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL))


def test_every_verb_exists(page):
    assert set(re.findall(r"\bconvoy ([a-z]+)\b", code(page))) <= set(cli.VERBS)


def test_every_benchmark_exists(page):
    assert set(re.findall(r"\bconvoy bench ([a-z]+)\b", code(page))) <= set(BENCHMARKS)


def test_every_recipe_has_a_row():
    rows = re.findall(r"^\| `(\w+)` \|", (REPOSITORY / "docs/recipes.md").read_text(), re.MULTILINE)
    assert set(RECIPES) <= set(rows)


def test_every_recipe_exists(page):
    named = re.findall(r"\bconvoy train ([a-z_]+)\b(?!\.py)", code(page))
    assert set(named) <= set(RECIPES)


def test_every_recipe_flag_exists(page):
    known = {flag for recipe in RECIPES.values() for flag in flag_names(recipe)}
    known.add("--network.architecture")
    assert set(re.findall(r"--(?:data|network|training|export)\.[\w.-]+", page)) <= known


def test_every_flag_of_a_search_exists(page):
    known = {f"--search.{flag.removeprefix('--')}" for flag in flag_names(Search())}
    assert set(re.findall(r"--search\.[\w.-]+", page)) <= known


def test_every_make_target_exists(page):
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)\b", code(page))) <= set(targets)


def test_every_link_inside_the_project_leads_somewhere(path, page):
    for target, anchor in re.findall(r"\]\((?!http)([^)#]*)#?([^)]*)\)", page):
        found = path.parent / target if target else path
        assert found.exists()
        assert not anchor or anchor in anchors(found.read_text())


def anchors(page):
    """What a link may name in a page: its headings, as GitHub writes them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", each.lower()).replace(" ", "-") for each in headings}


@pytest.mark.slow
def test_the_example_of_a_sliding_classifier_finds_the_items(smoke_recipe, tmp_path):
    longer = dataclasses.replace(smoke_recipe.training, epochs=12)
    recipe = dataclasses.replace(
        smoke_recipe, network=network("topology"), training=longer, runs=tmp_path
    )
    run, picture = stages.train(recipe), tmp_path / "sliding.png"
    script = REPOSITORY / "docs" / "sliding.py"
    said = subprocess.run(
        [sys.executable, script, run.folder, picture],
        capture_output=True,
        text=True,
        check=True,
        cwd=REPOSITORY,
    ).stdout
    assert int(said.split()[0]) >= 3, said
    assert picture.stat().st_size > 10_000


def test_the_lock_holds_no_address():
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!]+( ; .+)?", line)
