import json

import keras
import pytest

from benchmarks import degradation, layers
from models.layers import Conv2D, MaxPool2D
from pipeline.cli import main
from serving.errors import ConvoyError


def test_every_layer_is_compared_with_one_that_gives_the_same_numbers(monkeypatch):
    monkeypatch.setattr(layers, "LEAST_SECONDS", 0.0)
    found = [layers.measure(name, "float32", pairs=2) for name in layers.LAYERS]
    assert [each["layer"] for each in found] == list(layers.LAYERS)
    assert all(each[mode]["ratio"]["minimum"] > 0 for each in found for mode in layers.MODES)


def test_two_layers_that_do_not_do_the_same_are_not_compared(monkeypatch):
    unlike = layers.Case(MaxPool2D, keras.layers.AveragePooling2D, layers.PAIRS, (1, 4, 4, 1))
    monkeypatch.setitem(layers.LAYERS, "unlike", unlike)
    with pytest.raises(ConvoyError, match="`unlike` is not what it is compared with"):
        layers.measure("unlike", "float32", pairs=2)


def test_a_slower_side_shows_as_slower(monkeypatch):
    larger, smaller = {"filters": 64, "kernel_size": 5}, {"filters": 1, "kernel_size": 1}
    shape = (16, 28, 28, 16)
    monkeypatch.setattr(layers, "hold_alike", lambda *_: None)
    monkeypatch.setattr(keras.layers.Layer, "set_weights", lambda *_: None)

    def ratio(ours, theirs):
        case = layers.Case(
            lambda **k: Conv2D(**ours, **k), lambda **k: Conv2D(**theirs, **k), {}, shape
        )
        monkeypatch.setitem(layers.LAYERS, "probe", case)
        return layers.measure("probe", "float32", pairs=3)["training"]["ratio"]["median"]

    assert ratio(smaller, larger) > 1 > ratio(larger, smaller)


def test_the_table_grows_line_by_line_and_json_holds_the_same(capsys):
    assert main(["bench", "layers", "AveragePool1D", "--pairs", "2"]) == 0
    head, first, second, *_ = capsys.readouterr().out.splitlines()
    assert head.split()[-2:] == ["inference", "training"]
    assert first.split()[:2] == ["AveragePool1D", "float32"]
    assert second.split()[:2] == ["AveragePool1D", "bfloat16"]
    assert main(["bench", "layers", "AveragePool1D", "--pairs", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [each["dtype"] for each in found["layers"]] == ["float32", "bfloat16"]


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["Conv4D"], "unknown layer `Conv4D`: did you mean"),
        (["Conv2D", "--pairs", "1"], "`pairs` is too small.*pairs=1"),
    ],
)
def test_a_wrong_name_or_number_is_refused(flags, said, capsys):
    assert main(["bench", "layers", *flags]) == 2
    assert said.partition(".*")[0] in capsys.readouterr().err


@pytest.mark.slow
def test_degradation_writes_figures_and_a_plot(tmp_path):
    result = degradation.run(images=512, epochs=1, seed=0, folder=tmp_path)
    assert list(result["networks"]) == list(degradation.NETWORKS)
    assert json.loads((tmp_path / "degradation.json").read_text()) == result
    assert (tmp_path / "degradation.png").stat().st_size > 10_000
    sizes = {name: each["parameters"] for name, each in result["networks"].items()}
    assert sizes["plain56"] > 3 * sizes["plain20"]
    assert len(degradation.table(result).splitlines()) == 5
