"""Conversions end badly in every way there is, and each is told in a sentence."""

import keras
import numpy as np
import pytest

from pipeline.export.child import ChildFailed, run_child
from pipeline.export.tflite import write_tflite
from pipeline.task import Classification
from serving.errors import ConvoyError


def test_a_child_that_ends_well_leaves_what_it_wrote(tmp_path):
    (tmp_path / "page.txt").write_text("text")
    run_child("zipfile", ["-c", f"{tmp_path}/made.zip", f"{tmp_path}/page.txt"], 60)
    assert (tmp_path / "made.zip").exists()


@pytest.mark.parametrize(
    ("program", "how"),
    [
        ("raise ValueError('no such thing')", "`ValueError: no such thing`"),
        ("import os; os.abort()", r"a crash \(signal 6\)"),
        ("import time; time.sleep(60)", "no end within 1 s"),
        ("import os; os._exit(3)", "`nothing`"),
        ("import os; os.write(2, b'it is\\nrefused\\n'); os._exit(3)", "`refused`"),
    ],
)
def test_a_child_that_ends_otherwise_says_how(program, how):
    with pytest.raises(ChildFailed, match=how):
        # A module that runs what it is given.
        run_child("timeit", ["--number=1", program], 1 if "sleep" in program else 60)


def test_an_operation_that_tflite_lacks_is_named_with_its_layer(tmp_path):
    image = keras.Input((8, 8, 1), name="image")
    odd = keras.layers.Flatten()(keras.ops.erfinv(image / 300))
    network = keras.Model(image, {"logits": keras.layers.Dense(3)(odd)}, name="odd")
    targets = {variant: tmp_path / f"{variant}.tflite" for variant in ("fp32", "int8")}
    with pytest.raises(
        ConvoyError, match=r"cannot become the fp32 .* received Erfinv in \S+/erfinv"
    ):
        write_tflite(
            network, Classification(("a", "b", "c")), np.zeros((2, 8, 8, 1), np.uint8), targets
        )
    assert not list(tmp_path.iterdir())
