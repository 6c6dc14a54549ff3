"""A backup as a stream of xbstream chunks: nothing is kept, nothing can be taken back.

What a directory would mend by renaming and removing is told to the reader instead: as chunks that mbstream of
MariaDB 10.11 and later obeys, or as a list at the end (``goldcopy.changes``) that Goldcopy's own reader does. A
backup that fails ends in half a chunk, so that no reader, not even one that exits 0 on missing files, takes what it
has for a backup.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import IO, Literal, Protocol

import msgspec

from goldcopy.errors import GoldcopyError, TargetRefused, writing
from goldcopy.formats import chunksum, xbstream
from goldcopy.formats.chunksum import CHUNK, RunningSum
from goldcopy.formats.delta import Block, DeltaEncoder, Meta, render_meta
from goldcopy.formats.innodb.page import Geometry
from goldcopy.formats.packed import Table
from goldcopy.image.channel import Channel
from goldcopy.image.codecs import Wrapping
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, dump
from goldcopy.image.sink import Extent, Sizes

CHANGES_NAME = "goldcopy.changes"
DEFAULT_MODE = 0o640
_GATHER_BYTES = 64 << 10
_SPOOL_MEMORY_BYTES = 8 << 20
_ZEROS = bytes(CHUNK)
_MAX_SKIP = 0xFFFF0000
_AHEAD = 2
"""Blocks of a file that wait for each thread: enough that none is idle while one is being sent."""

_OTHER_PLACE = "name another directory: TMPDIR, or --tmpdir"
_NEVER_WRAPPED = (".meta", "_checkpoints", MANIFEST_NAME, CHANGES_NAME)
"""The peers leave these as they are, and whoever looks at a backup must be able to read them at once."""

Changes = Literal["chunks", "list"]


class ChangeList(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader of a stream must do to the files in it, by their names without wrappings.

    ``sized`` (name, bytes) first: files that shrank after that had been sent; then ``removed``; then ``renamed``
    (old, new), all of them at once, so names may be swapped.
    """

    removed: tuple[str, ...] = ()
    renamed: tuple[tuple[str, str], ...] = ()
    sized: tuple[tuple[str, int], ...] = ()


