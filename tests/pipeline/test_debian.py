import gzip
import io
import random

import pytest

from pipeline.data import debian
from pipeline.data.debian import TIMES, NoPackage, fetch_originals, restore, run


def pixels():
    """Bytes that compress a little, as the data do."""
    return bytes(random.Random(0).choices(range(9), k=5000))


def compressed(filename, time):
    """What Python's gzip makes, with the level and system bytes of the original files."""
    stream = io.BytesIO()
    with gzip.GzipFile(filename, "wb", fileobj=stream, mtime=time) as writer:
        writer.write(pixels())
    content = bytearray(stream.getvalue())
    content[8:10] = b"\x00\x03"
    return bytes(content)


@pytest.mark.parametrize(("name", "time"), TIMES.items())
def test_restore_gives_back_the_original_bytes(name, time):
    original = compressed(name.removesuffix(".gz"), time)
    stripped = compressed("", 0)
    assert len(original) > len(stripped)
    assert restore(stripped, name, time) == original


def test_a_restored_file_unpacks_to_what_was_packed():
    assert gzip.decompress(restore(compressed("", 0), "some-file.gz", 1)) == pixels()


def test_an_installed_package_gives_all_four_originals(tmp_path, monkeypatch):
    for name in TIMES:
        (tmp_path / name).write_bytes(compressed("", 0))
    monkeypatch.setattr(debian, "INSTALLED", tmp_path)
    fetch_originals(tmp_path / "new" / "originals")
    found = {path.name: path.read_bytes() for path in (tmp_path / "new/originals").iterdir()}
    assert found == {
        name: compressed(name.removesuffix(".gz"), time) for name, time in TIMES.items()
    }


def test_without_apt_get_there_is_no_package_and_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(debian, "INSTALLED", tmp_path / "missing")
    monkeypatch.setattr("shutil.which", lambda command: None)
    with pytest.raises(NoPackage, match="apt-get is not on this machine"):
        fetch_originals(tmp_path / "originals")
    assert list(tmp_path.iterdir()) == []


def test_a_failing_command_is_no_package_with_its_last_words(tmp_path):
    with pytest.raises(NoPackage, match=r"^E: last words$"):
        run("sh", "-c", "echo first >&2; echo E: last words >&2; echo; exit 3", cwd=tmp_path)


def test_a_command_that_fails_in_silence_is_known_by_its_code(tmp_path):
    with pytest.raises(NoPackage, match=r"^exit code 3$"):
        run("sh", "-c", "exit 3", cwd=tmp_path)


def test_a_command_runs_quietly_where_it_should(tmp_path, capfd):
    run("sh", "-c", "echo said; echo complained >&2; touch made", cwd=tmp_path)
    assert capfd.readouterr() == ("", "")
    assert (tmp_path / "made").exists()
