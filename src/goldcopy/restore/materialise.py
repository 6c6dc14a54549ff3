"""Lay an image down as the files of a data directory: whole copies and all deltas in one pass over each file.

The cost is one read of each needed byte and one write, however many increments there are.
"""

from __future__ import annotations

import contextlib
import functools
import mmap
import os
import threading
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

from goldcopy.errors import BackupInvalid, TargetRefused
from goldcopy.events import Emit, Progress
from goldcopy.formats.chunksum import CHUNK, chunk_sum, decode, zero_sum
from goldcopy.formats.delta import clusters
from goldcopy.image.chain import Image, Member, SpaceSource, stored_name
from goldcopy.image.manifest import Plain, Space
from goldcopy.image.osfile import data_extents, has_holes
from goldcopy.restore.outfile import OutFile, make_dirs


@dataclass(frozen=True)
class Placement:
    """Where files go. ``datadir``: the target. ``mapping``: (old prefix, new prefix) for files outside it.

    ``inside``: files from outside the data directory go inside too, as they lie in the backup.
    """

    datadir: str
    mapping: tuple[tuple[str, str], ...] = ()
    inside: bool = False

    def of(self, path: str, external: str) -> str:
        """The absolute target path of a file of the image."""
        if self.inside or not external:
            return os.path.join(self.datadir, path)
        for old, new in self.mapping:
            if external == old or external.startswith(old.rstrip("/") + "/"):
                return new.rstrip("/") + external[len(old.rstrip("/")) :]
        return external


class DeltaPages(contextlib.AbstractContextManager["DeltaPages"]):
    """The pages of one delta file by number: page number -> offset of its bytes. Checked against its sums."""

    def __init__(self, member: Member, space: Space) -> None:
        self.path = os.path.join(member.directory, stored_name(space))
        self.fd = _open(self.path)
        check_file(self.fd, self.path, space.sums)
        self.offsets = dict(self._scan(space.page_size))

    def _scan(self, page_size: int) -> Iterator[tuple[int, int]]:
        try:
            for numbers, at in clusters(lambda at, length: os.pread(self.fd, length, at), page_size):
                yield from ((number, at + i * page_size) for i, number in enumerate(numbers))
        except ValueError as e:
            raise BackupInvalid(f"{self.path}: not a delta file: {e}") from e

    def __exit__(self, *exc: object) -> None:
        os.close(self.fd)


def check_file(fd: int, path: str, sums: str) -> None:
    """Compare an open file with its recorded chunk sums. Raises BackupInvalid naming the first bad MiB."""
    if not sums:
        return
    offset = 0
    for number, want in enumerate(decode(sums)):
        data = os.pread(fd, CHUNK, offset)
        if not data or chunk_sum(data) != want:
            raise BackupInvalid(f"{path}: damaged: the bytes at offset {number * CHUNK} are not what was written")
        offset += len(data)
    if os.fstat(fd).st_size != offset:
        raise BackupInvalid(f"{path}: damaged: {os.fstat(fd).st_size} bytes, {offset} were written")


def check_stored(path: str, sums: str) -> None:
    """Compare a stored file with its recorded chunk sums. Raises BackupInvalid, also when it is missing."""
    fd = _open(path)
    try:
        check_file(fd, path, sums)
    finally:
        os.close(fd)


class WholeFile(contextlib.AbstractContextManager["WholeFile"]):
    """A tablespace stored with all its pages, read chunk by chunk and compared with its sums."""

    def __init__(self, member: Member, space: Space) -> None:
        self.path = os.path.join(member.directory, stored_name(space))
        self._size = space.size
        self._sums = decode(space.sums)
        self._fd = _open(self.path)
        self.sparse = has_holes(os.fstat(self._fd))

    def __exit__(self, *exc: object) -> None:
        os.close(self._fd)

    def read(self, index: int, view: memoryview) -> int:
        """Fill ``view`` with chunk ``index``. Returns the bytes of it; 0 for a hole and beyond the file's end."""
        start = index * CHUNK
        stored = max(0, min(CHUNK, self._size - start))
        if not stored:
            return 0
        if self.sparse and next(data_extents(self._fd, start, start + stored), None) is None:
            self._check(index, zero_sum(stored))
            return 0
        # the whole stored chunk is summed, even where the file became shorter since
        into = view if len(view) >= stored else memoryview(bytearray(stored))
        got = os.preadv(self._fd, [into[:stored]], start)
        if got < stored:
            raise BackupInvalid(f"{self.path}: damaged: it ends at {start + got}, {self._size} bytes were written")
        self._check(index, chunk_sum(into[:stored]))
        if into is not view:
            view[:] = into[: len(view)]
        return min(stored, len(view))

    def _check(self, index: int, got: int) -> None:
        if self._sums and got != self._sums[index]:
            raise BackupInvalid(f"{self.path}: damaged: the bytes at offset {index * CHUNK} are not what was written")


class _StoppedError(Exception):
    """A thread is to end without a word: another one failed, or the user asked for it."""


