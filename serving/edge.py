"""Answers for image files on a device: numpy, Pillow and a TFLite runtime, nothing more.

    convoy-edge BUNDLE photo.png
    convoy-edge model.tflite *.jpg --json
    convoy-edge BUNDLE photos/ --json
    find /camera -name '*.jpg' | convoy-edge BUNDLE - --json
    convoy-edge BUNDLE --self-test
    convoy-edge BUNDLE --benchmark
    convoy-edge BUNDLE photos/ --jobs 4
    convoy-edge BUNDLE photo.png --delegate libedgetpu.so.1

From Python, `load("bundle").answers("photo.png")`.
"""

import argparse
import contextlib
import io
import logging
import os
import signal
import sys
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from serving.answers import print_answers
from serving.bundle import DEVICE_ROUTES, MANIFEST, Bundle, open_bundle
from serving.classifier import ImageClassifier, not_runnable
from serving.delegate import Delegate
from serving.errors import INTERRUPTED, ConvoyError
from serving.golden import print_self_test
from serving.micro import MicroModel
from serving.onnx import OnnxModel
from serving.silence import hang_up, muted
from serving.tflite import EdgeModel
from serving.timing import print_benchmark

PATIENCE_SECONDS = 30
# What runs a file, by the ending of its name.
KINDS: dict[str, type[ImageClassifier]] = {
    ".tflite": EdgeModel,
    ".onnx": OnnxModel,
    ".c": MicroModel,
}


def mentions(manifest: Path, name: str) -> bool:
    """Whether a manifest names a file; other programs have a `manifest.json` too."""
    try:
        return name in manifest.read_text("utf-8", "replace")
    except OSError:
        return False


def owner(path: Path) -> tuple[Bundle, str] | None:
    """Find the bundle around a file, and the route under which it lists the file."""
    path = path.resolve()
    for folder in path.parents:
        if mentions(folder / MANIFEST, path.name):
            bundle = open_bundle(folder)
            for route in bundle.manifest.routes:
                if (folder / route.path).resolve() == path:
                    return bundle, route.route
    return None


def chosen(folder: Path, route: str | None, allow_unproven: bool) -> tuple[Bundle, str]:
    """Open a bundle, and name the route to run where none is asked for."""
    bundle = open_bundle(folder)
    return bundle, route or bundle.default_route(DEVICE_ROUTES, allow_unproven)


def survives(attempt: Callable[[], object]) -> bool:
    """Try something in a forked child: a damaged file can crash or hang a runtime."""
    if not hasattr(os, "fork"):
        return True
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # The child runs no other thread.
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(PATIENCE_SECONDS)
        with contextlib.suppress(BaseException):
            attempt()
        os._exit(0)
    return not os.WIFSIGNALED(os.waitpid(child, 0)[1])


def start(
    path: Path,
    labels: Sequence[str] | None = None,
    num_threads: int = 1,
    route: str | None = None,
    delegate: Delegate | None = None,
) -> ImageClassifier:
    """Load a file in the runtime that its name's ending asks for.

    Raises:
        ConvoyError: the file cannot be run, or that runtime takes no delegates.
    """
    kind = KINDS.get(path.suffix, EdgeModel)
    if delegate is None:
        return kind(path, labels, num_threads, route)
    if kind is not EdgeModel:
        raise ConvoyError(
            f"{path} takes no delegate: expected a TFLite file for {delegate.library}, received "
            f"one for {kind.format}; name a route of TFLite, or leave --delegate out."
        )
    return EdgeModel(path, labels, num_threads, route, delegate)


def try_out(path: Path, delegate: Delegate | None) -> None:
    """Load a file and answer a black image."""
    model = start(path, delegate=delegate)
    model.probabilities(np.zeros(model.shape, np.uint8))


def load(
    source: str | Path,
    route: str | None = None,
    num_threads: int = 1,
    allow_unproven: bool = False,
    delegate: Delegate | None = None,
) -> ImageClassifier:
    """Load a route of a bundle, or a `.tflite` or `.onnx` file.

    Where no route is named it is the first of `DEVICE_ROUTES` that may ship.
    Hash and gate are checked for every file that a bundle lists, also when the
    file itself is given. A file without a bundle has labels `class 0`, `class 1`, ...

    Raises:
        ConvoyError: the source is missing, damaged, or no image classifier.
        GateFailed: the gate did not pass the route.
    """
    source = Path(source)
    if not source.exists():
        raise ConvoyError(
            f"{source} does not exist: expected a bundle folder or one of its files, "
            "received neither; check the path."
        )
    found = chosen(source, route, allow_unproven) if source.is_dir() else owner(source)
    if route and (found is None or found[1] != route):
        raise ConvoyError(
            f"{source} is not route `{route}`: expected a bundle folder to choose the route from, "
            "received a single file; leave --route out."
        )
    if found:
        bundle, route = found
        path = bundle.checked(route, allow_unproven)
        return start(path, bundle.manifest.labels, num_threads, route, delegate)
    if not survives(lambda: try_out(source, delegate)):
        crash = RuntimeError("one that crashes the runtime")
        raise not_runnable(source, crash, KINDS.get(source.suffix, EdgeModel).format)
    return start(source, num_threads=num_threads, delegate=delegate)


