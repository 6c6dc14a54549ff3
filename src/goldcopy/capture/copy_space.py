"""One tablespace on its way from the server into the sink.

Everything that is decided about it (identity, size, geometry, whole or delta) is read through the one descriptor
that its pages are read through: the name may be another table a moment later.
"""

from __future__ import annotations

import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from typing import Literal

import msgspec

from goldcopy.capture.copy_check import Checker, Findings
from goldcopy.capture.copy_source import Source
from goldcopy.capture.witness import NewestPages
from goldcopy.errors import PageCorrupt
from goldcopy.formats import Family, Lsn
from goldcopy.formats.innodb.page import (
    MAX_PAGE_BYTES,
    SYSTEM_SPACE,
    TRX_SYS_PAGE,
    Geometry,
    doublewrite_pages,
    geometry,
    is_unwritten,
    page_lsn,
    page_no,
    page_space_id,
)
from goldcopy.image.chain import has_room_for_delta
from goldcopy.image.manifest import Space
from goldcopy.image.sink import DeltaWriter, Sink, WholeWriter
from goldcopy.server import fileid
from goldcopy.server.files import FileRef

UNKNOWN_SPACE = 0xFFFFFFFF
"""InnoDB's own "no such tablespace" (SPACE_UNKNOWN): the id of a file whose page 0 is not written yet."""

UNWRITTEN_TRIES, UNWRITTEN_PAUSE_S = 50, 0.020
_FLAGS_END = 64
_HEAD_PAGES = 4
"""Header, change buffer bitmap, inodes, first root: every tablespace has them, and IMPORT rewrites them first."""


class Base(msgspec.Struct, frozen=True):
    """What an increment stands on: pages with LSN >= ``since`` are taken.

    ``identities``: (space id, identity) of every tablespace that the base holds; any other is copied whole. None:
    the base is trusted to hold all. ``always_delta``: what is copied whole is stored as a delta of all its pages.
    """

    since: Lsn
    identities: Container[tuple[int, str]] | None
    always_delta: bool = False


class SpaceJob(msgspec.Struct, frozen=True):
    """One file to copy. ``base``: None for a full backup.

    ``head``: the tablespace's first file, when this is a later one (the system tablespace may have several): page
    0, which says what the pages look like, lies there.
    """

    file: FileRef
    base: Base | None = None
    head: FileRef | None = None


