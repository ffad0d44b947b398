"""The command line: one sentence and a code for every bad input, and nothing left behind."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from pipeline import cli
from pipeline.summary import summary
from serving import edge

REPOSITORY = Path(__file__).parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
DATA = ["--data.folder", str(REPOSITORY / "data")]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def everything_below(folder):
    return sorted(str(path) for path in folder.rglob("*"))


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["trian"], "did you mean `train`?"),
        (["train"], "unknown recipe"),
        (["train", "fashon"], "did you mean `fashion`?"),
        (["train", "mine.py"], "no recipe file mine.py"),
        (["train", "smoke", "--training.epoch", "3"], "did you mean `--training.epochs`?"),
        (["train", "smoke", "--training.epochs", "many"], "'many'"),
        (["train", "smoke", "--training.decay", "sudden"], "'sudden'"),
        (["train", "smoke", "--network.architecture", "resnt20"], "did you mean `resnet20`?"),
        (["train", "smoke", "--network.widht", "3"], "did you mean `--network.width`?"),
        (["train", "smoke", "--data.source", "fashion_mnst"], "did you mean `fashion_mnist`?"),
        (["train", "smoke", "--data.source", "imdb_reviews"], "`imdb_reviews` does not fit"),
        (["train", "smoke", "--runs", "/proc/convoy", *DATA], "cannot write /proc/convoy"),
        (["train", "smoke", "--training.epochs", "0", *DATA], "--training.epochs"),
        (["train", "smoke", "--data.batch-size", "0", *DATA], "--data.batch-size"),
        (["train", "smoke", "--seed", "-1", *DATA], "--seed"),
        (["train", "smoke", "--name", "a/b", *DATA], "--name"),
        (["train", "smoke", "--export.gate.min-float-agreement", "99", *DATA], "min-float"),
        (["data", "."], "is not an image folder"),
        (["verify", "nowhere"], "nowhere is not a run folder"),
        (["export", "nowhere"], "nowhere is not a run folder"),
        (["evaluate", "nowhere"], "nowhere is not a run folder"),
        (["predict", "nowhere", "a.png"], "nowhere"),
        (["predict", "nowhere"], "nothing to answer"),
        (["predict", "nowhere", "a.png", "--top", "0"], "nothing to answer"),
        (["predict"], "Missing from convoy predict: PATH"),
        (["bench", "speed", "x"], "unknown benchmark `speed`"),
        (["bench"], "unknown benchmark"),
        (["inspect"], "received nothing"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else None,
)
def test_bad_input_gets_one_sentence_and_code_2_and_leaves_nothing(here, capsys, args, words):
    assert cli.main(args) == 2
    output = capsys.readouterr()
    assert words in output.err
    assert output.err.startswith("convoy: ")
    assert output.err.count("\n") == 1
    assert output.out == ""
    assert everything_below(here) == []


def test_an_image_folder_trains_and_its_bundle_answers(here, capsys):
    """A tiny set of two plain classes of mixed sizes, from files to a proven bundle."""
    for label, level in (("dark", 30), ("light", 220)):
        (here / "set" / label).mkdir(parents=True)
        for size in range(20, 60):
            image = Image.new("RGB", (size, size + 3), (level, level + size // 2, level))
            image.save(here / "set" / label / f"{size}.png")
    sizes = ["--data.height", "16", "--data.width", "16"]
    small = ["--network.architecture", "lenet", "--network.width", "3", "--data.batch-size", "16"]
    assert cli.main(["train", "smoke", "--data.source", "set", *sizes, *small]) == 0
    assert "saved_model" in capsys.readouterr().out
    assert cli.main(["predict", "runs/latest/bundle", "set/dark/20.png", "--json"]) == 0
    assert '"label": "dark"' in capsys.readouterr().out


def answer_in(line):
    """Percentage and class in a line of the table."""
    share, label = re.fullmatch(r".* ([\d.]+)%  (.+)", line).groups()
    return float(share), label


def test_predict_gives_the_answers_of_a_device_on_every_route(smoke_run, here, capsys):
    Image.linear_gradient("L").resize((50, 70)).save("picture.png")
    said = {}
    for route in ("tflite-fp32", "tflite-int8", "saved_model"):
        arguments = [str(smoke_run.bundle), "picture.png", "--route", route]
        assert cli.main(["predict", *arguments]) == 0
        said[route] = [answer_in(line) for line in capsys.readouterr().out.splitlines()[1:]]
        if route != "saved_model":
            assert edge.main(arguments) == 0
            on_device = capsys.readouterr().out.splitlines()[1:]
            assert [answer_in(line) for line in on_device] == said[route]
    # Percentages are rounded, and another runtime may fall to the other side.
    for one, other in zip(said["saved_model"], said["tflite-fp32"], strict=True):
        assert one == (pytest.approx(other[0], abs=0.11), other[1])


def test_every_route_answers_its_golden_images_as_it_did_where_it_was_proven(smoke_run, capsys):
    for route in ("tflite-fp32", "tflite-int8", "saved_model"):
        arguments = [str(smoke_run.bundle), "--self-test", "--route", route]
        assert cli.main(["predict", *arguments, "--json"]) == 0
        result = json.loads(capsys.readouterr().out)
        assert (result["route"], result["images"]) == (route, 10)


def keep_routes(bundle, *names):
    """Strike all other routes from a bundle's manifest."""
    path = bundle / "manifest.json"
    content = json.loads(path.read_text())
    content["routes"] = [route for route in content["routes"] if route["route"] in names]
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        (["saved_model", "tflite-fp32", "tflite-int8"], "tflite-fp32"),
        (["saved_model", "tflite-int8"], "tflite-int8"),
        (["saved_model"], "saved_model"),
    ],
)
def test_what_the_summary_says_to_try_works_whatever_was_exported(
    run_copy, here, capsys, kept, expected
):
    Image.linear_gradient("L").save("picture.png")
    keep_routes(run_copy.bundle, *kept)
    *_, advice = summary(run_copy).splitlines()
    command = advice.partition("convoy ")[2].replace("IMAGE", "picture.png")
    assert cli.main([*command.split(), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["route"] == expected


def test_help_lists_every_verb_and_exits_with_0(capsys):
    assert cli.main(["--help"]) == 0
    listed = capsys.readouterr().out
    assert all(verb in listed for verb in cli.VERBS)


def convoy(*args, **options):
    """Run the real program."""
    return subprocess.run(
        [sys.executable, "-m", "pipeline.cli", *args],
        capture_output=True,
        text=True,
        check=False,
        env=ENVIRONMENT,
        **options,
    )


def test_a_pipe_sees_only_the_answer(smoke_run, tmp_path):
    Image.linear_gradient("L").save(tmp_path / "picture.png")
    done = convoy("predict", str(smoke_run.bundle), str(tmp_path / "picture.png"))
    assert done.returncode == 0
    assert done.stderr == ""


def test_a_reader_that_leaves_early_gets_no_trace(smoke_run, tmp_path):
    Image.linear_gradient("L").save(tmp_path / "picture.png")
    line = [sys.executable, "-m", "pipeline.cli", "predict", str(smoke_run.bundle)]
    with subprocess.Popen(
        [*line, *[str(tmp_path / "picture.png")] * 2000],
        env=ENVIRONMENT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 0


def test_a_run_of_another_version_gets_one_sentence(run_copy, capsys):
    content = json.loads(run_copy.recipe_json.read_text())
    content["recipe"]["training"]["sparkle"] = 3
    run_copy.recipe_json.write_text(json.dumps(content))
    assert cli.main(["verify", str(run_copy.folder)]) == 2
    said = capsys.readouterr().err
    assert "was written by another version of Convoy" in said
    assert said.count("\n") == 1


def test_predicting_by_tflite_never_waits_for_tensorflow(smoke_run, tmp_path):
    Image.linear_gradient("L").save(tmp_path / "picture.png")
    program = (
        "import sys; from pipeline import cli; "
        f"code = cli.main(['predict', {str(smoke_run.bundle)!r}, 'picture.png']); "
        "sys.exit(code or 'tensorflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=tmp_path,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
