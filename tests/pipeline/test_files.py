import os
import random
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.files import alone, point, whole, write_json, write_text
from serving.errors import ConvoyError

REPOSITORY = Path(__file__).parents[2]
NAMES = st.from_regex(r"[A-Za-z0-9._+-]{1,40}", fullmatch=True).filter(
    lambda name: name not in {".", ".."}
)


def write_folder(path, number, files=3):
    """A folder whose files all hold the same number."""
    with whole(path) as scratch:
        scratch.mkdir()
        for index in range(files):
            (scratch / str(index)).write_text(str(number))


def begin_file(path, error):
    with whole(path) as scratch:
        scratch.write_text("half")
        raise error


def begin_folder(path, error):
    with whole(path) as scratch:
        scratch.mkdir()
        (scratch / "0").write_text("half")
        raise error


def contents(folder):
    return {path.name: path.read_text() for path in folder.iterdir()}


def python(code, *args):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, args)],
        cwd=REPOSITORY,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_a_new_file_appears_whole_with_its_missing_parents(tmp_path):
    write_text(tmp_path / "a" / "b" / "file", "välue")
    assert contents(tmp_path / "a" / "b") == {"file": "välue"}


def test_a_new_file_replaces_the_old_one(tmp_path):
    for text in ("old", "new"):
        write_text(tmp_path / "file", text)
    assert contents(tmp_path) == {"file": "new"}


def test_a_new_folder_replaces_the_old_one_with_all_in_it(tmp_path):
    write_folder(tmp_path / "folder", "old", files=3)
    write_folder(tmp_path / "folder", "new", files=2)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert contents(tmp_path / "folder") == {"0": "new", "1": "new"}


@pytest.mark.skipif(sys.platform != "linux", reason="other systems cannot swap names")
def test_an_old_folder_is_swapped_out_without_a_moment_in_between(tmp_path, monkeypatch):
    write_folder(tmp_path / "folder", "old")
    monkeypatch.delattr(Path, "rename")
    write_folder(tmp_path / "folder", "new")
    assert set(contents(tmp_path / "folder").values()) == {"new"}


def test_where_the_system_cannot_swap_names_two_renames_replace_the_old_folder(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("ctypes.CDLL", lambda name, use_errno: None)
    for number in ("old", "new"):
        write_folder(tmp_path / "folder", number)
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert set(contents(tmp_path / "folder").values()) == {"new"}


def test_json_is_indented_and_ends_with_a_line(tmp_path):
    write_json(tmp_path / "file.json", {"path": Path("a/b"), "count": 1})
    text = (tmp_path / "file.json").read_text()
    assert text == '{\n  "path": "a/b",\n  "count": 1\n}\n'


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt(), ConvoyError("no")])
@pytest.mark.parametrize("begin", [begin_file, begin_folder])
def test_an_exception_passes_and_leaves_nothing(tmp_path, begin, error):
    with pytest.raises(type(error)) as raised:
        begin(tmp_path / "new", error)
    assert raised.value is error
    assert list(tmp_path.iterdir()) == []


def test_an_exception_keeps_the_old_file(tmp_path):
    write_text(tmp_path / "file", "old")
    with pytest.raises(ZeroDivisionError):
        begin_file(tmp_path / "file", ZeroDivisionError())
    assert contents(tmp_path) == {"file": "old"}


def test_an_exception_keeps_the_old_folder(tmp_path):
    write_folder(tmp_path / "folder", "old")
    with pytest.raises(ZeroDivisionError):
        begin_folder(tmp_path / "folder", ZeroDivisionError())
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]
    assert contents(tmp_path / "folder") == {"0": "old", "1": "old", "2": "old"}


@settings(deadline=None, max_examples=60)
@given(NAMES)
def test_a_temporary_name_is_neither_the_final_one_nor_a_number_and_keeps_the_ending(name):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        with whole(path) as scratch:
            assert scratch.parent == path.parent
            assert scratch.name != name
            assert scratch.name.endswith("".join(path.suffixes))
            with pytest.raises(ValueError, match="could not convert"):
                float(scratch.name)
            scratch.write_text("content")
        assert contents(Path(folder)) == {name: "content"}


def test_keras_saves_networks_and_weights_under_the_temporary_names(tmp_path):
    network = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    with whole(tmp_path / "model.v1.keras") as scratch:
        network.save(scratch)
    with whole(tmp_path / "best.weights.h5") as scratch:
        network.save_weights(scratch)
    reloaded = keras.saving.load_model(tmp_path / "model.v1.keras")
    reloaded.load_weights(tmp_path / "best.weights.h5")
    np.testing.assert_array_equal(reloaded.get_weights()[0], network.get_weights()[0])
    assert len(list(tmp_path.iterdir())) == 2


def test_a_place_below_a_regular_file_is_refused_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("kept")
    for path in (tmp_path / "file" / "below", tmp_path / "file" / "far" / "below"):
        message = f"^cannot write {path}: expected a writable folder .*, received `(Not a|File ex)"
        with pytest.raises(ConvoyError, match=message):
            write_text(path, "text")
    assert contents(tmp_path) == {"file": "kept"}


@pytest.mark.parametrize("write", [write_text, write_folder])
def test_a_place_where_even_root_may_not_write_is_refused_in_one_sentence(write):
    message = "^cannot write /proc/convoy: .*, received `.+`; free some space or choose another"
    with pytest.raises(ConvoyError, match=message):
        write(Path("/proc/convoy"), "text")


def test_a_name_too_long_for_the_system_is_refused_in_one_sentence(tmp_path):
    with pytest.raises(ConvoyError, match=r"^cannot write .* received `File name too long`"):
        write_text(tmp_path / ("n" * 300), "text")


