"""Where a capture writes: one contract for directories, streams and repositories.

All paths are relative, ``/``-separated, and as in the data directory. Everything that a sink raises is a
GoldcopyError: NoSpace when the target is full, TargetRefused when it cannot be written.

A capture calls a sink from several threads: tablespaces are begun and written by the copier's, the redo log by the
follower's, all else by the main thread. Whatever begins a file is thread-safe; a writer has one thread at a time,
but for ``WholeWriter.write_at``. What changes names (``remove_...``, ``rename_space``), and all from ``sync`` on, comes
from the main thread while no tablespace is being written. ``docs/design/sinks.md`` says what a new sink needs.

Chunk sums (``formats.chunksum``) are of the file's own bytes where they are stored in a file of their own, as the
manifest keeps them; a sink that stores pages under sums of its own may return "": not known by file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from goldcopy.formats.innodb.page import Geometry
from goldcopy.image.manifest import Manifest

Extent = tuple[int, int]
"""A range of a file: byte offset of its start, of its end."""


class WholeWriter(Protocol):
    """Takes all pages of one tablespace. What is never written is a hole and reads as zeros.

    A page never lies in two chunks. Not every page is the tablespace's own: see ``page.doublewrite_pages``.
    """

    def write_at(self, offset: int, data: memoryview, extents: Sequence[Extent] | None = None) -> None:
        """Take ``data`` for ``offset``: a multiple of ``chunksum.CHUNK``, as is the length but at the file's end.

        ``extents``: the ranges that hold data, where between them are holes (zeros in ``data``); None: all of it.
        ``data`` begins at a page-aligned address and is the caller's again when this returns. Where the sink has
        ``random_access``, several threads may write different chunks at once; else chunks come in order.
        """

    def finish(self, size: int) -> str:
        """The file is whole: ``size`` bytes, less than announced if it shrank meanwhile. Returns its chunk sums."""

    def abort(self) -> None:
        """Leave nothing of it."""


class DeltaWriter(Protocol):
    """Takes the changed pages of one tablespace, numbers ascending, one thread at a time.

    How many pages the tablespace has in the end, only the manifest tells (``size_final``).
    """

    def write_pages(self, numbers: Sequence[int], pages: Sequence[memoryview]) -> None:
        """Take some pages; the memory is the caller's again when this returns."""

    def finish(self) -> str:
        """All are there. Returns the chunk sums of what is stored."""

    def abort(self) -> None:
        """Leave nothing of it."""


class FileWriter(Protocol):
    """Takes a file that is no tablespace, front to back; after ``abort`` its path may be begun again."""

    @property
    def size(self) -> int:
        """Bytes so far, holes included."""

    def write(self, data: bytes | memoryview) -> None:
        """The next bytes."""

    def hole(self, length: int) -> None:
        """The next ``length`` bytes are zeros that need no room."""

    def finish(self) -> str:
        """The file is whole. Returns its chunk sums."""

    def abort(self) -> None:
        """Leave nothing of it."""


@dataclass(frozen=True)
class Sizes:
    """``stored_bytes``: what a backup takes, its files without their holes, or its stream. ``content_bytes``: what its
    files have before compression and encryption."""

    stored_bytes: int
    content_bytes: int


class Sink(Protocol):
    """What a capture writes to. A backup exists from ``commit`` on and not before."""

    @property
    def random_access(self) -> bool:
        """Whether chunks of one tablespace may come in any order, from several threads."""

    def open_whole(
        self, path: str, *, size: int, page_size: int, external: str = "", sparse: bool = False
    ) -> WholeWriter:
        """Begin a tablespace stored with all its pages (``page_size`` 0: not known, page 0 is unwritten).

        ``external``: its absolute place on the source when that is outside the data directory. Thread-safe.
        """

    def open_delta(self, path: str, *, geometry: Geometry, external: str = "") -> DeltaWriter:
        """Begin a tablespace of which only changed pages are stored. Thread-safe."""

    def put_file(self, path: str, *, external: str = "", mode: int = 0o640, mtime_ns: int = 0) -> FileWriter:
        """Begin any other file. ``mode`` and ``mtime_ns`` are the source's, for sinks that can carry them. Thread-safe.

        The redo log is one of them, begun first and finished last.
        """

    def make_dir(self, path: str) -> None:
        """A directory that would be empty: a database without files."""

    def remove_space(self, path: str) -> None:
        """The tablespace was dropped after it was taken."""

    def rename_space(self, old: str, new: str) -> None:
        """The tablespace was renamed after it was taken. ``new`` must be free."""

    def remove_file(self, path: str) -> None:
        """Any other file was dropped, or will be put again, after it was taken. Nothing if it never was."""

    def sizes(self) -> Sizes:
        """What the backup has so far. Looks at every file of a directory."""

    def relative(self, directory: str) -> str:
        """How this backup is to remember where its base is: a directory as relative to itself when they are siblings;
        "" where the base's id is enough to find it."""

    def sync(self) -> None:
        """Make everything taken so far durable."""

    def commit(self, manifest: Manifest) -> None:
        """Write the manifest, in the sink's own form (``manifest.dump`` is that of a directory), durably and last: only
        now is there a backup. It may hold 100,000 records of each kind, to be gone through and not copied.

        It alone tells what a tablespace is the same as in the base: its id and identity, whatever its path.
        """

    def abandon(self) -> None:
        """Remove all that this backup wrote, and nothing else, or see to it that nobody takes it for a backup. Does
        nothing after ``commit``. Called whatever failed, so it raises nothing."""