class Sent(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A file of the backup: its path, its name in the stream, the wrapping's suffix behind that, which stream it is in.
    """

    path: str
    stored: str
    suffix: str
    stream: int

    @property
    def name(self) -> str:
        """What the reader calls it."""
        return self.stored + self.suffix


class Spool(tempfile.SpooledTemporaryFile[bytes]):
    """Bytes that wait until they can be sent: in memory, or when they are many in a file of ``tmpdir`` ("": TMPDIR)."""

    def __init__(self, memory_bytes: int, tmpdir: str) -> None:
        super().__init__(max_size=memory_bytes, dir=tmpdir or None)
        self._place = tmpdir or tempfile.gettempdir()

    def write(self, data: bytes | bytearray | memoryview) -> int:  # type: ignore[override]
        """Append. Raises NoSpace, TargetRefused."""
        with writing(f"a temporary file in {self._place}", full_hint="free space there", hint=_OTHER_PLACE):
            return super().write(data)


class Entry(Protocol):
    """One file on its way into a stream, front to back, holes included in ``size``."""

    path: str
    size: int
    sent: Sent

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes; the memory is the caller's again when this returns."""

    def hole(self, length: int) -> None:
        """The next bytes are zeros."""

    def finish(self) -> None:
        """It is whole."""

    def abort(self) -> None:
        """Forget it; what of it is at the other end already will be removed there."""


class _ChunkEntry:
    """In chunks: raw bytes in order, wrapped in blocks by the sink's threads."""

    def __init__(self, sink: StreamSink, path: str, *, sparse: bool = False) -> None:
        self._sink, self.path = sink, path
        self._wrapping = sink.wrapping_of(path)
        self.sent = sink.claim(path, self._wrapping.suffix)
        self._channel = sink.channel(self.sent)
        self._sparse = sparse and not self._wrapping
        self._waiting: deque[Future[bytes]] = deque()
        self._gathered = bytearray()
        self._at = 0
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        self.size += len(data)
        if len(self._gathered) + len(data) < _GATHER_BYTES:
            self._gathered += data
            return
        self._flush()
        self._block(data)

    def hole(self, length: int) -> None:
        if self._sparse and length:
            self._flush()
            self._send_hole(length)
            self.size += length
            return
        while length:
            step = min(length, CHUNK)
            self.write(_ZEROS[:step])
            length -= step

    def _send_hole(self, length: int) -> None:
        ranges = [(_MAX_SKIP, 0)] * (length // _MAX_SKIP) + [(length % _MAX_SKIP, 0)]
        self._channel.write(xbstream.sparse_header(self.sent.name, self._at, ranges, b""))
        self._at += length

    def _flush(self) -> None:
        if self._gathered:
            self._block(bytes(self._gathered))
            self._gathered.clear()

    def _block(self, data: bytes | memoryview) -> None:
        if not self._wrapping:
            for at in range(0, len(data), xbstream.CHUNK_BYTES):
                self._send(data[at : at + xbstream.CHUNK_BYTES])
            return
        for at in range(0, len(data), CHUNK):
            # a copy: the memory is the caller's again when we return
            self._waiting.append(self._sink.pool.submit(self._wrapping.encode, bytes(data[at : at + CHUNK])))
            if len(self._waiting) > _AHEAD * self._sink.threads:
                self._send(self._waiting.popleft().result())

    def _send(self, data: bytes | memoryview) -> None:
        if len(data):
            self._channel.write(xbstream.payload_header(self.sent.name, self._at, data), data)
            self._at += len(data)

    def finish(self) -> None:
        self._flush()
        while self._waiting:
            self._send(self._waiting.popleft().result())
        if not self.size and self._wrapping:
            self._send(self._wrapping.empty())
        self._sink.took(self.size)
        self._channel.write(xbstream.end(self.sent.name))

    def abort(self) -> None:
        self._waiting.clear()
        if self._at:
            # the backup may have failed because the reader is gone
            with contextlib.suppress(GoldcopyError):
                self._channel.write(xbstream.end(self.sent.name))
        self._sink.forget(self.path, begun=bool(self._at))


class _Whole:
    """A tablespace, its chunks in order."""

    def __init__(self, sink: StreamSink, entry: Entry) -> None:
        self._sink, self._entry = sink, entry
        self._sums = RunningSum()

    def write_at(self, offset: int, data: memoryview, extents: Sequence[Extent] | None = None) -> None:
        entry = self._entry
        if offset > entry.size:
            if entry.size % CHUNK:
                return  # it shrank while it was read: what was read behind the new end is gone
            self._hole(offset - entry.size)
        at = offset
        for start, end in [(offset, offset + len(data))] if extents is None else extents:
            self._hole(start - at)
            piece = data[start - offset : end - offset]
            self._sums.add(piece)
            entry.write(piece)
            at = end
        self._hole(offset + len(data) - at)

    def _hole(self, length: int) -> None:
        self._entry.hole(length)
        self._sums.add_zeros(length)

    def finish(self, size: int) -> str:
        self._hole(max(0, size - self._entry.size))
        self._entry.finish()
        sums = self._sums.text()
        if size < self._entry.size:
            # what was sent beyond is whole chunks, see write_at
            self._sink.resize(self._entry.sent.stored, size)
            sums = chunksum.encode(chunksum.decode(sums)[: size // CHUNK])
        return sums

    def abort(self) -> None:
        self._entry.abort()


class _Delta:
    """Changed pages in XtraBackup's layout. A cluster's first block comes last, so the rest of it is spooled."""

    def __init__(self, sink: StreamSink, path: str, geometry: Geometry) -> None:
        self._sink, self._geometry = sink, geometry
        self._encoder = DeltaEncoder(geometry.page_size)
        self._sums = RunningSum()
        self._path = path
        self._entry = sink.entry(path + ".delta")
        self._early: list[tuple[int, int]] = []
        # its life ends with the delta's, by finish or abort
        self._spool = Spool(_SPOOL_MEMORY_BYTES, sink.tmpdir)

    def write_pages(self, numbers: Sequence[int], pages: Sequence[memoryview]) -> None:
        for number, page in zip(numbers, pages, strict=True):
            self._take(self._encoder.add(number, page))

    def _take(self, blocks: list[Block]) -> None:
        for block in blocks:
            if block.offset == self._entry.size:
                self._send(block.data)
                self._drain()
            else:
                self._spool.seek(0, os.SEEK_END)
                self._early.append((block.offset, len(block.data)))
                self._spool.write(block.data)

    def _drain(self) -> None:
        """Send what was spooled and now follows; blocks come in order but for the one that was waited for."""
        if not self._early or self._early[0][0] != self._entry.size:
            return
        self._spool.seek(0)
        for offset, length in self._early:
            assert offset == self._entry.size
            self._send(self._spool.read(length))
        self._early.clear()
        self._spool.seek(0)
        self._spool.truncate()

    def _send(self, data: bytes | bytearray) -> None:
        view = memoryview(data)
        self._sums.add(view)
        self._entry.write(view)

    def finish(self) -> str:
        self._take(self._encoder.finish())
        self._spool.close()
        self._entry.finish()
        meta = self._sink.entry(self._path + ".meta")
        meta.write(render_meta(Meta.of(self._geometry), self._geometry.family).encode())
        meta.finish()
        return self._sums.text()

    def abort(self) -> None:
        self._spool.close()
        self._entry.abort()


class _File:
    """Any other file."""

    def __init__(self, entry: Entry) -> None:
        self._entry = entry
        self._sums = RunningSum()

    @property
    def size(self) -> int:
        return self._entry.size

    def write(self, data: bytes | memoryview) -> None:
        self._sums.add(data)
        self._entry.write(data)

    def hole(self, length: int) -> None:
        self._entry.hole(length)
        self._sums.add_zeros(length)

    def finish(self) -> str:
        self._entry.finish()
        return self._sums.text()

    def abort(self) -> None:
        self._entry.abort()


class StreamSink(contextlib.AbstractContextManager["StreamSink"]):
    """Writes a backup into streams as it comes; a ``Sink`` whose memory does not depend on what it is given.

    ``outputs``: one stream, or one for each named pipe (``channel.fifo_channels``); a file goes into one of them.
    ``wrapping`` and ``threads``: how files are compressed and encrypted, and by how many threads. ``changes``: how
    files that were renamed, removed or sent again are told of: ``chunks`` needs mbstream of MariaDB 10.11 at the
    other end, ``list`` any reader and Goldcopy (``extract.settle``) behind it. ``sparse``: holes as XtraBackup's
    chunks, which MariaDB's readers refuse; else as zeros. ``tmpdir``: see ``Spool``.

    Leaving the context without ``commit`` ends the streams in half a chunk.
    """

    random_access = False

    def __init__(
        self,
        outputs: Sequence[Channel | IO[bytes]],
        *,
        wrapping: Wrapping | None = None,
        threads: int = 1,
        changes: Changes = "list",
        sparse: bool = False,
        tmpdir: str = "",
    ) -> None:
        self.tmpdir = tmpdir
        self.channels = [out if isinstance(out, Channel) else Channel(out) for out in outputs]
        self._turn = itertools.cycle(range(len(self.channels)))
        self._wrapping, self.threads, self._sparse = wrapping or Wrapping(), threads, sparse
        # several streams are read at different speeds: what one of them says of names must not depend on another
        self._obeyed = changes == "chunks" and len(outputs) == 1
        self.pool = ThreadPoolExecutor(threads, "wrap")
        self._lock = threading.Lock()
        self._files: Table[str, Sent] = Table(Sent, lambda sent: sent.path)
        self._used: set[str] = set()
        """Names in the stream that are not the path of the file that has, or had, them."""
        self._removed: list[str] = []
        self._sized: dict[str, int] = {}
        self._content_bytes = 0
        self._committed = False

    def __exit__(self, *_exc: object) -> None:
        self.abandon()

    # -- content --------------------------------------------------------------------------------------------------

    def entry(self, path: str, *, size: int | None = None, sparse: bool = False, mtime_s: int = 0) -> Entry:
        """Begin a file. ``size``: what it will have, where that is known; it may become less."""
        return _ChunkEntry(self, path, sparse=sparse and self._sparse)

    def wrapping_of(self, path: str) -> Wrapping:
        """How a file is compressed and encrypted."""
        return Wrapping() if path.endswith(_NEVER_WRAPPED) else self._wrapping

    def open_whole(
        self, path: str, *, size: int, page_size: int, external: str = "", sparse: bool = False
    ) -> _Whole:
        return _Whole(self, self.entry(path, size=size, sparse=sparse))

    def open_delta(self, path: str, *, geometry: Geometry, external: str = "") -> _Delta:
        return _Delta(self, path, geometry)

    def put_file(self, path: str, *, external: str = "", mode: int = DEFAULT_MODE, mtime_ns: int = 0) -> _File:
        return _File(self.entry(path, mtime_s=mtime_ns // 1_000_000_000))

    def make_dir(self, path: str) -> None:
        """Streams have no directories: the peers send an empty ``db.opt`` instead, and so do we."""
        self.put_file(path + "/db.opt").finish()

    # -- names ----------------------------------------------------------------------------------------------------

    def claim(self, path: str, suffix: str) -> Sent:
        """Begin a file: under its own name, or under another one when the stream has used that already.

        Raises TargetRefused for a name that is too long to be sent.
        """
        try:
            xbstream.encode_path(path + suffix)
        except ValueError as e:
            raise TargetRefused(
                f"{path} cannot be sent in a stream: {e}", hint="back up into a directory, or leave this table out"
            ) from e
        with self._lock:
            if path in self._files:
                raise ValueError(f"{path} is taken")
            stored = next(n for n in _generations(path) if n not in self._used and n not in self._files)
            sent = Sent(path, stored, suffix, next(self._turn))
            self._keep(sent)
            return sent

    def _keep(self, sent: Sent) -> None:
        self._files.put(sent)
        if sent.stored != sent.path:
            self._used.add(sent.stored)

    def _pop(self, path: str) -> Sent:
        sent = self._files.get(path)
        if sent is None:
            raise ValueError(f"{path} is not in the stream")
        self._files.discard(path)
        return sent

    def forget(self, path: str, *, begun: bool = True) -> None:
        """A file is no more. ``begun``: something of it is at the other end."""
        with self._lock:
            sent = self._pop(path)
            if self._obeyed or not begun:
                self._used.discard(sent.stored)
            else:
                self._used.add(sent.stored)
                self._removed.append(sent.stored)
        if self._obeyed and begun:
            self.channel(sent).write(xbstream.remove(sent.name))

    def channel(self, sent: Sent) -> Channel:
        """The stream that a file is in."""
        return self.channels[sent.stream]

    def resize(self, stored: str, size: int) -> None:
        """A file that has been sent is shorter than that."""
        with self._lock:
            self._sized[stored] = size

    def _stored(self, path: str) -> list[str]:
        """The files that a tablespace is kept in."""
        with self._lock:
            return [name for name in (path, path + ".delta", path + ".meta") if name in self._files]

    def remove_space(self, path: str) -> None:
        for name in self._stored(path):
            self.forget(name)

    def rename_space(self, old: str, new: str) -> None:
        if self._stored(new):
            raise ValueError(f"{new} is taken")
        for name in self._stored(old):
            self._rename(name, new + name[len(old) :])

    def _rename(self, old: str, new: str) -> None:
        with self._lock:
            was = self._pop(old)
            now = msgspec.structs.replace(was, path=new, stored=new if self._obeyed else was.stored)
            if self._obeyed and was.stored in self._sized:
                self._sized[new] = self._sized.pop(was.stored)
            self._keep(now)
        if self._obeyed:
            self.channel(now).write(xbstream.rename(was.name, now.name))

    def remove_file(self, path: str) -> None:
        with self._lock:
            known = path in self._files
        if known:
            self.forget(path)

    # -- the end --------------------------------------------------------------------------------------------------

    def took(self, size_bytes: int) -> None:
        """A file of so many bytes is whole."""
        with self._lock:
            self._content_bytes += size_bytes

    def sizes(self) -> Sizes:
        return Sizes(sum(channel.written_bytes for channel in self.channels), self._content_bytes)

    def relative(self, directory: str) -> str:
        return os.path.abspath(directory)

    def sync(self) -> None:
        """What is durable is the reader's affair."""

    def _change_list(self) -> ChangeList:
        moved = sorted((sent.stored, sent.path) for sent in self._files if sent.stored != sent.path)
        return ChangeList(removed=tuple(self._removed), renamed=tuple(moved), sized=tuple(self._sized.items()))

    def commit(self, manifest: Manifest) -> None:
        changes = self._change_list()
        if changes != ChangeList():
            self._put_last(CHANGES_NAME, [msgspec.json.encode(changes)])
        self._put_last(MANIFEST_NAME, dump(manifest))
        self._committed = True
        self.pool.shutdown()

    def _put_last(self, path: str, pieces: Iterable[bytes]) -> None:
        out = self.put_file(path)
        for piece in pieces:
            out.write(piece)
        out.finish()

    def abandon(self) -> None:
        if self._committed:
            return
        self._committed = True
        self.pool.shutdown(cancel_futures=True)
        self._spoil()

    def _spoil(self) -> None:
        for channel in self.channels:
            with contextlib.suppress(GoldcopyError):
                channel.write(xbstream.MAGIC)


def _generations(path: str) -> Iterator[str]:
    """Names under which a file can be sent, the first of them its own."""
    yield path
    for n in itertools.count(2):
        yield f"{path}.goldcopy-{n}"
