"""Copies files that are no InnoDB tablespaces: as they are, holes kept, chunk sums made on the way."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Literal

from goldcopy.capture.copy_source import Source, read_failure
from goldcopy.capture.throttle import Throttle
from goldcopy.formats.chunksum import CHUNK
from goldcopy.image import osfile
from goldcopy.image.manifest import Plain
from goldcopy.image.osfile import PageCache
from goldcopy.image.sink import FileWriter, Sink
from goldcopy.server.files import FileRef

CTIME_MARGIN_NS = 2_000_000_000
"""Clocks of file systems move in ticks, and are set: a change so close to the base's start may not show."""

_DIR_MODE = 0o750


def looks_same(file: FileRef, record: Plain) -> bool:
    """Whether nothing shows that a file is another one, or has other content, than when it was recorded."""
    return (file.identity, file.size, file.mtime_ns, file.ctime_ns) == (
        record.identity, record.size, record.mtime_ns, record.ctime_ns,
    )


def unchanged(file: FileRef, base: Plain, base_started_ns: int) -> bool:
    """Whether the base's copy of a file is provably what the file is now.

    ``base_started_ns``: when the base began (its clock and ours are the server's host's).
    """
    settled = file.ctime_ns < base_started_ns - CTIME_MARGIN_NS
    return settled and base.stored != "dir" and looks_same(file, base)


class PlainCopier:
    """Puts plain files into a sink, one after the other. Not thread-safe.

    ``pulse`` is called again and again meanwhile; what it raises ends the copy.
    """

    def __init__(
        self, sink: Sink, throttle: Throttle | None = None, pulse: Callable[[], None] = lambda: None
    ) -> None:
        self._sink, self._throttle, self._pulse = sink, throttle or Throttle(), pulse
        self._view = osfile.buffer(CHUNK)
        self._cache = PageCache()

    def copy(self, file: FileRef) -> Plain | None:
        """Copy one file; an earlier copy of it must have been removed. None when it is gone."""
        try:
            source = Source(file.source)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise read_failure(e, file.source) from e
        try:
            out = self._sink.put_file(
                file.path, external=file.external, mode=file.mode, mtime_ns=file.mtime_ns
            )
            self._pour(source, out)
            return _record(file, size=out.size, sums=out.finish())
        finally:
            source.close()

    def _pour(self, source: Source, out: FileWriter) -> None:
        """All bytes that the file had when it was opened, or as many as it still has."""
        for offset in range(0, source.size, CHUNK):
            self._pulse()
            length = min(CHUNK, source.size - offset)
            if source.is_hole(offset, length):
                out.hole(length)
                continue
            wait_s = self._throttle.reserve(length)
            if wait_s:
                time.sleep(wait_s)  # even a sleep of nothing costs a timer's tick
            got = min(source.read(self._view, offset, self._cache), length)
            self._pour_chunk(source, out, offset, got)
            if got < length:
                return

    def _pour_chunk(self, source: Source, out: FileWriter, offset: int, length: int) -> None:
        data = self._view[:length]
        at = offset
        for start, end in source.extents(data, offset) or [(offset, offset + length)]:
            out.hole(start - at)
            out.write(data[start - offset : end - offset])
            at = end
        out.hole(offset + length - at)

    def from_base(self, file: FileRef, base: Plain) -> Plain:
        """The record of a file that is ``unchanged``: restored from the base."""
        return _record(file, size=file.size, sums=base.sums, stored="base")

    def make_dir(self, path: str) -> Plain:
        """A directory that would be empty."""
        self._sink.make_dir(path)
        return Plain(path=path, mode=_DIR_MODE, stored="dir")

    def remove(self, plain: Plain) -> None:
        """The file was dropped, or changed, after it was copied."""
        self._sink.remove_file(plain.path)


def _record(file: FileRef, *, size: int, sums: str, stored: Literal["file", "base"] = "file") -> Plain:
    return Plain(
        path=file.path,
        external=file.external,
        size=size,
        mode=file.mode,
        identity=file.identity,
        mtime_ns=file.mtime_ns,
        ctime_ns=file.ctime_ns,
        stored=stored,
        sums=sums,
    )
