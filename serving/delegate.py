"""Libraries that run parts of a network on other hardware than the processor."""

import ctypes
from typing import Any, NamedTuple

from serving.errors import ConvoyError


class Delegate(NamedTuple):
    """A TFLite delegate: the library, by its path or as the linker finds it, and its options."""

    library: str
    options: dict[str, str]

    @classmethod
    def parse(cls, text: str) -> "Delegate":
        """Read a library and its options from one word.

        Example:

        >>> Delegate.parse("libarmnnDelegate.so,backends=CpuAcc,logging-severity=info").options
        {'backends': 'CpuAcc', 'logging-severity': 'info'}

        Raises:
            ConvoyError: what follows a comma is no option.
        """
        library, *words = text.split(",")
        pairs = [word.partition("=") for word in words]
        if not library or not all(key and sign for key, sign, _ in pairs):
            raise ConvoyError(
                f"--delegate `{text}` is none: expected LIBRARY or LIBRARY,KEY=VALUE,..., received "
                "something else; see the delegate's own manual for its options."
            )
        return cls(library, {key: value for key, _, value in pairs})

    def load(self, runtime: Any) -> Any:
        """Let a TFLite runtime load the library.

        Raises:
            ConvoyError: it is missing, no delegate, or finds no hardware.
        """
        try:
            # First by itself: the runtime leaves a half-made delegate behind, which complains.
            ctypes.CDLL(self.library)
            return runtime.load_delegate(self.library, self.options)
        except Exception as error:  # A library fails in whatever way it likes.
            raise ConvoyError(
                f"delegate {self.library} cannot be used: expected a TFLite delegate and the "
                f"hardware that it is for, received `{' '.join(str(error).split())}`; check the "
                "library and its options, or leave --delegate out."
            ) from error
