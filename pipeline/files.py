"""Files that are whole or absent: written beside, synced, renamed into place."""

import contextlib
import csv
import ctypes
import fcntl
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

from serving.errors import ConvoyError


@contextlib.contextmanager
def whole(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; rename it to `path` when all went well.

    Works for a file and for a folder, which then replaces an older one. Until
    the rename nothing carries the final name, whenever the process dies; what a
    dead process left unfinished is cleared away by the next one.

    Raises:
        ConvoyError: the disk is full or the folder may not be written to.
    """
    # Keras tells formats apart by the ending, so it stays.
    ending = "".join(path.suffixes)
    scratch = path.with_name(f".{path.name}.{os.getpid()}.partial{ending}")
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            for left in abandoned(path, ending):
                remove(left)
            remove(scratch)
            yield scratch
            sync_tree(scratch)
            replace(scratch, path)
    finally:
        # Where writing was refused, removing is too: the first refusal is the one to tell.
        with contextlib.suppress(OSError):
            remove(scratch)


def abandoned(path: Path, ending: str) -> list[Path]:
    """Unfinished versions of `path` whose processes are no more."""
    start, end = f".{path.name}.", f".partial{ending}"
    found = [each for each in path.parent.iterdir() if each.name.startswith(start)]
    processes = [(each, each.name.removeprefix(start).removesuffix(end)) for each in found]
    return [
        each for each, number in processes if number.isdecimal() and not is_running(int(number))
    ]


def is_running(process: int) -> bool:
    """Whether a process with this number is alive."""
    try:
        os.kill(process, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return True


@contextlib.contextmanager
def alone(lock: Path, wait: bool) -> Iterator[bool]:
    """Keep other processes out until the end, by a file; a killed one lets go of it.

    Yields whether this process is alone; always, where it is to `wait` for that.

    Raises:
        ConvoyError: the file cannot be written to.
    """
    with contextlib.ExitStack() as opened:
        with writing(lock):
            lock.parent.mkdir(parents=True, exist_ok=True)
            try:
                file = opened.enter_context(locked(lock, wait))
            except BlockingIOError:
                file = None
        if file:
            opened.callback(lock.unlink, missing_ok=True)
        yield file is not None


def locked(lock: Path, wait: bool) -> TextIO:
    """Open and lock a file that who holds the lock removes at its end.

    Raises:
        BlockingIOError: another process holds it, and this one is not to wait.
    """
    while True:
        # Writable, for shared file systems lock no others.
        file = lock.open("a")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            with contextlib.suppress(FileNotFoundError):
                # Else it was removed meanwhile, and the next one may hold a new one.
                if os.path.samestat(os.fstat(file.fileno()), lock.stat()):
                    return file
        except BaseException:
            file.close()
            raise
        file.close()


@contextlib.contextmanager
def writing(path: Path, also: type[Exception] = OSError) -> Iterator[None]:
    """Turn a refusal to write `path`, by the system or a library, into one sentence.

    Args:
        path: the file or folder.
        also: errors that here can mean nothing else.

    Raises:
        ConvoyError: the refusal.
    """
    try:
        yield
    except ConvoyError:
        raise
    except Exception as error:
        # TensorFlow and HDF5 have errors of their own for a full disk.
        if not isinstance(error, (OSError, also)) and not is_full(path):
            raise
        # HDF5 keeps the number, but puts pages of its own into the text.
        number = getattr(error, "errno", None)
        said = "No space left on device" if is_full(path) else str(error).partition("\n")[0]
        reason = os.strerror(number) if number else said
        raise ConvoyError(
            f"cannot write {path}: expected a writable folder with free space, received "
            f"`{reason}`; free some space or choose another folder."
        ) from error


def is_full(path: Path) -> bool:
    """Whether the disk below `path` has less than a megabyte left."""
    existing = next(parent for parent in path.absolute().parents if parent.exists())
    return shutil.disk_usage(existing).free < 1 << 20


def replace(scratch: Path, path: Path) -> None:
    """Put `scratch` in the place of `path`; an older folder is swapped out in one step."""
    if path.is_dir() and not path.is_symlink():
        exchange(scratch, path)
    else:
        scratch.replace(path)
    sync(path.parent)


def exchange(one: Path, other: Path) -> None:
    """Swap two folders' names: at no moment is either name missing.

    Where the system cannot (it needs Linux and a file system that helps), two
    renames stand in, with a moment between them.
    """
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    here, swap = -100, 2  # AT_FDCWD and RENAME_EXCHANGE of <fcntl.h>.
    if renameat2 and renameat2(here, os.fsencode(one), here, os.fsencode(other), swap) == 0:
        return
    aside = one.with_name(one.name + ".old")
    other.rename(aside)
    one.rename(other)
    aside.rename(one)


def remove(path: Path) -> None:
    """Delete a file or a folder, if there is one."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def sync_tree(path: Path) -> None:
    """Make a file, or a folder with all in it, outlast a loss of power."""
    if path.is_dir():
        for child in path.iterdir():
            sync_tree(child)
    sync(path)


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text(path: Path, text: str) -> None:
    """Write a text file, whole or not at all."""
    with whole(path) as scratch:
        scratch.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, default=str) + "\n")


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Write a table with a heading, whole or not at all; what a row has not is left empty."""
    with whole(path) as scratch, scratch.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns)
        writer.writeheader()
        writer.writerows(rows)


def point(link: Path, target: Path) -> None:
    """Make `link` a symbolic link to its sibling `target`, replacing an older one at once."""
    # Not by `whole`, which would put the link in the place of a folder and delete the folder.
    scratch = link.with_name(f".{link.name}.{os.getpid()}.partial")
    with writing(link):
        link.parent.mkdir(parents=True, exist_ok=True)
        scratch.unlink(missing_ok=True)
        scratch.symlink_to(os.path.relpath(target, link.parent))
        scratch.replace(link)
