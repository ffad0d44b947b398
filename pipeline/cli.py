"""`convoy VERB`: chooses the verb, and turns every refusal into one sentence and a code."""

import os
import signal
import sys
from collections.abc import Sequence
from typing import NoReturn

from pipeline.console import console
from pipeline.verbs import VERBS
from serving.errors import INTERRUPTED, ConvoyError, nearest
from serving.silence import hang_up


def script() -> NoReturn:
    """Run this process's command line, and end it with the exit code."""
    code = main()
    if code:
        # What ended early left TensorFlow's threads at work, and a Python that
        # tidies up under them crashes now and then: end without tidying.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    sys.exit()


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command line.

    Returns:
        0 when done, 2 for bad input, 3 for a failed gate, 130 when interrupted.
    """
    # Its news about processors and missing GPUs is not the user's.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    signal.signal(signal.SIGTERM, interrupt)
    args = list(sys.argv[1:] if argv is None else argv)
    if "--quiet" in args:
        args.remove("--quiet")
        console.quiet = True
    try:
        code = run(args)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        hang_up()
        return 0
    except ConvoyError as error:
        return complain(str(error), error.exit_code)
    except KeyboardInterrupt as stop:
        # A training says how it goes on.
        words = ["interrupted", "no file is left half-written", *map(str, stop.args)]
        return complain("; ".join(words), INTERRUPTED)
    except OSError as error:
        return complain(
            f"the system refuses {error.filename or 'a file'}: {error.strerror or error}.", 2
        )


def run(args: Sequence[str]) -> int:
    """Find the verb and call it."""
    if not args or args[0] in ("-h", "--help", "help"):
        print(usage())
        return 0 if args else 2
    verb, *rest = args
    if verb not in VERBS:
        raise ConvoyError(f"unknown verb `{verb}`: {nearest(verb, VERBS)} See `convoy --help`.")
    return VERBS[verb](rest) or 0


def usage() -> str:
    """The verbs, a line each."""
    width = max(map(len, VERBS))
    lines = [f"  {name:<{width}}  {summary_of(verb)}" for name, verb in VERBS.items()]
    return "\n".join(
        ["usage: convoy VERB ... [--quiet]", "", *lines, "", "convoy VERB --help tells more."]
    )


def summary_of(verb: object) -> str:
    """The first sentence of a verb's docstring."""
    return (verb.__doc__ or "").partition(":")[0]


def complain(sentence: str, code: int) -> int:
    """Say it on stderr; give back the exit code."""
    print(f"convoy: {sentence}", file=sys.stderr)
    return code


def interrupt(_signal: int, _frame: object) -> None:
    """End like Ctrl-C does, so that a run folder says so."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    script()
