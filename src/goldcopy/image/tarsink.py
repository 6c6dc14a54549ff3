"""A backup as a tar stream, as XtraBackup 2.4 writes it.

tar says a file's size before its bytes and has no way to interleave files. So one tablespace at a time goes straight
into the stream; a second one, and every file whose size is not known, waits in a temporary file. Copy with one thread
and only the redo log and small files do.
"""

from __future__ import annotations

import contextlib
import threading
from collections import deque
from typing import IO

from goldcopy.errors import GoldcopyError
from goldcopy.formats import tarstream
from goldcopy.formats.chunksum import CHUNK
from goldcopy.formats.tarstream import RECORD_BYTES
from goldcopy.image.channel import Channel
from goldcopy.image.codecs import Wrapping
from goldcopy.image.manifest import Manifest
from goldcopy.image.stream import Entry, Spool, StreamSink

_SPOOL_MEMORY_BYTES = 1 << 20
_FAILED_NAME = "goldcopy.failed"
_ZEROS = bytes(CHUNK)


class _Straight:
    """The one file that goes into the stream as it comes."""

    def __init__(self, sink: TarSink, path: str, size: int, mtime_s: int) -> None:
        self._sink, self.path, self._announced = sink, path, size
        self.sent = sink.claim(path, "")
        self.size = 0
        sink.send(tarstream.header(self.sent.name, size, mtime_s))

    @property
    def missing_bytes(self) -> int:
        """How much less than announced was sent so far."""
        return self._announced - self.size

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        if self.size > self._announced:
            raise ValueError(f"{self.path} has more than the {self._announced} bytes that were announced")
        self._sink.send(data)

    def hole(self, length: int) -> None:
        self.size += length
        self._zeros(length)

    def _zeros(self, length: int) -> None:
        while length > 0:
            self._sink.send(_ZEROS[: min(length, CHUNK)])
            length -= CHUNK

    def finish(self) -> None:
        if self.missing_bytes:
            self._sink.resize(self.sent.stored, self.size)
        self._sink.took(self.size)
        self._zeros(self.missing_bytes)
        self._sink.send(tarstream.padding(self._announced))
        self._sink.free()

    def abort(self) -> None:
        """What was announced can neither be sent nor taken back."""
        self._sink.forget(self.path)
        self._sink.torn = True


class _Spooled:
    """A file that waits until it is whole and the stream is free."""

    def __init__(self, sink: TarSink, path: str, wrapping: Wrapping, mtime_s: int) -> None:
        self._sink, self.path, self._wrapping, self._mtime_s = sink, path, wrapping, mtime_s
        self.sent = sink.claim(path, wrapping.suffix)
        # its life ends when it has been sent, or with abort
        self._spool = Spool(_SPOOL_MEMORY_BYTES, sink.tmpdir)
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        for at in range(0, len(data), CHUNK):
            piece = data[at : at + CHUNK]
            self._spool.write(self._wrapping.encode(piece) if self._wrapping else piece)

    def hole(self, length: int) -> None:
        while length > 0:
            self.write(_ZEROS[: min(length, CHUNK)])
            length -= CHUNK

    def finish(self) -> None:
        if not self.size:
            self._spool.write(self._wrapping.empty())
        self._sink.took(self.size)
        self._sink.queue(self)

    def pour(self) -> None:
        """Send all of it: the stream is free."""
        size = self._spool.tell()
        self._sink.send(tarstream.header(self.sent.name, size, self._mtime_s))
        self._spool.seek(0)
        while piece := self._spool.read(CHUNK):
            self._sink.send(piece)
        self._sink.send(tarstream.padding(size))
        self._spool.close()

    def abort(self) -> None:
        self._spool.close()
        self._sink.forget(self.path, begun=False)


class TarSink(StreamSink):
    """Writes a backup as one tar stream; a ``Sink``. Changes are told by a list at the end (``extract.settle``)."""

    def __init__(
        self, output: Channel | IO[bytes], *, wrapping: Wrapping | None = None, tmpdir: str = ""
    ) -> None:
        super().__init__([output], wrapping=wrapping, changes="list", tmpdir=tmpdir)
        self.torn = False
        self._line = threading.Lock()
        self._straight: _Straight | None = None
        self._waiting: deque[_Spooled] = deque()

    def entry(self, path: str, *, size: int | None = None, sparse: bool = False, mtime_s: int = 0) -> Entry:
        wrapping = self.wrapping_of(path)
        if size is not None and not wrapping:
            with self._line:
                if self._straight is None:
                    self._straight = _Straight(self, path, size, mtime_s)
                    return self._straight
        return _Spooled(self, path, wrapping, mtime_s)

    def send(self, data: bytes | memoryview) -> None:
        """Into the stream, by whoever has it."""
        if not self.torn:
            self.channels[0].write(data)

    def free(self) -> None:
        """The file that went straight into the stream has ended: send what waits for that."""
        with self._line:
            self._straight = None
            self._pour()

    def queue(self, file: _Spooled) -> None:
        """A file is whole: send it now, or behind the one that is being sent."""
        with self._line:
            self._waiting.append(file)
            if self._straight is None:
                self._pour()

    def _pour(self) -> None:
        while self._waiting:
            self._waiting.popleft().pour()

    def commit(self, manifest: Manifest) -> None:
        super().commit(manifest)
        self.send(tarstream.END)

    def _spoil(self) -> None:
        """End in a file that is shorter than announced: all that ``tar -i`` takes for an error."""
        open_file = self._straight
        if open_file is not None and open_file.missing_bytes:
            return
        rest = b"" if open_file is None else tarstream.padding(open_file.size)
        with contextlib.suppress(GoldcopyError):
            self.channels[0].write(rest + tarstream.header(_FAILED_NAME, RECORD_BYTES))
