import os
import subprocess
import sys
from pathlib import Path

import keras
import pytest
import tensorflow as tf

from pipeline.training.precision import (
    POLICIES,
    choose_precision,
    cpu_precision,
    gpu_precision,
    processor_flags,
)

CPUINFO = """processor\t: 0
model name\t: Some processor with flags
flags\t\t: fpu sse2 avx512_bf16

processor\t: 1
flags\t\t: fpu
"""


@pytest.mark.parametrize(
    ("compute_capability", "expected"),
    [
        ((0, 0), "float32"),
        ((6, 1), "float32"),
        ((7, 0), "float16"),
        ((7, 5), "float16"),
        ((8, 0), "bfloat16"),
        ((8, 9), "bfloat16"),
        ((9, 0), "bfloat16"),
        ((12, 0), "bfloat16"),
    ],
)
def test_a_gpu_trains_in_what_its_generation_does_fast(compute_capability, expected):
    assert gpu_precision(compute_capability) == expected


@pytest.mark.parametrize(
    ("flags", "expected"),
    [
        (set(), "float32"),
        ({"avx2", "avx512f", "avx512_vnni", "amx_tile", "amx_int8"}, "float32"),
        ({"avx2", "avx512_bf16"}, "bfloat16"),
        ({"amx_bf16", "amx_tile"}, "bfloat16"),
    ],
)
def test_a_processor_trains_in_bfloat16_where_it_multiplies_it(flags, expected):
    assert cpu_precision(flags) == expected


def test_auto_agrees_with_what_this_machine_says_of_itself():
    gpus = tf.config.list_physical_devices("GPU")
    if gpus:
        details = tf.config.experimental.get_device_details(gpus[0])
        assert choose_precision("auto") == gpu_precision(details["compute_capability"])
        return
    cpuinfo = Path("/proc/cpuinfo")
    words = cpuinfo.read_text().split() if cpuinfo.exists() else []
    native = "avx512_bf16" in words or "amx_bf16" in words
    assert choose_precision("auto") == ("bfloat16" if native else "float32")


@pytest.mark.parametrize(
    ("details", "expected"), [({"compute_capability": (7, 5)}, "float16"), ({}, "float32")]
)
def test_auto_asks_the_first_gpu_where_there_is_one(monkeypatch, details, expected):
    monkeypatch.setattr(tf.config, "list_physical_devices", lambda kind: ["first", "second"])
    asked = {"first": details}
    monkeypatch.setattr(tf.config.experimental, "get_device_details", asked.__getitem__)
    assert choose_precision("auto") == expected


@pytest.mark.parametrize("wanted", POLICIES)
def test_what_the_recipe_wants_is_taken(wanted):
    assert choose_precision(wanted) == wanted


def test_every_precision_has_a_policy_that_keeps_weights_in_float32():
    for precision, policy in POLICIES.items():
        policy = keras.dtype_policies.get(policy)
        assert (policy.variable_dtype, policy.compute_dtype) == ("float32", precision)


def test_the_flags_are_those_of_the_first_processor(tmp_path):
    (tmp_path / "cpuinfo").write_text(CPUINFO)
    assert processor_flags(tmp_path / "cpuinfo") == {"fpu", "sse2", "avx512_bf16"}


def test_a_system_that_does_not_tell_has_no_flags(tmp_path):
    (tmp_path / "cpuinfo").write_text("processor\t: 0\nFeatures\t: asimd\n")
    assert processor_flags(tmp_path / "cpuinfo") == set()
    assert processor_flags(tmp_path / "missing") == set()


@pytest.mark.parametrize(("wanted", "expected"), [(None, "True"), ("0", "False")])
def test_tensorflow_takes_its_fast_kernels_on_every_processor_unless_told_otherwise(
    wanted, expected
):
    program = (
        "import pipeline; from tensorflow.python.util import _pywrap_util_port as port; "
        "print(port.IsMklEnabled())"
    )
    environment = {key: each for key, each in os.environ.items() if key != "TF_ENABLE_ONEDNN_OPTS"}
    if wanted:
        environment["TF_ENABLE_ONEDNN_OPTS"] = wanted
    done = subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == expected
