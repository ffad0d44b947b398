"""Fashion-MNIST without the internet, from Debian's package of the same files.

The package stores the four original files, but gzip'd with name and time
stripped. Put back, they pass TFDS's own checksums.
"""

import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

PACKAGE = "dataset-fashion-mnist"
# Modification times in the original gzip headers, in seconds since 1970.
TIMES = {
    "train-images-idx3-ubyte.gz": 1504176606,
    "train-labels-idx1-ubyte.gz": 1504176606,
    "t10k-images-idx3-ubyte.gz": 1504176627,
    "t10k-labels-idx1-ubyte.gz": 1504176627,
}
# Where an installed package keeps the files.
INSTALLED = Path("/usr/share/datasets/fashion-mnist")


class NoPackage(Exception):
    """Debian's package is not to be had on this machine."""


def fetch_originals(folder: Path) -> None:
    """Write the four original files into `folder`, without root.

    Raises:
        NoPackage: the package is neither installed nor can `apt-get` download it.
    """
    with tempfile.TemporaryDirectory() as scratch:
        packaged = INSTALLED if INSTALLED.is_dir() else download_package(Path(scratch))
        folder.mkdir(parents=True, exist_ok=True)
        for name, time in TIMES.items():
            (folder / name).write_bytes(restore((packaged / name).read_bytes(), name, time))


def download_package(scratch: Path) -> Path:
    """Download and unpack the package below `scratch`; returns the folder of its files."""
    if not shutil.which("apt-get") or not shutil.which("dpkg"):
        raise NoPackage("apt-get is not on this machine")
    try:
        run("apt-get", "download", PACKAGE, cwd=scratch)
    except NoPackage:
        # A fresh machine has no package lists; only root can fetch them, and then it helps.
        run("apt-get", "update", cwd=scratch)
        run("apt-get", "download", PACKAGE, cwd=scratch)
    (archive,) = scratch.glob("*.deb")
    run("dpkg", "-x", str(archive), str(scratch), cwd=scratch)
    return scratch / INSTALLED.relative_to("/")


def run(*command: str, cwd: Path) -> None:
    """Run a command quietly; `NoPackage` with its last words if it fails."""
    try:
        subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True, timeout=120)
    except subprocess.CalledProcessError as error:
        words = error.stderr.strip().splitlines() or [f"exit code {error.returncode}"]
        raise NoPackage(words[-1]) from error
    except subprocess.TimeoutExpired as error:
        raise NoPackage(f"`{' '.join(command)}` gave no answer in 120 s") from error


def restore(packaged: bytes, name: str, time: int) -> bytes:
    """Put the original gzip header back onto a packaged file.

    The header (RFC 1952): magic and method, the flag "a name follows", the
    time, two bytes for level and system, the name without `.gz`, a zero.
    """
    header = b"\x1f\x8b\x08\x08" + struct.pack("<I", time) + b"\x00\x03"
    return header + name.removesuffix(".gz").encode() + b"\x00" + packaged[10:]
