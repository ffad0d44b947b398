"""A delegate is loaded by name, asked, and told where it cannot be used."""

import json
import subprocess
from pathlib import Path

import pytest

from serving.delegate import Delegate
from serving.edge import load, main
from serving.errors import ConvoyError


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """A delegate that is compiled here; it takes no operation."""
    target = tmp_path_factory.mktemp("delegate") / "delegate.so"
    source = Path(__file__).with_name("delegate.c")
    subprocess.run(["cc", "-shared", "-fPIC", "-o", target, source], check=True)
    return target


def test_a_delegate_is_asked_and_the_answers_stay(bundle, photo, library, tmp_path, capsys):
    assert main([str(bundle.folder), str(photo), "--json"]) == 0
    alone = json.loads(capsys.readouterr().out)["answers"]
    flag = f"{library},file={tmp_path / 'said'}"
    assert main([str(bundle.folder), str(photo), "--json", "--delegate", flag]) == 0
    assert json.loads(capsys.readouterr().out)["answers"] == alone
    assert (tmp_path / "said").read_text() == "asked"


def test_a_delegate_that_fails_is_one_sentence(bundle, photo, library, tmp_path, capsys):
    for flag, reason in (
        (f"{library}", "give the option `file`"),
        (f"{tmp_path}/missing.so", "missing.so: cannot open shared object file"),
    ):
        assert main([str(bundle.folder), str(photo), "--delegate", flag]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert reason in said


def test_a_delegate_that_cannot_prepare_is_one_sentence(bundle, library, tmp_path):
    delegate = Delegate.parse(f"{library},file={tmp_path}/missing/said")
    with pytest.raises(ConvoyError, match="cannot be run: expected a whole TensorFlow Lite model"):
        load(bundle.folder, delegate=delegate)


@pytest.mark.parametrize("text", ["", ",a=b", "x.so,a", "x.so,=b", "x.so,"])
def test_words_that_name_no_delegate_are_refused(text):
    with pytest.raises(ConvoyError, match="expected LIBRARY or LIBRARY,KEY=VALUE"):
        Delegate.parse(text)


def test_other_runtimes_take_no_delegate(tmp_path):
    source = tmp_path / "network.onnx"
    source.touch()
    with pytest.raises(ConvoyError, match="takes no delegate: expected a TFLite file for x.so"):
        load(source, delegate=Delegate.parse("x.so"))
