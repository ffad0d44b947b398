"""Nothing ships unproven: exports that differ from the trained network are held back."""

import json

import keras
import numpy as np
import pytest

from pipeline import cli, stages
from pipeline.data.sources import load
from pipeline.export.write import write_bundle
from pipeline.task import Classification
from serving import edge
from serving.bundle import open_bundle


@pytest.fixture
def sabotaged(run_copy, smoke_splits):
    """A run whose bundle was exported from weights that changed after training."""
    network = keras.saving.load_model(run_copy.network)
    generator = np.random.default_rng(0)
    # Not the variances of norms, which would fall below zero.
    for weight in network.trainable_weights:
        values = keras.ops.convert_to_numpy(weight)
        weight.assign(values + generator.standard_normal(values.shape) * values.std())
    task, export = Classification(smoke_splits.labels), run_copy.recipe.export
    write_bundle(run_copy, network, smoke_splits, task, export)
    return run_copy


def test_a_sabotaged_export_fails_with_code_3_and_the_manifest_says_which(sabotaged, capsys):
    assert cli.main(["verify", str(sabotaged.folder)]) == 3
    assert "saved_model agrees with the trained network on" in capsys.readouterr().err
    gates = {route.route: route.gate for route in open_bundle(sabotaged.bundle).manifest.routes}
    assert not gates["saved_model"].passed
    assert not gates["tflite-fp32"].passed
    assert "FAIL" in (sabotaged.bundle / "verify.md").read_text()


def test_what_failed_the_gate_is_not_run(sabotaged, capsys, tmp_path):
    cli.main(["verify", str(sabotaged.folder)])
    assert edge.main([str(sabotaged.bundle), str(tmp_path / "any.png")]) == 3
    assert cli.main(["predict", str(sabotaged.bundle), str(tmp_path / "any.png")]) == 3
    assert "may not ship" in capsys.readouterr().err


@pytest.mark.parametrize("verb", ["export", "verify", "evaluate"])
def test_a_network_changed_after_training_is_refused_with_code_3(run_copy, capsys, verb):
    network = keras.saving.load_model(run_copy.network)
    network.layers[-1].bias.assign_add(np.arange(10.0))
    network.save(run_copy.network)
    assert cli.main([verb, str(run_copy.folder)]) == 3
    assert "changed after training" in capsys.readouterr().err


def test_data_changed_after_training_are_refused_with_code_2(run_copy, capsys):
    record = json.loads(run_copy.metrics_json.read_text())
    run_copy.record(data="0" * 64)
    assert record["data"] == load(run_copy.recipe.data).fingerprint
    assert cli.main(["verify", str(run_copy.folder)]) == 2
    assert "have changed" in capsys.readouterr().err


def test_a_corrupt_bundle_file_is_refused_with_code_2_by_every_reader(run_copy, capsys, tmp_path):
    bundle = open_bundle(run_copy.bundle)
    file = run_copy.bundle / bundle.route("tflite-fp32").path
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    for command in (
        lambda: cli.main(["verify", str(run_copy.folder)]),
        lambda: cli.main(["predict", str(run_copy.bundle), str(tmp_path / "any.png")]),
        lambda: edge.main([str(run_copy.bundle), str(tmp_path / "any.png")]),
    ):
        assert command() == 2
        assert "is damaged" in capsys.readouterr().err


def test_verifying_never_rewrites_the_exported_files(run_copy):
    def hashes():
        return {route.route: route.files for route in open_bundle(run_copy.bundle).manifest.routes}

    before = hashes()
    stages.verify(run_copy)
    assert hashes() == before
