"""Cold start on a device: `convoy-edge` beside TensorFlow, from the same bundle.

Every measurement is a fresh process, from its spawn to its printed answer. The two
take turns, so that a busy moment of the machine meets both.
"""

import json
import os
import subprocess
import sys
import tempfile
import textwrap
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from benchmarks.pairs import in_turn, ratios, require_pairs, said, spread, surroundings
from serving.bundle import Bundle, open_bundle
from serving.errors import ConvoyError

REPOSITORY = Path(__file__).parents[1]

# The least that a user of TensorFlow writes: folder, image, names of input and output.
TENSORFLOW = """
import sys
import numpy as np
import tensorflow as tf
from PIL import Image
folder, image, given, wanted = sys.argv[1:]
serve = tf.saved_model.load(folder).signatures["serving_default"]
shape = serve.structured_input_signature[1][given].shape
pixels = np.asarray(Image.open(image), np.float32).reshape(1, *shape[1:])
print(int(serve(**{given: tf.constant(pixels)})[wanted].numpy().argmax()), flush=True)
"""

# A small process starts each one: Linux counts the memory of the process that spawns
# as the child's own peak, and this one may have TensorFlow loaded.
STOPWATCH = """
import json, os, subprocess, sys, time
began = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.PIPE)
answer = process.stdout.readline().decode()
seconds = time.perf_counter() - began
process.stdout.read()
status, usage = os.wait4(process.pid, 0)[1:]
unit = 1 if sys.platform == "darwin" else 1024
print(json.dumps([answer, seconds, usage.ru_maxrss * unit / 1e6]))
sys.exit(status != 0)
"""


class Sample(NamedTuple):
    """One process: the class it answered, seconds until then, most memory it held."""

    answer: int
    seconds: float
    megabytes: float


def measure(command: list[str]) -> Sample:
    """Start a process and wait for its answer.

    Raises:
        ConvoyError: the process failed.
    """
    line = [sys.executable, "-S", "-c", STOPWATCH, sys.executable, *command]
    done = subprocess.run(line, capture_output=True, text=True, cwd=REPOSITORY, check=False)
    if done.returncode != 0:
        reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
        raise ConvoyError(
            f"`python {' '.join(command[:2])}` failed while it was measured: expected an answer, "
            f"received `{reason}`; run `convoy verify` on the bundle's run first."
        )
    answer, seconds, megabytes = json.loads(done.stdout)
    found = json.loads(answer)
    index = found if isinstance(found, int) else found["answers"][0]["index"]
    return Sample(index, seconds, megabytes)


def commands(bundle: Bundle, image: Path) -> tuple[list[str], list[str]]:
    """What `convoy-edge` runs, and what its peer runs, to answer the same image."""
    manifest = bundle.manifest
    saved_model = bundle.checked("saved_model")
    names = [manifest.input.name, manifest.output]
    return (
        ["-m", "serving.edge", str(bundle.folder), str(image), "--json", "--top", "1"],
        ["-c", TENSORFLOW, str(saved_model), str(image), *names],
    )


def write_image(shape: tuple[int, int, int], path: Path) -> None:
    """Write a random image of the network's own size, so that neither side resizes."""
    pixels = np.random.default_rng(0).integers(0, 256, shape, np.uint8)
    Image.fromarray(pixels[..., 0] if shape[-1] == 1 else pixels).save(path)


def summary(edge: list[Sample], tensorflow: list[Sample], quantity: str) -> dict[str, Any]:
    """The spread of a quantity on both sides, and of its ratio within each pair."""
    ours = [getattr(sample, quantity) for sample in edge]
    theirs = [getattr(sample, quantity) for sample in tensorflow]
    return {
        "edge": spread(ours),
        "tensorflow": spread(theirs),
        "ratio": ratios(theirs, ours),
    }


def run(bundle: Path, pairs: int = 10) -> dict[str, Any]:
    """Measure `pairs` cold starts of each side, one after the other in turn.

    Raises:
        ConvoyError: not a bundle with both routes, or one side failed.
    """
    require_pairs(pairs, steady=10)
    opened = open_bundle(Path(bundle).resolve())
    before = os.getloadavg()
    with tempfile.TemporaryDirectory() as folder:
        image = Path(folder) / "image.png"
        write_image(opened.manifest.input.shape, image)
        ours, theirs = commands(opened, image)
        edge, tensorflow = in_turn(
            {"convoy-edge": lambda: measure(ours), "TensorFlow": lambda: measure(theirs)}, pairs
        ).values()
    return {
        "bundle": str(opened.folder),
        "pairs": pairs,
        "same_answer": [each.answer for each in edge] == [each.answer for each in tensorflow],
        "seconds": summary(edge, tensorflow, "seconds"),
        "megabytes": summary(edge, tensorflow, "megabytes"),
        **surroundings(before),
    }


def table(result: dict[str, Any]) -> str:
    """Render what `run` measured."""
    rows = [f"{'cold start to the first answer':31}{'convoy-edge':>12}{'TensorFlow':>12}  ratio"]
    for quantity, form in (("seconds", "{:.2f} s"), ("megabytes", "{:.0f} MB")):
        found = result[quantity]
        ratio = found["ratio"]
        sides = [form.format(found[side]["median"]) for side in ("edge", "tensorflow")]
        name = {"seconds": "time", "megabytes": "peak memory"}[quantity]
        rows.append(
            f"{name:31}{sides[0]:>12}{sides[1]:>12}  {ratio['median']:.1f} "
            f"({ratio['lower']:.1f}-{ratio['upper']:.1f}, min {ratio['minimum']:.1f})"
        )
    notes = (
        f"Medians of {result['pairs']} pairs in turn; ratio: median (quartiles, minimum). "
        f"Same answer: {'yes' if result['same_answer'] else 'NO'}. {said(result)}"
    )
    return "\n".join([*rows, "", *textwrap.wrap(notes, 80, break_on_hyphens=False)])