class Materialiser:
    """Writes every file of an image to its place. ``threads`` files at a time. ``created`` is told of each before.

    Raises BackupInvalid when a stored byte is not what was written, TargetRefused when a file to be written outside
    the data directory is already there, OSError when a file cannot be written.
    """

    def __init__(
        self, image: Image, placement: Placement, emit: Emit, *, threads: int, created: Callable[[str], None]
    ) -> None:
        self._image, self._placement, self._emit, self._threads = image, placement, emit, threads
        self._created = created
        self._lock = threading.Lock()
        self._done = 0
        self._error: BaseException | None = None

    def run(self) -> None:
        """Write everything; afterwards all of it is durable."""
        newest = self._image.newest
        sizes = array("q", (space.size_final for space in newest.spaces))
        self._total = sum(sizes) + sum(plain.size for plain in newest.plain)
        jobs = self._jobs(array("L", sorted(range(len(sizes)), key=lambda i: -sizes[i])))
        count = min(self._threads, len(sizes) + len(newest.plain))
        threads = [threading.Thread(target=self._work, args=(jobs,)) for _ in range(count)]
        try:
            for t in threads:
                t.start()
            for t in threads:
                t.join()
        except BaseException as e:
            self._error = e
            for t in threads:
                if t.is_alive():
                    t.join()
        if self._error is not None:
            raise self._error

    def _jobs(self, order: Sequence[int]) -> Iterator[Callable[[], None]]:
        """What is to be done, each thing found out when its turn comes: largest tablespaces first."""
        for number in order:
            yield functools.partial(self._space, self._image.source(self._image.newest.spaces[number]))
        for member, plain in self._image.plain():
            yield functools.partial(self._plain, member, plain)

    def _work(self, jobs: Iterator[Callable[[], None]]) -> None:
        try:
            while self._error is None:
                with self._lock:
                    job = next(jobs, None)
                if job is None:
                    return
                job()
        except BaseException as e:
            self._error = self._error or e

    def _advance(self, count: int) -> None:
        """Count what was written. Raises _StoppedError when another thread failed."""
        if self._error is not None:
            raise _StoppedError
        with self._lock:
            self._done += count
            done = self._done
        self._emit(Progress("restore", done, self._total))

    def _target(self, path: str, external: str) -> str:
        target = self._placement.of(path, external)
        if external and os.path.exists(target):
            raise TargetRefused(
                f"{target}: a file is there already, and the backup would put a tablespace in its place",
                hint="move it away, or map its directory elsewhere with --map OLD=NEW",
            )
        make_dirs(os.path.dirname(target))
        with self._lock:
            self._created(target)
        return target

    def _space(self, source: SpaceSource) -> None:
        space = source.space
        with contextlib.ExitStack() as stack:
            deltas = [stack.enter_context(DeltaPages(m, s)) for m, s in source.deltas]
            whole = stack.enter_context(WholeFile(*source.whole)) if source.whole is not None else None
            out = stack.enter_context(OutFile(self._target(space.path, space.external), space.size))
            self._overlay(whole, space, deltas, out)
            out.truncate(max(space.size, space.size_final))

    def _overlay(self, whole: WholeFile | None, space: Space, deltas: list[DeltaPages], out: OutFile) -> None:
        """Copy the whole file chunk by chunk, newer pages patched in before a chunk is written."""
        view = memoryview(mmap.mmap(-1, CHUNK))
        newest: dict[int, tuple[int, int]] = {}
        for delta in deltas:
            newest.update((number, (delta.fd, offset)) for number, offset in delta.offsets.items())
        by_chunk: dict[int, list[int]] = {}
        for number in newest:
            by_chunk.setdefault(number * space.page_size // CHUNK, []).append(number)
        for index in range(-(-space.size // CHUNK)):
            start = index * CHUNK
            length = min(CHUNK, space.size - start)
            patches = by_chunk.get(index, ())
            got = whole.read(index, view[:length]) if whole is not None else 0
            if got or patches:
                if got < length:
                    view[got:length] = bytes(length - got)
                for number in patches:
                    at = number * space.page_size - start
                    page_fd, offset = newest[number]
                    os.preadv(page_fd, [view[at : at + space.page_size]], offset)
                out.write_at(start, view[:length])
                holey = not got or (whole is not None and whole.sparse)
                _punch(out, view[:length], start, space.page_size, None if holey else patches)
            self._advance(length)

    def _plain(self, member: Member, plain: Plain) -> None:
        target = self._placement.of(plain.path, plain.external)
        if plain.stored == "dir":
            make_dirs(target)
            return
        path = os.path.join(member.directory, plain.path)
        fd = _open(path)
        try:
            check_file(fd, path, plain.sums)
            with OutFile(self._target(plain.path, plain.external), 0) as out:
                if plain.path.endswith(".isl") and self._placement.mapping:
                    self._link_file(fd, out)
                    return
                for start, end in data_extents(fd, 0, plain.size):
                    for at in range(start, end, CHUNK):
                        out.write_at(at, memoryview(os.pread(fd, min(CHUNK, end - at), at)))
                out.truncate(plain.size)
            os.chmod(target, plain.mode)
        finally:
            os.close(fd)
        self._advance(plain.size)

    def _link_file(self, fd: int, out: OutFile) -> None:
        """A link file names where its tablespace lies: where it lies now."""
        old = os.fsdecode(os.pread(fd, CHUNK, 0).strip())
        out.write_at(0, memoryview(bytearray(os.fsencode(self._placement.of("", old)))))


def _punch(out: OutFile, view: memoryview, start: int, page_size: int, numbers: Iterable[int] | None) -> None:
    """Keep holes in what was written at ``start``: in each of its pages, or in those with these numbers."""
    if numbers is None:
        out.punch_tails(start, view, page_size or CHUNK)
        return
    for at in (number * page_size - start for number in numbers):
        out.punch_tails(start + at, view[at : at + page_size], page_size)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise BackupInvalid(f"{path} is missing from the backup") from None
