"""The redo window in a local file of its own, for sinks that cannot hold it until it is rebuilt (streams)."""

from __future__ import annotations

import contextlib
import os

from goldcopy.errors import writing
from goldcopy.formats.chunksum import CHUNK, RunningSum


class SpoolFile:
    """A FileWriter over a local file. The caller removes the file when it is done with it."""

    def __init__(self, path: str) -> None:
        self._path = path
        self._out = open(path, "wb", buffering=CHUNK)
        self._sums = RunningSum()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes."""
        self._sums.add(data)
        with self._writing():
            self._out.write(data)
        self.size += len(data)

    def hole(self, length: int) -> None:
        """The next ``length`` bytes are zeros."""
        while length:
            step = min(length, CHUNK)
            self.write(bytes(step))
            length -= step

    def finish(self) -> str:
        """All is there: flushed, not made durable. Returns its chunk sums."""
        with self._writing():
            self._out.close()
        return self._sums.text()

    def abort(self) -> None:
        """Leave nothing of it."""
        with contextlib.suppress(OSError):
            self._out.close()
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self._path)

    def _writing(self) -> contextlib.AbstractContextManager[None]:
        what = f"the redo log's temporary file in {os.path.dirname(self._path)}"
        return writing(what, full_hint="free space there", hint="--tmpdir names another directory")
