from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pytest
import tyro

from pipeline.flags import flag_names, parse
from pipeline.recipe import Recipe, network
from serving.errors import ConvoyError

RECIPE = Recipe("mine", network("lenet"))


@dataclass(frozen=True)
class Box:
    """The inner part."""

    height: int = 3
    """Rows of the box."""
    colour: Literal["red", "blue"] = "red"
    """Of the outside."""


@dataclass(frozen=True)
class Parcel:
    """The outer part."""

    target: tyro.conf.Positional[Path]
    """Where it goes."""
    is_fragile: bool = False
    """Handle with care."""
    mass: float | None = None
    """In kilograms."""
    box: Box = Box()


def parcel(*args):
    return parse(Parcel, args, "convoy send")


def refusal(*args, kind=Parcel, default=None):
    """What is said of bad flags, which must be one sentence that ends with where help is."""
    with pytest.raises(ConvoyError) as raised:
        parse(kind, args, "convoy send", default)
    said = str(raised.value)
    assert "\n" not in said
    assert said.endswith(" See `convoy send --help`.")
    return said


def test_flags_set_fields_and_nested_flags_nested_fields():
    args = ["there", "--is-fragile", "--mass", "1.5", "--box.height=7", "--box.colour", "blue"]
    assert parcel(*args) == Parcel(Path("there"), True, 1.5, Box(7, "blue"))


def test_what_is_not_given_keeps_its_default():
    assert parcel("there") == Parcel(Path("there"))


def test_a_recipe_changes_only_where_its_flags_say():
    args = ["--training.epochs", "3", "--network.width", "9", "--data.flip", "none", "--seed", "5"]
    changed = parse(Recipe, args, "convoy train mine", default=RECIPE).to_dict()
    expected = RECIPE.to_dict()
    expected["training"]["epochs"] = 3
    expected["network"]["width"] = 9
    expected["data"]["flip"] = "none"
    expected["seed"] = 5
    assert changed == expected


def test_the_flags_of_a_recipe_are_those_its_help_shows(capsys):
    with pytest.raises(SystemExit):
        parse(Recipe, ["--help"], "convoy train mine", default=RECIPE)
    shown = capsys.readouterr().out
    names = list(flag_names(RECIPE))
    assert {"--name", "--network.width", "--data.height", "--export.gate.max-bytes"} <= set(names)
    assert len(names) == len(set(names))
    for name in names:
        assert f"{name} " in shown or f"{name}," in shown


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("--box.hieght", "--box.height"),
        ("--height", "--box.height"),
        ("--mas", "--mass"),
        ("--is-fragil", "--is-fragile"),
    ],
)
def test_an_unknown_flag_gives_the_nearest(wrong, right):
    said = refusal("there", wrong, "3")
    assert f"`convoy send` does not know `{wrong}`: did you mean `{right}`?" in said


def test_an_unknown_flag_unlike_any_other_lists_them():
    said = refusal("there", "--zzz")
    assert "choose one of `--box.colour`, `--box.height`, `--is-fragile`" in said


def test_a_stray_word_is_to_be_left_out():
    assert "`convoy send` does not know `stray`: leave it out." in refusal("there", "stray")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("--box.height", "tall"), ("--box.height", "'tall'")),
        (("--box.height", "3.5"), ("--box.height", "'3.5'")),
        (("--box.height="), ("--box.height", "''")),
        (("--mass", "heavy"), ("--mass", "heavy")),
        (("--box.colour", "green"), ("--box.colour", "'green'", "'red'", "'blue'")),
        (("--box.height",), ("--box.height", "Missing value")),
    ],
)
def test_an_unsuitable_value_is_refused_with_its_flag_and_what_was_received(args, words):
    said = refusal("there", *([args] if isinstance(args, str) else args))
    for word in words:
        assert word in said


def test_a_missing_word_is_described():
    assert "Missing from convoy send: PATH Where it goes." in refusal()


def test_two_mistakes_are_one_sentence_about_one_of_them():
    said = refusal("there", "--box.height", "tall", "--box.colour", "green")
    assert ("--box.height" in said) != ("--box.colour" in said)


@pytest.mark.parametrize("columns", ["20", "300"])
def test_a_narrow_terminal_changes_no_word(monkeypatch, columns):
    wide = refusal("there", "--box.colour", "green")
    monkeypatch.setenv("COLUMNS", columns)
    assert refusal("there", "--box.colour", "green") == wide


def test_help_exits_with_0_and_documents_the_fields(capsys):
    with pytest.raises(SystemExit) as ended:
        parcel("--help")
    assert not ended.value.code
    said = capsys.readouterr()
    assert said.err == ""
    for words in ("convoy send", "--box.height", "Rows of the box.", "Handle with care.", "red"):
        assert words in said.out
