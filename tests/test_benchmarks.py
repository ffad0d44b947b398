import dataclasses
import json

import keras
import pytest

import models
from benchmarks import degradation, latency, layers, scaling, target, train
from models.layers import Conv2D, MaxPool2D
from pipeline.cli import main
from serving.errors import ConvoyError


def test_every_layer_is_compared_with_one_that_gives_the_same_numbers(monkeypatch):
    monkeypatch.setattr(layers, "LEAST_SECONDS", 0.0)
    found = [layers.measure(name, "float32", pairs=2) for name in layers.LAYERS]
    assert [each["layer"] for each in found] == list(layers.LAYERS)
    assert all(each[mode]["ratio"]["minimum"] > 0 for each in found for mode in layers.MODES)


def test_single_images_are_timed_beside_the_bare_interpreter(smoke_run, capsys):
    assert main(["bench", "latency", str(smoke_run.bundle), "--pairs", "2", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    routes = ["tflite-fp32", "tflite-int8"]
    names = [name for route in routes for name in (route, f"{route}, bare")]
    assert list(found["milliseconds"]) == names
    assert list(found["ratio_to_bare"]) == routes
    # What conversions add is little, and never makes it faster by much.
    assert all(0.5 < ratio["median"] < 3 for ratio in found["ratio_to_bare"].values())
    assert latency.table(found).splitlines()[1].startswith("tflite-fp32 ")


def test_a_bundle_without_proven_tflite_files_is_not_timed(run_copy):
    manifest = run_copy.bundle / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"passed": true', '"passed": false'))
    with pytest.raises(ConvoyError, match="has nothing to time"):
        latency.run(run_copy.bundle)


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


@pytest.mark.slow
@pytest.mark.parametrize("best", ["bfloat16", "float32"])
def test_training_is_measured_beside_others_in_the_precisions_that_are_fast_here(monkeypatch, best):
    monkeypatch.setattr(train, "STEPS", 2)
    monkeypatch.setattr(train, "TINY_STEPS", 5)
    monkeypatch.setattr(train, "choose_precision", lambda wanted: best)
    found = train.run(pairs=2)
    ours, theirs = f"ours, {best}", f"Keras fit, {best}"
    measured = {name for name in found["images_per_second"] if not name.startswith("PyTorch")}
    assert measured == {ours, theirs, "ours, float32", "Keras fit, float32"}
    low, high = (found["times"][theirs][bound] for bound in ("lower", "upper"))
    assert low <= found["times"][theirs]["median"] <= high
    assert found["times"][ours]["median"] == 1
    assert 0 < found["share_of_ceiling"] < 1
    assert json.loads(json.dumps(found))["pairs"] == 2
    assert max(map(len, train.table(found).splitlines())) <= 80


@pytest.mark.parametrize(
    ("python", "said"),
    [("/bin/false", "PyTorch did not train"), ("/no/such/python", "--python does not run")],
)
def test_a_python_without_pytorch_is_refused_where_it_was_asked_for(python, said, capsys):
    assert main(["bench", "train", "--python", python, "--pairs", "2"]) == 2
    assert said in capsys.readouterr().err


def test_the_peer_of_training_has_the_layers_and_weights_of_ours():
    ours = models.build("resnet20", (28, 28, 1), 10, shortcut="projection")
    assert train.stock_resnet20().count_params() == ours.count_params()
    # Of He et al.: about 41 million products for 32x32 images, of which 28x28 are a share of 0.77.
    assert train.operations() / 6 == pytest.approx(41e6 * 28**2 / 32**2, rel=0.03)


@pytest.mark.slow
def test_the_time_to_a_goal_is_measured_for_both_sides(smoke_recipe):
    few = dataclasses.replace(
        smoke_recipe, data=dataclasses.replace(smoke_recipe.data, max_train_images=600)
    )
    found = target.run(few, target=0.0, seeds=1)
    ((seed, turn),) = (each.values() for each in found["turns"])
    assert seed == few.seed
    assert turn["stock Keras"]["epochs"] == 1
    assert turn["ours"]["epochs"] == few.training.epochs
    for side in turn.values():
        assert side["seconds"] > 0
        assert 0 <= side["test"] <= 1
    assert "Both reached 0.0% in 1 of 1 turns" in target.table(found)
    assert "missed" in target.table({**found, "target": 0.99})
    assert "ours is so many times as fast: no figure" in target.table({**found, "target": 0.99})


def test_the_peer_on_the_way_to_a_goal_is_the_network_of_the_recipe_fashion():
    ours = models.build("vgg7", (28, 28, 1), 10)
    assert target.stock_vgg().count_params() == ours.count_params()


@pytest.mark.parametrize(
    ("flags", "said"),
    [
        (["--target", "94"], "--target is out of range: expected an accuracy"),
        (["--seeds", "0"], "--seeds is too small"),
    ],
)
def test_a_goal_that_cannot_be_reached_is_refused(flags, said, capsys):
    assert main(["bench", "target", *flags]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.slow
def test_processes_that_train_together_are_measured_beside_one():
    found = scaling.run("smoke", workers=2, pairs=2)
    speeds = found["images_per_second"]
    assert list(speeds) == ["one process", "2 processes"]
    assert min(speed["minimum"] for speed in speeds.values()) > 0
    assert max(map(len, scaling.table(found).splitlines())) <= 80


def test_more_processes_than_cores_are_refused():
    with pytest.raises(ConvoyError, match="--workers is out of range.*received 1000"):
        scaling.run("smoke", workers=1000)
