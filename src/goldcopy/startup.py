"""Starting: fast, for many wait for the backup of an empty server; and with three standard streams, closed or not."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import sys
from collections.abc import Iterator
from typing import TextIO


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around the imports of a command. What they make stays to the end: the garbage collector, which would look
    through all of it every few hundred objects, and once more at the exit, is kept away from it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def occupy_streams() -> None:
    """Take the descriptors 0 to 2 where the caller has closed them: else a file, or the connection to the server, gets
    such a number, and what is meant for the terminal or a pipe goes there.

    What is closed stays so to whoever reads or writes it, but messages, which merely go nowhere.
    """
    for fd, flags in enumerate((os.O_WRONLY, os.O_RDONLY, os.O_RDWR)):
        try:
            os.fstat(fd)
        except OSError:
            # the lowest free number is given out first
            os.open(os.devnull, flags)
            os.set_inheritable(fd, True)
    sys.stdin = sys.stdin or open(0, closefd=False)
    # without a buffer, which would be tried once more at the end
    sys.stdout = sys.stdout or io.TextIOWrapper(open(1, "wb", buffering=0, closefd=False), write_through=True)
    sys.stderr = sys.stderr or open(2, "w", closefd=False)


class Unfailing:
    """Where messages go, until they cannot go there any more: no work must fail because nobody reads of it."""

    def __init__(self, out: TextIO) -> None:
        self._out = out

    def write(self, text: str) -> None:
        """Write and flush; the reader may be gone (EPIPE) or the log's disk full."""
        try:
            self._out.write(text)
            self._out.flush()
        except OSError:
            nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
            try:
                # what is left in the buffer is written once more when the program ends
                os.dup2(nowhere, self._out.fileno())
            finally:
                os.close(nowhere)