FILL_UP = """
import resource, sys
from pathlib import Path
from pipeline.files import whole, write_text
from serving.errors import ConvoyError

resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
folder = Path(sys.argv[1])
try:
    if sys.argv[2] == "file":
        write_text(folder / "file", "x" * 5000)
    else:
        with whole(folder / "folder") as scratch:
            scratch.mkdir()
            for index in range(3):
                (scratch / str(index)).write_text("x" * 500 * (index + 1))
except ConvoyError as error:
    print(error, end="")
"""


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_write_that_the_system_cuts_off_is_one_sentence_and_keeps_what_was_there(tmp_path, kind):
    write_text(tmp_path / "file", "old")
    write_folder(tmp_path / "folder", "old")
    said, complaints = python(FILL_UP, tmp_path, kind).communicate()
    assert complaints == ""
    assert re.fullmatch(
        f"cannot write {tmp_path / kind}: .* received `File too large`; free some .*", said
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]
    assert (tmp_path / "file").read_text() == "old"
    assert set(contents(tmp_path / "folder").values()) == {"old"}


def test_a_library_error_while_the_disk_is_full_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.files.is_full", lambda path: True)
    with pytest.raises(ConvoyError, match="received `No space left on device`"):
        begin_file(tmp_path / "file", RuntimeError("HDF5: something odd"))


def test_a_sentence_of_ones_own_passes_even_while_the_disk_is_full(tmp_path, monkeypatch):
    monkeypatch.setattr("pipeline.files.is_full", lambda path: True)
    with pytest.raises(ConvoyError, match="^something else$"):
        begin_file(tmp_path / "file", ConvoyError("something else"))


def test_a_link_is_made_and_moved_to_a_sibling(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        point(tmp_path / "latest", tmp_path / name)
        assert (tmp_path / "latest").readlink() == Path(name)
    assert len(list(tmp_path.iterdir())) == 3


def test_a_link_that_cannot_be_made_is_refused_in_one_sentence():
    with pytest.raises(ConvoyError, match="^cannot write /proc/latest: "):
        point(Path("/proc/latest"), Path("/proc/one"))


REWRITE = """
import itertools, sys
from pathlib import Path
from pipeline.files import whole, write_text

folder = Path(sys.argv[1])
for number in itertools.count():
    text = f"{number} " * 20_000
    write_text(folder / "file.txt", text)
    with whole(folder / "folder") as scratch:
        scratch.mkdir()
        for name in "abc":
            (scratch / name).write_text(text)
    if number == 0:
        print("ready", flush=True)
"""


def is_complete(text):
    words = text.split()
    return len(words) == 20_000 and len(set(words)) == 1


def test_a_killed_process_never_leaves_a_final_name_that_is_missing_or_incomplete(tmp_path):
    generator = random.Random(0)
    for _ in range(20):
        process = python(REWRITE, tmp_path)
        assert process.stdout.readline() == "ready\n"
        time.sleep(generator.uniform(0, 0.05))
        process.kill()
        process.communicate()
        assert is_complete((tmp_path / "file.txt").read_text())
        texts = contents(tmp_path / "folder")
        assert sorted(texts) == ["a", "b", "c"]
        assert len(set(texts.values())) == 1
        assert is_complete(texts["a"])
    # What the dead left unfinished is cleared away by the next.
    write_text(tmp_path / "file.txt", "")
    write_folder(tmp_path / "folder", 0)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file.txt", "folder"]


def test_what_a_living_process_is_writing_is_left_alone(tmp_path):
    others = tmp_path / f".file.{os.getppid()}.partial"
    others.write_text("half")
    write_text(tmp_path / "file", "whole")
    assert contents(tmp_path) == {others.name: "half", "file": "whole"}


def test_a_pointer_makes_the_folder_that_it_lies_in(tmp_path):
    target = tmp_path / "elsewhere" / "run"
    target.mkdir(parents=True)
    point(tmp_path / "runs" / "latest", target)
    assert (tmp_path / "runs" / "latest").resolve() == target


COUNT_UP = """
import sys
from pathlib import Path
from pipeline.files import alone

counter, lock = map(Path, sys.argv[1:])
for _ in range(200):
    with alone(lock, wait=True) as is_alone:
        assert is_alone
        counter.write_text(str(int(counter.read_text()) + 1))
"""


def test_one_process_at_a_time_is_alone_and_its_lock_is_gone_at_the_end(tmp_path):
    counter, lock = tmp_path / "counter", tmp_path / "place" / "lock"
    counter.write_text("0")
    processes = [python(COUNT_UP, counter, lock) for _ in range(4)]
    for process in processes:
        _, said = process.communicate(timeout=60)
        assert process.returncode == 0, said
    assert counter.read_text() == "800"
    assert not lock.exists()


def test_who_does_not_wait_hears_that_another_one_is_alone(tmp_path):
    lock = tmp_path / "lock"
    with alone(lock, wait=False) as first, alone(lock, wait=False) as second:
        assert first
        assert not second
    with pytest.raises(ZeroDivisionError), alone(lock, wait=False):
        1 / 0  # noqa: B018
    assert not lock.exists()


def test_a_killed_process_lets_go(tmp_path):
    code = "import sys, time; from pathlib import Path; from pipeline.files import alone\n"
    code += "with alone(Path(sys.argv[1]), wait=True): print('alone', flush=True); time.sleep(60)"
    lock = tmp_path / "lock"
    process = python(code, lock)
    assert process.stdout.readline() == "alone\n"
    with alone(lock, wait=False) as is_alone:
        assert not is_alone
    process.kill()
    process.communicate()
    with alone(lock, wait=False) as is_alone:
        assert is_alone
