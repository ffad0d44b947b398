"""The docs say only what is so: verbs, flags, targets and links exist."""

import re
from pathlib import Path

import pytest

from pipeline import cli
from pipeline.flags import flag_names
from pipeline.recipes import RECIPES

REPOSITORY = Path(__file__).parents[1]
PAGES = sorted([*REPOSITORY.glob("*.md"), *REPOSITORY.glob("docs/*.md")])


@pytest.fixture(params=PAGES, ids=lambda page: page.name)
def page(request):
    return request.param.read_text()


def code(page):
    """What stands between backticks or in blocks."""
    return "\n".join(re.findall(r"```.*?```|`[^`\n]+`", page, re.DOTALL))


def test_every_verb_exists(page):
    assert set(re.findall(r"\bconvoy ([a-z]+)\b", code(page))) <= set(cli.VERBS)


def test_every_recipe_exists(page):
    named = re.findall(r"\bconvoy train ([a-z_]+)\b(?!\.py)", code(page))
    assert set(named) <= set(RECIPES)


def test_every_recipe_flag_exists(page):
    known = {flag for recipe in RECIPES.values() for flag in flag_names(recipe)}
    known.add("--network.architecture")
    assert set(re.findall(r"--(?:data|network|training|export)\.[\w.-]+", page)) <= known


def test_every_make_target_exists(page):
    targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    assert set(re.findall(r"\bmake ([a-z-]+)\b", code(page))) <= set(targets)


def test_every_link_inside_the_project_leads_somewhere(page):
    for target in re.findall(r"\]\((?!http)([^)#]+)", page):
        assert (REPOSITORY / target).exists() or (REPOSITORY / "docs" / target).exists()


def test_the_lock_holds_no_address():
    for line in (REPOSITORY / "requirements.lock").read_text().splitlines():
        assert re.fullmatch(r"[a-z0-9-]+==[\w.+!]+( ; .+)?", line)
