"""A device answers right, fast, without TensorFlow, and says clearly when it cannot."""

import base64
import json
import os
import random
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from serving import classifier, edge, tflite
from serving.answers import top_k
from serving.bundle import Gate
from serving.edge import load, main
from serving.errors import ConvoyError, GateFailed
from serving.tflite import EdgeModel, Tensor, dequantised, quantised
from tests.serving.conftest import LABELS, SHAPE, with_gate, with_gates

REPOSITORY = Path(__file__).parents[2]
probabilities = st.lists(st.floats(0, 1, width=32), min_size=1, max_size=12)


def oracle(pixels, kernel):
    """The tiny network in plain NumPy: quarters averaged, one dense layer, softmax."""
    height, width, channels = pixels.shape
    quarters = pixels.reshape(2, height // 2, 2, width // 2, channels).mean(axis=(1, 3)) / 255
    powers = np.exp(quarters.reshape(-1) @ kernel)
    return powers / powers.sum()


def kernel(channels):
    """The weights that `export_tiny.py` draws."""
    return np.random.default_rng(channels).normal(size=(4 * channels, 3)).astype(np.float32)


def random_image(channels=1, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (8, 6, channels), np.uint8)


def command(*arguments, **options):
    """Run `convoy-edge` as a process of its own."""
    line = [sys.executable, "-m", "serving.edge", *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, **options)


@given(probabilities, st.integers(1, 15))
def test_top_k_sorts_as_python_sorts(values, k):
    labels = [f"label {index}" for index in range(len(values))]
    order = sorted(range(len(values)), key=lambda index: (-values[index], index))[:k]
    found = top_k(np.array(values, np.float32), labels, k)
    assert [answer.index for answer in found] == order
    assert [answer.probability for answer in found] == [values[index] for index in order]
    assert [answer.label for answer in found] == [labels[index] for index in order]


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_numbers_that_are_none_are_no_answer(value):
    with pytest.raises(ConvoyError, match="expected finite probabilities"):
        top_k(np.array([0.5, value]), LABELS, 1)


@given(
    st.sampled_from([np.uint8, np.int8, np.int16]),
    st.floats(0.01, 4),
    st.integers(-128, 127),
)
def test_quantising_rounds_to_the_nearest_step(dtype, scale, zero_point):
    pixels = np.arange(256, dtype=np.uint8)
    found = quantised(pixels, Tensor(0, (256,), dtype, scale, zero_point))
    limits = np.iinfo(dtype)
    for pixel, step in zip(pixels.tolist(), found.tolist(), strict=True):
        wanted = min(max(pixel / scale + zero_point, limits.min), limits.max)
        assert abs(step - wanted) <= 0.5 + 1e-9
    assert found.dtype == dtype


def test_a_quantised_input_of_scale_one_takes_pixels_as_they_are():
    pixels = random_image()
    assert quantised(pixels, Tensor(0, SHAPE, np.uint8, 1.0, 0)) is pixels
    shifted = quantised(pixels, Tensor(0, SHAPE, np.int8, 1.0, -128))
    np.testing.assert_array_equal(shifted.astype(int), pixels.astype(int) - 128)


def test_dequantising_undoes_scale_and_zero_point():
    values = np.array([-128, 0, 127], np.int8)
    found = dequantised(values, Tensor(0, (1, 3), np.int8, 1 / 256, -128))
    assert found.dtype == np.float32
    assert found.tolist() == [0.0, 0.5, 255 / 256]


@pytest.mark.parametrize("channels", [1, 3])
def test_float_model_answers_as_the_network_does(exported, channels):
    model = EdgeModel(exported / f"channels{channels}.fp32.tflite")
    assert model.shape == (8, 6, channels)
    for seed in range(5):
        pixels = random_image(channels, seed)
        found = model.probabilities(pixels)
        assert found.dtype == np.float32
        np.testing.assert_allclose(found, oracle(pixels, kernel(channels)), atol=1e-6)


def test_int8_model_takes_raw_pixels_and_answers_nearly_the_same(exported):
    model = EdgeModel(exported / "channels1.int8.tflite")
    for seed in range(5):
        pixels = random_image(seed=seed)
        np.testing.assert_allclose(
            model.probabilities(pixels), oracle(pixels, kernel(1)), atol=0.02
        )


def test_an_answer_outlives_the_next_one(exported):
    model = EdgeModel(exported / "channels1.fp32.tflite")
    first = model.probabilities(random_image(seed=0))
    kept = first.copy()
    model.probabilities(random_image(seed=1))
    np.testing.assert_array_equal(first, kept)


@pytest.mark.parametrize(
    "pixels",
    [
        np.zeros((6, 8, 1), np.uint8),
        np.zeros((8, 6), np.uint8),
        np.zeros((1, 8, 6, 1), np.uint8),
        np.zeros((8, 6, 1), np.float32),
    ],
)
def test_pixels_that_do_not_fit_are_refused(exported, pixels):
    model = EdgeModel(exported / "channels1.fp32.tflite")
    with pytest.raises(ConvoyError, match=r"expected uint8 \(8, 6, 1\), received"):
        model.probabilities(pixels)


def test_answers_name_the_likeliest_classes(bundle, photo):
    model = load(bundle.folder)
    with Image.open(photo) as image:
        wanted = oracle(np.array(image)[..., np.newaxis], kernel(1))
    best = int(wanted.argmax())
    (answer,) = model.answers(photo, k=1)
    assert answer[:2] == (LABELS[best], best)
    assert answer.probability == pytest.approx(wanted[best], abs=1e-6)
    assert len(model.answers(photo.read_bytes(), k=9)) == 3


def test_a_bundle_gives_its_float_route_unless_asked(bundle):
    assert load(bundle.folder).path.name == "tiny.fp32.tflite"
    assert load(bundle.folder, "tflite-int8").path.name == "tiny.int8.tflite"
    assert load(bundle.folder).labels == LABELS


@pytest.mark.parametrize(
    ("gates", "expected"),
    [
        ({"tflite-fp32": Gate(False, ("slow",)), "tflite-int8": Gate(True)}, "tflite-int8"),
        ({"tflite-int8": Gate(True)}, "tflite-int8"),
        ({"tflite-int8": Gate(True), "tflite-fp32": Gate(True)}, "tflite-fp32"),
    ],
    ids=["held back", "int8 alone", "int8 first"],
)
def test_a_bundle_gives_the_first_route_that_may_ship(bundle, gates, expected):
    with_gates(bundle, gates)
    assert load(bundle.folder).route == expected


def test_a_file_that_was_held_back_comes_first_again_where_it_is_allowed(bundle):
    with_gates(bundle, {"tflite-fp32": Gate(False, ("slow",)), "tflite-int8": Gate(True)})
    assert load(bundle.folder, allow_unproven=True).route == "tflite-fp32"


def test_a_bundle_without_a_file_for_devices_is_refused_in_one_sentence(bundle, photo, capsys):
    with_gates(bundle, {})
    assert main([str(bundle.folder), str(photo)]) == 2
    said = capsys.readouterr().err
    assert "has no file to run: expected one of tflite-fp32, tflite-int8," in said
    assert "received no file at all; name one with --route" in said
    assert said.count("\n") == 1


def test_a_file_inside_a_bundle_is_checked_and_named(bundle, monkeypatch):
    path = bundle.folder / "tflite/tiny.int8.tflite"
    monkeypatch.chdir(path.parent)
    model = load("tiny.int8.tflite")
    assert (model.labels, model.route) == (LABELS, "tflite-int8")
    path.write_bytes(path.read_bytes() + b"!")
    with pytest.raises(ConvoyError, match="is damaged: expected sha256"):
        load(path)


@pytest.mark.parametrize("gate", [None, Gate(False, ("accuracy fell",))])
def test_unproven_files_are_refused_however_they_are_named(bundle, gate):
    with_gate(bundle, gate)
    for source in (bundle.folder, bundle.folder / "tflite/tiny.fp32.tflite"):
        with pytest.raises(GateFailed):
            load(source)
        assert load(source, allow_unproven=True).labels == LABELS


def test_a_file_alone_has_numbered_classes(exported):
    model = load(exported / "channels1.fp32.tflite")
    assert model.labels == ("class 0", "class 1", "class 2")
    assert model.route is None


@pytest.mark.parametrize("text", ['{"manifest_version": 3}', '{"src": "alone.tflite"', "\xff"])
def test_manifests_of_other_programs_are_left_alone(exported, tmp_path, text):
    path = tmp_path / "inner" / "model.tflite"
    path.parent.mkdir()
    shutil.copy(exported / "channels1.fp32.tflite", path)
    (tmp_path / "manifest.json").write_text(text)
    assert load(path).route is None


def test_labels_must_fit_the_model(exported):
    with pytest.raises(ConvoyError, match="expected 2 classes, received 3"):
        EdgeModel(exported / "channels1.fp32.tflite", labels=["a", "b"])


@pytest.mark.parametrize(
    "shape", [(8, 6, 1), (2, 8, 6, 1), (1, 8, 6, 4), (1, 0, 6, 1), (1,), (1, 2, 2, 2, 3)]
)
def test_models_of_other_inputs_are_refused(tmp_path, shape):
    with pytest.raises(ConvoyError, match=r"expected input \(1, height, width, 1 or 3\)"):
        classifier.image_shape(shape, tmp_path)


@pytest.mark.parametrize("shape", [(3,), (2, 3), (1, 0), (1, 4, 4, 3), ()])
def test_models_of_other_outputs_are_refused(tmp_path, shape):
    with pytest.raises(ConvoyError, match=r"expected output \(1, classes\)"):
        classifier.class_count(shape, tmp_path)


@pytest.mark.parametrize("dtypes", [[], [np.float32, np.float32], [np.int64]])
def test_models_of_several_or_strange_tensors_are_refused(tmp_path, dtypes):
    details = [{"dtype": dtype} for dtype in dtypes]
    with pytest.raises(ConvoyError, match="expected one input of type float32"):
        tflite.sole(details, "input", tmp_path)


def test_files_that_are_no_model_are_refused(exported, tmp_path):
    whole = (exported / "channels1.fp32.tflite").read_bytes()
    path = tmp_path / "model.tflite"
    for content in (b"", b"TFL3", b"not a model at all", whole[:8], whole[:100], whole[:-40]):
        path.write_bytes(content)
        with pytest.raises(
            ConvoyError, match="cannot be run: expected a whole TensorFlow Lite model"
        ):
            load(path)


def test_a_model_that_fails_while_it_runs_is_refused(exported, monkeypatch):
    model = EdgeModel(exported / "channels1.fp32.tflite")

    class Failing:
        def set_tensor(self, index, values):
            pass

        def invoke(self):
            raise RuntimeError("Node number 4 (SOFTMAX)\nfailed to invoke.")

    monkeypatch.setattr(model, "_interpreter", Failing())
    with pytest.raises(ConvoyError, match=r"`Node number 4 \(SOFTMAX\) failed to invoke\.`"):
        model.probabilities(random_image())


def test_what_pillow_remarks_is_not_printed(bundle, tmp_path):
    path = tmp_path / "photo.tif"
    Image.new("RGB", (9, 7)).save(path)
    content = bytearray(path.read_bytes())
    samples = content.index((277).to_bytes(2, "little")) + 8
    content[samples] = 86
    path.write_bytes(content)
    done = command(bundle.folder, path)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_source_is_named(tmp_path):
    with pytest.raises(ConvoyError, match="gone does not exist.*check the path"):
        load(tmp_path / "gone")


def test_without_a_runtime_the_remedy_is_named(monkeypatch, bundle):
    monkeypatch.setattr(tflite, "RUNTIMES", ("no_such_runtime",))
    with pytest.raises(ConvoyError, match="run `pip install ai-edge-litert`"):
        load(bundle.folder)


def test_what_kills_a_child_does_not_kill_the_parent():
    assert not edge.survives(lambda: os.kill(os.getpid(), signal.SIGKILL))
    assert edge.survives(lambda: 1 / 0)


def test_what_hangs_is_given_up(monkeypatch):
    monkeypatch.setattr(edge, "PATIENCE_SECONDS", 1)
    assert not edge.survives(lambda: [None for _ in iter(int, 1)])


def test_the_table_is_aligned_and_fits_80_columns(bundle, tmp_path, photo, capsys):
    long = tmp_path / ("a" * 90 + ".png")
    shutil.copy(photo, long)
    assert main([str(bundle.folder), str(photo), str(long), "--top", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["image", "ms", "chance", "class"]
    assert len(lines) == 5
    assert max(map(len, lines)) <= 80
    assert len({line.index("%") for line in lines[1:]}) == 1
    assert lines[3].startswith("...aaaa")


def test_json_is_one_object_per_line(bundle, photo, capsys):
    assert main([str(bundle.folder), str(photo), str(photo), "--json", "--top", "1"]) == 0
    for line in capsys.readouterr().out.splitlines():
        found = json.loads(line)
        assert list(found) == ["file", "answers", "route", "model", "milliseconds"]
        assert found["file"] == str(photo)
        assert found["route"] == "tflite-fp32"
        (answer,) = found["answers"]
        assert answer["label"] == LABELS[answer["index"]]
        assert 0 < answer["probability"] <= 1
        assert found["milliseconds"] > 0


def test_an_unreadable_image_does_not_keep_the_others_from_an_answer(bundle, photo, capsys):
    files = ["gone.png", str(photo), "lost.png"]
    assert main([str(bundle.folder), *files, "--json"]) == 2
    out, err = capsys.readouterr()
    assert len(out.splitlines()) == 1
    assert [line.split()[1] for line in err.splitlines()] == ["gone.png", "lost.png"]


def test_a_model_without_a_bundle_is_said_to_be_unproven(exported, photo, capsys):
    assert main([str(exported / "channels1.fp32.tflite"), str(photo)]) == 0
    out, err = capsys.readouterr()
    assert "class " in out
    assert "note: no bundle lists" in err


def test_a_failed_gate_exits_3_with_one_sentence(bundle, photo, capsys):
    with_gate(bundle, Gate(False, ("accuracy fell by 0.07",)))
    assert main([str(bundle.folder), str(photo)]) == 3
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("convoy-edge: `tflite-fp32` in ")
    assert err.count("\n") == 1
    assert main([str(bundle.folder), str(photo), "--allow-unproven"]) == 0


def test_a_mistyped_route_exits_2_and_names_the_nearest(bundle, photo, capsys):
    assert main([str(bundle.folder), str(photo), "--route", "tflite-in8"]) == 2
    assert "did you mean `tflite-int8`?" in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--top", "0"], ["--threads", "x"], ["--nonsense"]])
def test_wrong_flags_exit_2(bundle, photo, flags, capsys):
    with pytest.raises(SystemExit) as caught:
        main([str(bundle.folder), str(photo), *flags])
    assert caught.value.code == 2
    assert "convoy-edge: error:" in capsys.readouterr().err


def test_the_command_is_quiet_and_never_loads_tensorflow(bundle, photo):
    script = (
        "import sys; from serving.edge import main; code = main(sys.argv[1:]); "
        "heavy = {'tensorflow', 'keras', 'rich'} & set(sys.modules); sys.exit(code or bool(heavy))"
    )
    line = [sys.executable, "-W", "error", "-c", script, bundle.folder, photo, "--threads", "2"]
    done = subprocess.run(line, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("image")


def test_labels_that_a_terminal_cannot_show_do_not_stop_it(bundle, photo):
    path = bundle.folder / "manifest.json"
    path.write_text(path.read_text().replace("coat", "\u5916\u5957"), encoding="utf-8")
    done = command(bundle.folder, photo, env=os.environ | {"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u5916\\u5957" in done.stdout


@pytest.mark.parametrize("jobs", ["1", "3"])
def test_a_reader_that_leaves_early_gets_no_trace(bundle, photo, jobs):
    line = [sys.executable, "-m", "serving.edge", bundle.folder, "-", "--jobs", jobs]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, **pipes) as process:
        process.stdin.write(f"{photo}\n".encode())
        process.stdin.flush()
        process.stdout.readline()
        process.stdout.close()
        process.stdin.write(f"{photo}\n".encode() * 100)
        process.stdin.flush()
        # The stream of names goes on.
        assert process.wait(60) == 0
        assert process.stderr.read() == b""


# Loads and runs files by the name in turn, and says how each ended; one process for all of them.
ATTEMPTS = """
import sys
from pathlib import Path
from serving.edge import load
from serving.errors import ConvoyError
from serving.silence import muted
for path in sorted(Path(sys.argv[1]).iterdir()):
    try:
        with muted():
            answers = load(path).answers(sys.argv[2])
        assert len(answers) == 3
        print("answered", flush=True)
    except ConvoyError as error:
        assert str(error).count(": expected ") == 1, error
        print("refused", flush=True)
"""


def damaged(whole, attempt, dice):
    """A copy of a file that is cut off, or has some bits flipped or bytes overwritten."""
    if attempt % 4 == 0:
        return whole[: dice.randrange(len(whole))]
    copy = bytearray(whole)
    for _ in range(dice.choice([1, 2, 16])):
        place = dice.randrange(len(copy))
        copy[place] = dice.randrange(256) if attempt % 4 == 1 else copy[place] ^ 1 << place % 8
    return bytes(copy)


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_five_hundred_damaged_models_are_refused_or_answer_and_never_crash(
    exported, photo, tmp_path, variant
):
    whole = (exported / f"channels1.{variant}.tflite").read_bytes()
    dice, folder = random.Random(0), tmp_path / "files"
    folder.mkdir()
    for attempt in range(500):
        (folder / f"{attempt:03}.tflite").write_bytes(damaged(whole, attempt, dice))
    line = [sys.executable, "-c", ATTEMPTS, str(folder), str(photo)]
    done = subprocess.run(line, capture_output=True, text=True, check=False, cwd=REPOSITORY)
    assert (done.returncode, done.stderr) == (0, "")
    ends = Counter(done.stdout.split())
    assert ends["answered"] + ends["refused"] == 500
    # Every fourth file is cut off.
    assert ends["refused"] >= 125


@pytest.mark.slow
def test_every_damaged_file_of_a_bundle_is_refused_by_its_hash(bundle):
    path = bundle.folder / "tflite" / "tiny.int8.tflite"
    whole, dice = path.read_bytes(), random.Random(1)
    for attempt in range(200):
        changed = damaged(whole, attempt, dice)
        if changed != whole:
            path.write_bytes(changed)
            with pytest.raises(ConvoyError, match="expected"):
                load(bundle.folder, "tflite-int8")


@pytest.mark.slow
@pytest.mark.parametrize("variant", ["fp32", "int8"])
def test_damaged_models_end_the_command_with_one_sentence(exported, photo, tmp_path, variant):
    whole = (exported / f"channels1.{variant}.tflite").read_bytes()
    dice, path = random.Random(0), tmp_path / "model.tflite"
    for attempt in range(20):
        path.write_bytes(damaged(whole, attempt, dice))
        done = command(path, photo)
        assert done.returncode in (0, 2), done
        assert "Traceback" not in done.stderr
        assert all(line.startswith("convoy-edge: ") for line in done.stderr.splitlines())


def test_a_folder_is_answered_image_by_image_and_nothing_else_in_it(bundle, photo, tmp_path):
    folder = tmp_path / "photos"
    (folder / "below").mkdir(parents=True)
    for name in ("b.png", "a.PNG", "below/c.png"):
        shutil.copy(photo, folder / name)
    (folder / "notes.txt").write_text("no image")
    done = command(bundle.folder, folder, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    files = [json.loads(line)["file"] for line in done.stdout.splitlines()]
    assert files == [str(folder / name) for name in ("a.PNG", "b.png", "below/c.png")]


def test_a_folder_without_images_is_told(bundle, tmp_path, capsys):
    empty = tmp_path / "empty"
    empty.mkdir()
    assert main([str(bundle.folder), str(empty)]) == 2
    assert "holds no images: expected one with files that end in .png" in capsys.readouterr().err


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_stream_is_answered_while_it_lasts(bundle, photo, jobs):
    line = [sys.executable, "-m", "serving.edge", str(bundle.folder), "-", "--json", "--top", "1"]
    line += ["--jobs", str(jobs)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(line, text=True, **pipes) as process:
        process.stdin.write(f"{photo}\n")
        process.stdin.flush()
        first = json.loads(process.stdout.readline())
        content = base64.b64encode(photo.read_bytes()).decode()
        for said in ({"b64": content, "file": "mine"}, {"b64": content}, {"b64": "?"}, {"x": 1}):
            process.stdin.write(json.dumps(said) + "\n\n")
        rest, complaints = process.communicate()
    assert first["file"] == str(photo)
    second, third = map(json.loads, rest.splitlines())
    assert (second["file"], third["file"]) == ("mine", "line 4")
    assert first["answers"] == second["answers"] == third["answers"]
    assert [each.split(" is no image")[0] for each in complaints.splitlines()] == [
        "convoy-edge: line 6",
        "convoy-edge: line 8",
    ]
    assert process.returncode == 2


def test_a_benchmark_says_how_long_an_image_takes(bundle, capsys):
    flags = ["--benchmark", "--route", "tflite-int8", "--threads", "2"]
    assert main([str(bundle.folder), *flags, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["route"], found["threads"], found["images"]) == ("tflite-int8", 2, 1000)
    assert 0 < found["p50_milliseconds"] <= found["p99_milliseconds"]
    assert main([str(bundle.folder), *flags]) == 0
    assert capsys.readouterr().out.startswith("tflite-int8: p50 ")
