"""Lay an image down as the files of a data directory: whole copies and all deltas in one pass over each file.

The cost is one read of each needed byte and one write, however many increments there are.
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from goldcopy.errors import BackupInvalid, NoSpace, TargetRefused
from goldcopy.events import Emit, Progress
from goldcopy.formats.chunksum import CHUNK, chunk_sum, decode, zero_sum
from goldcopy.formats.delta import read_header
from goldcopy.image.chain import Image, Member, SpaceSource, stored_name
from goldcopy.image.manifest import Plain, Space
from goldcopy.image.osfile import data_extents
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


class DeltaPages:
    """The pages of one delta file by number: page number -> offset of its bytes. Checked against its sums."""

    def __init__(self, member: Member, space: Space) -> None:
        self.path = os.path.join(member.directory, stored_name(space))
        self.fd = _open(self.path)
        check_file(self.fd, self.path, space.sums)
        self.offsets = dict(self._scan(space.page_size))

    def _scan(self, page_size: int) -> Iterator[tuple[int, int]]:
        offset, last = 0, False
        while not last:
            block = os.pread(self.fd, page_size, offset)
            try:
                numbers, last = read_header(block, page_size)
            except ValueError as e:
                raise BackupInvalid(f"{self.path}: not a delta file: {e}") from e
            offset += page_size
            for number in numbers:
                yield number, offset
                offset += page_size

    def close(self) -> None:
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


class Materialiser:
    """Writes every file of an image to its place. ``threads`` files at a time.

    Raises BackupInvalid when a stored byte is not what was written, NoSpace, TargetRefused when a file to be
    written outside the data directory is already there.
    """

    def __init__(self, image: Image, placement: Placement, emit: Emit, *, threads: int = 4) -> None:
        self._image, self._placement, self._emit, self._threads = image, placement, emit, threads
        self._lock = threading.Lock()
        self._done = 0
        self._error: BaseException | None = None
        self.created: list[str] = []

    def run(self) -> None:
        """Write everything; afterwards all of it is durable."""
        spaces = sorted(self._image.spaces(), key=lambda s: -s.space.size_final)
        plain = self._image.plain()
        self._total = sum(s.space.size_final for s in spaces) + sum(p.size for _, p in plain)
        work: list[Callable[[], None]] = [lambda s=s: self._space(s) for s in spaces]  # type: ignore[misc]
        work += [lambda m=m, p=p: self._plain(m, p) for m, p in plain]  # type: ignore[misc]
        jobs = iter(work)
        threads = [threading.Thread(target=self._work, args=(jobs,)) for _ in range(self._threads)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        if self._error is not None:
            raise self._error

    def _work(self, jobs: Iterator[Callable[[], None]]) -> None:
        try:
            while self._error is None:
                with self._lock:
                    job = next(jobs, None)
                if job is None:
                    return
                job()
        except OSError as e:
            self._error = NoSpace(f"the target is full: {e}") if e.errno == 28 else e
        except BaseException as e:
            self._error = e

    def _advance(self, count: int) -> None:
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
            self.created.append(target)
        return target

    def _space(self, source: SpaceSource) -> None:
        space = source.space
        member, whole = source.whole
        path = os.path.join(member.directory, stored_name(whole))
        fd = _open(path)
        deltas: list[DeltaPages] = []
        try:
            deltas = [DeltaPages(m, s) for m, s in source.deltas]
            with OutFile(self._target(space.path, space.external), space.size) as out:
                self._overlay(fd, path, whole, space, deltas, out)
                out.truncate(max(space.size, space.size_final))
        finally:
            os.close(fd)
            for delta in deltas:
                delta.close()

    def _overlay(
        self, fd: int, path: str, whole: Space, space: Space, deltas: list[DeltaPages], out: OutFile
    ) -> None:
        """Copy the whole file chunk by chunk, newer pages patched in before a chunk is written."""
        buffer = mmap.mmap(-1, CHUNK)
        view = memoryview(buffer)
        sums = decode(whole.sums)
        newest: dict[int, tuple[int, int]] = {}
        for delta in deltas:
            newest.update((number, (delta.fd, offset)) for number, offset in delta.offsets.items())
        by_chunk: dict[int, list[int]] = {}
        for number in newest:
            by_chunk.setdefault(number * space.page_size // CHUNK, []).append(number)
        sparse = os.fstat(fd).st_blocks * 512 < whole.size
        for index in range(-(-space.size // CHUNK)):
            start = index * CHUNK
            length = min(CHUNK, space.size - start)
            patches = by_chunk.get(index, ())
            stored = max(0, min(CHUNK, whole.size - start))
            if sparse and stored and next(data_extents(fd, start, start + stored), None) is None:
                self._check(path, sums, index, start, zero_sum(stored) if stored else None)
                if not patches:
                    self._advance(length)
                    continue
                got = 0
            else:
                got = os.preadv(fd, [view[:stored]], start) if stored else 0
                if got < stored:
                    raise BackupInvalid(f"{path}: damaged: it ends at {start + got}, {whole.size} bytes were written")
                self._check(path, sums, index, start, chunk_sum(view[:got]) if got else None)
            if got < length:
                view[got:length] = bytes(length - got)
            for number in patches:
                at = number * space.page_size - start
                page_fd, offset = newest[number]
                os.preadv(page_fd, [view[at : at + space.page_size]], offset)
            out.write_at(start, view[:length])
            self._advance(length)

    def _check(self, path: str, sums: list[int], index: int, start: int, got: int | None) -> None:
        if sums and got is not None and got != sums[index]:
            raise BackupInvalid(f"{path}: damaged: the bytes at offset {start} are not what was written")

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
                for start, end in data_extents(fd, 0, plain.size):
                    for at in range(start, end, CHUNK):
                        out.write_at(at, memoryview(os.pread(fd, min(CHUNK, end - at), at)))
                out.truncate(plain.size)
            os.chmod(target, plain.mode)
        finally:
            os.close(fd)
        self._advance(plain.size)


def _open(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        raise BackupInvalid(f"{path} is missing from the backup") from None