def positive(text: str) -> int:
    """Parse a number of at least 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def parser() -> argparse.ArgumentParser:
    """Describe the command line."""
    command = argparse.ArgumentParser(
        prog="convoy-edge",
        description="Say what images show, without TensorFlow.",
        epilog="An image that cannot be read is reported and the others are still answered. "
        "Exit code: 0 all answered, 2 bad input, 3 the gate did not pass the model, or it answers "
        "otherwise here than where it was proven.",
    )
    add = command.add_argument
    add("source", metavar="BUNDLE_OR_FILE", help="a bundle folder, or a .tflite, .onnx or .c file")
    images = "image files, folders of them, or - for lines that name one or hold it in base64"
    add("images", metavar="IMAGE", nargs="*", help=images)
    first = f"the first of {', '.join(DEVICE_ROUTES)} that may ship"
    add("--route", help=f"which file of the bundle to run (default: {first})")
    add("--top", type=positive, default=3, metavar="K", help="answers per image (default: 3)")
    add("--json", action="store_true", help="print one JSON object per image and line")
    add("--threads", type=positive, default=1, metavar="N", help="threads an image (default: 1)")
    add("--jobs", type=positive, default=1, metavar="N", help="images at a time (default: 1)")
    library = "a TFLite delegate, as LIBRARY or LIBRARY,KEY=VALUE,..."
    add("--delegate", metavar="LIBRARY", help=library)
    add("--self-test", action="store_true", help="answer the bundle's golden images, and compare")
    add("--benchmark", action="store_true", help="say how long single images take here")
    add("--allow-unproven", action="store_true", help="run a file that the gate did not pass")
    return command


def bundle_of(source: Path) -> Bundle:
    """The bundle that a folder is, or that lists a file.

    Raises:
        ConvoyError: there is none.
    """
    if source.is_dir():
        return open_bundle(source)
    if found := owner(source):
        return found[0]
    raise ConvoyError(
        f"no bundle lists {source}: expected one, whose golden images tell what it should answer, "
        "received a file alone; copy the whole bundle."
    )


def run(options: argparse.Namespace) -> int:
    """Load the model and answer; returns the exit code."""
    try:
        delegate = Delegate.parse(options.delegate) if options.delegate is not None else None
        with muted():
            models = [
                load(
                    options.source,
                    options.route,
                    options.threads,
                    options.allow_unproven,
                    delegate,
                )
                for _ in range(options.jobs if options.images else 1)
            ]
        model = models[0]
        if options.self_test:
            print_self_test(model, bundle_of(Path(options.source)), options.json)
        if options.benchmark:
            print_benchmark(model, options.threads, options.json)
    except ConvoyError as error:
        print(f"convoy-edge: {error}", file=sys.stderr)
        return error.exit_code
    if not options.images:
        return 0
    if model.route is None:
        print(
            f"convoy-edge: note: no bundle lists {model.path}, so nothing proves it and its "
            "classes have no names.",
            file=sys.stderr,
        )
    return print_answers(models, options.images, options.top, options.json, "convoy-edge")


def main(argv: Sequence[str] | None = None) -> int:
    """The command `convoy-edge`; returns its exit code."""
    command = parser()
    options = command.parse_args(argv)
    if not (options.images or options.self_test or options.benchmark):
        command.error(
            "expected an image at least, --self-test or --benchmark, received none; give one"
        )
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    if isinstance(sys.stdin, io.TextIOWrapper):
        # Names of files are bytes, of which not all are text.
        sys.stdin.reconfigure(errors="surrogateescape")
    # Pillow also remarks on oddities that do not keep it from reading an image.
    logging.getLogger("PIL").setLevel(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return run(options)
        except BrokenPipeError:
            hang_up()
            return 0
        except KeyboardInterrupt:
            return INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