class SpaceResult(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """What became of one job; ``record`` makes the manifest's entry of it.

    ``identity``: of the file that was read, which may no longer be the one that was listed. ``vanished``: it was
    gone before it could be opened, nothing is stored. ``shrunk``: it was truncated while it was copied.
    ``suspect``: a MariaDB IMPORT may have been rewriting it: copy it again when it changed since. ``head_marks``: a
    bit for each of its first pages that had an LSN when it was copied, for ``imported_since``.
    """

    path: str
    external: str = ""
    identity: str = ""
    space_id: int = UNKNOWN_SPACE
    page_size: int = 0
    zip_size: int = 0
    flags: int = 0
    size: int = 0
    stored: Literal["full", "delta", "raw"] = "full"
    complete: bool = False
    pages_stored: int = 0
    unverifiable: int = 0
    corrupt: tuple[int, ...] = ()
    sums: str = ""
    torn_rereads: int = 0
    suspect: bool = False
    head_marks: int = 0
    shrunk: bool = False
    vanished: bool = False

    def record(self, *, path: str, external: str, size_final: int) -> Space:
        """The manifest's entry, under the name that the file has in the end."""
        return Space(
            path=path,
            external=external,
            space_id=self.space_id,
            identity=self.identity,
            page_size=self.page_size,
            zip_size=self.zip_size,
            flags=self.flags,
            size=self.size,
            size_final=size_final,
            stored=self.stored,
            complete=self.complete,
            pages_stored=self.pages_stored,
            unverifiable=self.unverifiable,
            corrupt=self.corrupt,
            sums=self.sums,
        )


def imported_since(result: SpaceResult, source: str) -> bool:
    """Whether MariaDB's ALTER TABLE ... IMPORT TABLESPACE rewrote the file after its first pages were copied.

    ``source``: where the file is now. IMPORT writes no redo, keeps inode and birth time, and sets the LSN of every
    page to 0, from the first page on, which nothing else does. So ask under the lock that keeps DDL out, for each
    file that changed since it was copied (``row0import.cc``, ``PageConverter``).
    """
    if result.stored == "raw" or result.space_id == SYSTEM_SPACE:
        return False
    try:
        with open(source, "rb", buffering=0) as f:
            head = memoryview(f.read(_HEAD_PAGES * result.page_size))
    except FileNotFoundError:
        return False
    if len(head) < result.page_size or is_unwritten(head[: result.page_size]):
        return False
    lost = result.head_marks & ~_head_marks(head, result.page_size)
    return page_space_id(head) != result.space_id or bool(lost)


def _head_marks(head: memoryview, page_size: int) -> int:
    """Bit k: page k has an LSN. IMPORT leaves none; a page that was never written has none either."""
    end = min(len(head), _HEAD_PAGES * page_size)
    return sum(bool(page_lsn(head[at:])) << at // page_size for at in range(0, end, page_size))


class Turns:
    """Lets threads deliver the chunks of one file in order."""

    def __init__(self) -> None:
        self._condition = threading.Condition()
        self._next = 0
        self._broken = False

    @contextmanager
    def turn(self, index: int) -> Iterator[bool]:
        """Wait until all chunks before ``index`` were delivered. False: one of them never will be."""
        with self._condition:
            self._condition.wait_for(lambda: self._broken or self._next == index)
            alive = not self._broken
        try:
            yield alive
        except BaseException:
            self.give_up()
            raise
        with self._condition:
            self._next = max(self._next, index + 1)
            self._condition.notify_all()

    def give_up(self) -> None:
        """Wake all who wait: the file will not be finished."""
        with self._condition:
            self._broken = True
            self._condition.notify_all()


class CopyRules(msgspec.Struct, frozen=True):
    """What holds for every tablespace of a backup."""

    sink: Sink
    family: Family
    chunk_bytes: int
    on_corrupt: Literal["stop", "list"]
    newest: NewestPages


class _Tally(msgspec.Struct):
    """``Findings`` of all chunks so far, from all threads."""

    lock: threading.Lock = msgspec.field(default_factory=threading.Lock)
    done: int = 0
    pages_stored: int = 0
    torn_rereads: int = 0
    unverifiable: int = 0
    corrupt: list[int] = []
    size: int = 0
    older: bool = False

    def add(self, found: Findings, pages: int) -> None:
        with self.lock:
            self.pages_stored += pages
            self.torn_rereads += found.torn_rereads
            self.unverifiable += found.unverifiable
            self.corrupt += found.corrupt
            self.older = self.older or found.older
            if found.shrunk_to is not None:
                self.size = min(self.size, found.shrunk_to)


class SpaceCopy:
    """A tablespace being copied. ``begin`` takes the first chunk, ``copy`` any later one; then ``finish``.

    Raises FileNotFoundError when the file is gone before it could be opened.
    """

    def __init__(self, job: SpaceJob, index: int, rules: CopyRules) -> None:
        self.job, self.index, self._rules = job, index, rules
        self._source = Source(job.file.source)
        self._turns = Turns()
        self._tally = _Tally()
        self._writer: WholeWriter | None = None
        self._delta: DeltaWriter | None = None
        self._geometry: Geometry | None = None
        self._skip: frozenset[int] = frozenset()
        self._since: Lsn | None = None
        self._complete = self._base_unknown = False
        self._head_marks = 0
        self._finished = False
        try:
            self._measure()
            self._identity = fileid.identity(self._source.fd)
        except BaseException:
            self._source.close()
            raise

    # -- deciding ---------------------------------------------------------------------------------------------

    def begin(self, checker: Checker) -> None:
        """Read the first chunk, decide from its page 0, open the writer, and copy that chunk."""
        if self.job.head is not None:
            self._follow_head(checker, self.job.head)
        got = self._read_first(checker)
        if self.job.head is not None:
            self._count_from(page_no(checker.view[:MAX_PAGE_BYTES]))
        else:
            got = self._wait_for_page_0(checker, got)
            self._decide(checker, got)
        self._open_writer()
        self._take(0, got, checker)

    def _read_first(self, checker: Checker) -> int:
        return checker.read(self._source, 0, self._length(0))

    def _wait_for_page_0(self, checker: Checker, got: int) -> int:
        """A tablespace created a moment ago. MariaDB leaves page 0 to recovery, so there is nothing to wait for;
        MySQL writes it at once. Returns the bytes now in the buffer."""
        tries = UNWRITTEN_TRIES if self._rules.family == "mysql" else 0
        while tries and is_unwritten(checker.view[:got]):
            tries -= 1
            checker.pause(UNWRITTEN_PAUSE_S)
            self._measure()
            got = self._read_first(checker)
        return got

    def _measure(self) -> None:
        """Take the size that the file has now: that much is copied, however it grows meanwhile."""
        self.size = self._tally.size = self._source.measure()
        self.chunks = max(1, -(-self.size // self._rules.chunk_bytes))

    def _decide(self, checker: Checker, got: int) -> None:
        """Geometry from page 0; then whole or delta, by the identity of this very file."""
        head = checker.view[: min(got, MAX_PAGE_BYTES)]
        if is_unwritten(head):
            return
        try:
            # the search for encryption data goes through all it is given
            page_size = geometry(head[:_FLAGS_END], self._rules.family).page_size
            found = geometry(head[:page_size], self._rules.family)
        except ValueError as e:
            self._refuse_page_0(str(e))
            return
        if got < found.page_size:
            return
        self._geometry = found
        self._head_marks = _head_marks(checker.view[:got], found.page_size)
        self._skip = _doublewrite(checker.view, found, got)
        self._since = self._since_base(found.space_id)

    def _since_base(self, space_id: int) -> Lsn | None:
        base = self.job.base
        if base is None or not has_room_for_delta(self.job.file.path):
            return None
        if base.identities is None:
            self._base_unknown = True
            return base.since
        if (space_id, self._identity) in base.identities:
            return base.since
        self._complete = base.always_delta
        return Lsn(0) if base.always_delta else None

    def _refuse_page_0(self, why: str) -> None:
        """Page 0 makes no sense: nothing in the file can be checked."""
        if self._rules.on_corrupt == "stop":
            raise self._corrupt([0], 0, why)
        self._tally.corrupt.append(0)

    def _follow_head(self, checker: Checker, file: FileRef) -> None:
        """This is a later file of its tablespace: what page 0 says lies in the first one."""
        head = Source(file.source)
        try:
            got = checker.read(head, 0, min(head.size, self._rules.chunk_bytes))
            self._decide(checker, got)
        finally:
            head.close()

    def _count_from(self, first: int) -> None:
        """Page numbers of a later file count from its own start; ``first``: what its first page is called."""
        self._skip = frozenset(n - first for n in self._skip) if first else frozenset()

    def _open_writer(self) -> None:
        file, sink = self.job.file, self._rules.sink
        if self._since is not None and self._geometry is not None:
            self._delta = sink.open_delta(file.path, geometry=self._geometry, external=file.external)
            return
        self._writer = sink.open_whole(
            file.path,
            size=self.size,
            page_size=0 if self._geometry is None else self._geometry.page_size,
            external=file.external,
            sparse=self._source.sparse,
        )

    # -- copying ----------------------------------------------------------------------------------------------

    def _length(self, index: int) -> int:
        return min(self._rules.chunk_bytes, self.size - index * self._rules.chunk_bytes)

    def length(self, index: int) -> int:
        """Bytes of a chunk, for the throttle and for progress."""
        return max(0, self._length(index))

    def copy(self, index: int, checker: Checker) -> None:
        """Copy one chunk that is not the first."""
        offset, length = index * self._rules.chunk_bytes, self._length(index)
        if self._source.is_hole(offset, length):
            self._deliver(index, offset, 0, [], checker)
            return
        geometry, since = self._geometry, self._since
        if since and geometry and checker.read_newer(self._source, offset, length, geometry, since):
            got = length
        else:
            got = checker.read(self._source, offset, length)
        self._take(index, got, checker)

    def _take(self, index: int, got: int, checker: Checker) -> None:
        """Check what is in the buffer and hand it to the sink."""
        offset = index * self._rules.chunk_bytes
        found, wanted = Findings(older=not self._base_unknown), list[int]()
        if got < self._length(index):
            found.shrunk(offset + got)
        geometry = self._geometry
        if geometry is not None and got:
            wanted = checker.verify(
                self._source, offset, got, geometry, found, skip=self._skip, since=self._since
            )
            if found.corrupt and self._rules.on_corrupt == "stop":
                raise self._corrupt(found.corrupt, geometry.page_size)
            self._remember_newest(checker, offset, got, geometry, found)
        self._tally.add(found, len(wanted))
        self._deliver(index, offset, got, wanted, checker)

    def _remember_newest(self, checker: Checker, offset: int, got: int, geometry: Geometry, found: Findings) -> None:
        if found.corrupt:
            return
        n, first = geometry.page_size, offset // geometry.page_size
        pages = set() if offset else {(page_lsn(checker.view[i * n :]), i) for i in range(min(_HEAD_PAGES, got // n))}
        for lsn, index in pages | {checker.newest(got, geometry)}:
            if lsn and first + index not in self._skip:
                self._rules.newest.offer(lsn, first + index, n, geometry.space_id, self._identity)

    def _deliver(self, index: int, offset: int, got: int, wanted: list[int], checker: Checker) -> None:
        if self._writer is not None and self._rules.sink.random_access:
            self._write(offset, checker.view[:got])
            return
        with self._turns.turn(index) as alive:
            if not alive:
                return
            if self._delta is not None:
                self._write_pages(offset, wanted, checker.view)
            else:
                self._write(offset, checker.view[:got])

    def _write(self, offset: int, data: memoryview) -> None:
        assert self._writer is not None
        if len(data):
            self._writer.write_at(offset, data, self._source.extents(data, offset))

    def _write_pages(self, offset: int, indices: list[int], view: memoryview) -> None:
        assert self._delta is not None and self._geometry is not None
        if not indices:
            return
        n = self._geometry.page_size
        first = offset // n
        self._delta.write_pages([first + i for i in indices], [view[i * n : (i + 1) * n] for i in indices])

    def count_chunk(self) -> bool:
        """One chunk is delivered. True for the last one: ``finish`` is due."""
        with self._tally.lock:
            self._tally.done += 1
            return self._tally.done == self.chunks

    # -- the end ----------------------------------------------------------------------------------------------

    def _corrupt(self, pages: list[int], page_size: int, why: str = "its checksum stays wrong") -> PageCorrupt:
        rest = f" (and {len(pages) - 1} more close to it)" if len(pages) > 1 else ""
        return PageCorrupt(
            f"{self.job.file.source}: page {pages[0]} at byte offset {pages[0] * page_size} is corrupt: {why}{rest}",
            hint="check the disk and repair the table (or restore it) first; to take a backup all the same, let "
            "corrupt pages be listed instead of stopping at them",
            path=self.job.file.path,
        )

    def finish(self) -> SpaceResult:
        """All chunks are delivered: close everything. Returns what the manifest must know."""
        tally, geometry, file = self._tally, self._geometry, self.job.file
        sums = self._finish_writer()
        self._source.close()
        self._finished = True
        return SpaceResult(
            path=file.path,
            external=file.external,
            identity=self._identity,
            space_id=UNKNOWN_SPACE if geometry is None else geometry.space_id,
            page_size=0 if geometry is None else geometry.page_size,
            zip_size=0 if geometry is None else geometry.zip_size,
            flags=0 if geometry is None else geometry.flags,
            size=tally.size,
            stored="raw" if geometry is None else "delta" if self._since is not None else "full",
            # what the unknown base may not hold is all here: a page that was never written is a hole
            complete=self._complete or (self._base_unknown and not tally.older),
            pages_stored=tally.pages_stored,
            unverifiable=tally.unverifiable,
            corrupt=tuple(sorted(tally.corrupt)),
            sums=sums,
            torn_rereads=tally.torn_rereads,
            suspect=geometry is not None and self._head_marks == 0,
            head_marks=self._head_marks,
            shrunk=tally.size < self.size,
        )

    def _finish_writer(self) -> str:
        if self._delta is not None:
            return self._delta.finish()
        assert self._writer is not None
        return self._writer.finish(self._tally.size)

    def give_up(self) -> None:
        """The backup failed: nobody waits for this file any more."""
        self._turns.give_up()

    def abort(self) -> None:
        """Close everything and leave nothing in the sink. No thread may be inside any more."""
        if self._finished:
            return
        self._source.close()
        for writer in (self._writer, self._delta):
            if writer is not None:
                writer.abort()


def _doublewrite(view: memoryview, geometry: Geometry, got: int) -> frozenset[int]:
    start = TRX_SYS_PAGE * geometry.page_size
    end = min(start + geometry.page_size, got)
    return doublewrite_pages(view[start:end], geometry) if start < end else frozenset()
