"""A backup as a plain directory: files at their places relative to the data directory, increments as ``.delta``."""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import threading
from array import array
from collections.abc import Sequence
from itertools import chain

from goldcopy.errors import GoldcopyError, TargetRefused, writing
from goldcopy.formats import chunksum
from goldcopy.formats.chunksum import CHUNK
from goldcopy.formats.delta import Block, DeltaEncoder, Meta, render_meta
from goldcopy.formats.innodb.page import Geometry
from goldcopy.formats.packed import Table
from goldcopy.image import osfile
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, dump
from goldcopy.image.osfile import ALIGN
from goldcopy.image.sink import Extent, Sizes

FILE_MODE, DIR_MODE = 0o640, 0o750
_SMALL = CHUNK
_MAY_BE_THERE = {"lost+found"}


_writing = functools.partial(
    writing, full_hint="free space on the target (or raise its quota or file size limit), or back up to another place"
)


class _Writer:
    """A file of the backup that is being written. The sink knows it, to close and remove it if all fails."""

    def __init__(self, sink: DirectorySink, path: str, *, suffix: str = "", direct: bool = False) -> None:
        self._sink, self._path = sink, path
        self._place = sink.create_parents(path) + suffix
        self._fd, self._direct = -1, False
        # known before it is there: a signal may come at any time
        sink.opened(self, path + suffix)
        try:
            with _writing(self._place):
                self._fd, self._direct = osfile.create(self._place, direct=direct, mode=FILE_MODE)
        except GoldcopyError:
            sink.not_opened(self, path + suffix)
            raise

    def _close(self) -> None:
        self._sink.closed(self)
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def abort(self) -> None:
        self._close()
        self._sink.remove_space(self._path)


class _Whole(_Writer):
    """A tablespace with all its pages: direct writes where the file system takes them, else small buffered ones."""

    def __init__(self, sink: DirectorySink, path: str, size: int, sparse: bool) -> None:
        super().__init__(sink, path, direct=size > _SMALL)
        self._size, self._opened_direct = size, self._direct
        self._lock = threading.Lock()
        self._buffered = -1
        self._sums = array("I", [chunksum.zero_sum(CHUNK)]) * (size // CHUNK)
        if size % CHUNK:
            self._sums.append(chunksum.zero_sum(size % CHUNK))
        if self._direct and not sparse:
            self._reserve(-(-size // ALIGN) * ALIGN)

    def _reserve(self, length: int) -> None:
        """Space first: a full target is known at once, and several threads may write into allocated blocks."""
        try:
            with _writing(self._place):
                osfile.fallocate(self._fd, length)
        except GoldcopyError:
            self.abort()
            raise

    def write_at(self, offset: int, data: memoryview, extents: Sequence[Extent] | None = None) -> None:
        for at in range(0, len(data), CHUNK):
            self._sums[(offset + at) // CHUNK] = chunksum.chunk_sum(data[at : at + CHUNK])
        with _writing(self._place):
            if extents is None:
                self._write(offset, data)
                return
            for start, end in extents:
                start, end = start // ALIGN * ALIGN, min(-(-end // ALIGN) * ALIGN, offset + len(data))
                self._write(start, data[start - offset : end - offset])

    def _write(self, offset: int, data: memoryview) -> None:
        # a direct write costs as much for a page as for sixteen: the many small pieces of a sparse file are collected
        whole = len(data) // ALIGN * ALIGN if self._direct and len(data) >= osfile.WRITE_BYTES else 0
        if whole:
            try:
                osfile.write_at(self._fd, data[:whole], offset)
            except OSError as e:
                # some file systems take the flag and refuse the first write
                if e.errno != errno.EINVAL:
                    raise
                self._direct, whole = False, 0
        if whole < len(data):
            osfile.write_at(self._buffered_fd(), data[whole:], offset + whole, osfile.WRITE_BYTES)

    def _buffered_fd(self) -> int:
        with self._lock:
            if not self._opened_direct:
                return self._fd
            if self._buffered < 0:
                self._buffered = os.open(self._place, os.O_RDWR | os.O_CLOEXEC)
            return self._buffered

    def finish(self, size: int) -> str:
        with _writing(self._place):
            if os.fstat(self._fd).st_size != size:
                os.ftruncate(self._fd, size)
            if size < self._size:
                self._cut_sums(size)
            self._close()
        return chunksum.encode(self._sums)

    def _cut_sums(self, size: int) -> None:
        whole, rest = divmod(size, CHUNK)
        del self._sums[whole:]
        if rest:
            self._sums.append(chunksum.chunk_sum(os.pread(self._buffered_fd(), rest, whole * CHUNK)))

    def _close(self) -> None:
        super()._close()
        fd, self._buffered = self._buffered, -1
        if fd >= 0:
            os.close(fd)


class _Delta(_Writer):
    """Changed pages in XtraBackup's layout, with the ``.meta`` that its readers ask for beside them."""

    def __init__(self, sink: DirectorySink, path: str, geometry: Geometry) -> None:
        super().__init__(sink, path, suffix=".delta")
        self._geometry = geometry
        self._encoder = DeltaEncoder(geometry.page_size)
        self._sums: dict[int, int] = {}

    def write_pages(self, numbers: Sequence[int], pages: Sequence[memoryview]) -> None:
        for number, page in zip(numbers, pages, strict=True):
            self._store(self._encoder.add(number, page))

    def _store(self, blocks: list[Block]) -> None:
        for block in blocks:
            self._sums[block.offset // CHUNK] = chunksum.chunk_sum(memoryview(block.data))
            with _writing(self._place):
                osfile.write_at(self._fd, memoryview(block.data), block.offset, osfile.WRITE_BYTES)

    def finish(self) -> str:
        self._store(self._encoder.finish())
        self._close()
        meta = self._sink.put_file(self._path + ".meta")
        meta.write(render_meta(Meta.of(self._geometry), self._geometry.family).encode())
        meta.finish()
        return chunksum.encode(self._sums[i] for i in sorted(self._sums))


class _File(_Writer):
    """Any other file: buffered, in pieces that are small enough everywhere."""

    def __init__(self, sink: DirectorySink, path: str) -> None:
        super().__init__(sink, path)
        self._sums = chunksum.RunningSum()
        self.size = 0

    def write(self, data: bytes | memoryview) -> None:
        view = memoryview(data)
        self._sums.add(view)
        with _writing(self._place):
            osfile.write_at(self._fd, view, self.size, osfile.WRITE_BYTES)
        self.size += len(view)

    def hole(self, length: int) -> None:
        self.size += length
        self._sums.add_zeros(length)

    def finish(self) -> str:
        with _writing(self._place):
            if os.fstat(self._fd).st_size != self.size:
                os.ftruncate(self._fd, self.size)
            self._close()
        return self._sums.text()


class DirectorySink(contextlib.AbstractContextManager["DirectorySink"]):
    """Writes a backup into a directory of its own, made here or empty; a ``Sink``.

    Leaving the context without ``commit`` abandons: all that was written goes, nothing else is touched.
    Raises TargetRefused when the directory holds anything or cannot be made.
    """

    random_access = True

    def __init__(self, directory: str) -> None:
        self.directory = os.path.abspath(directory)
        self._lock = threading.Lock()
        self._files = Table(str, str)
        self._writers: set[_Writer] = set()
        self._dirs: dict[str, None] = {}
        self._committed = False
        self._made_root = self._claim()

    def _claim(self) -> bool:
        """Make the directory, or see that it is empty. Returns whether it was made."""
        try:
            os.makedirs(self.directory, DIR_MODE)
        except FileExistsError:
            self._refuse_unless_empty()
            return False
        except OSError as e:
            raise TargetRefused(f"cannot make the directory {self.directory}: {e.strerror}") from e
        return True

    def _refuse_unless_empty(self) -> None:
        try:
            found = sorted(set(os.listdir(self.directory)) - _MAY_BE_THERE)
        except OSError as e:
            raise TargetRefused(f"{self.directory} is not a directory that can be used: {e.strerror}") from e
        if found:
            raise TargetRefused(
                f"{self.directory} is not empty (it holds {found[0]}); nothing in it was touched",
                hint="give a new directory for each backup",
            )

    def __exit__(self, *_exc: object) -> None:
        self.abandon()

    # -- places -----------------------------------------------------------------------------------------------

    def _place(self, path: str) -> str:
        """Where ``path`` lies. Raises ValueError for what could lead out of the directory."""
        if "\0" in path or any(part in ("", ".", "..") for part in path.split("/")):
            raise ValueError(f"not a path inside a backup: {path!r}")
        return f"{self.directory}/{path}"

    def create_parents(self, path: str) -> str:
        """Where ``path`` lies, the directories above it made."""
        place = self._place(path)
        parent = os.path.dirname(path)
        if parent and parent not in self._dirs:
            self.make_dir(parent)
        return place

    def opened(self, writer: _Writer, path: str) -> None:
        """``path`` is now a file of this backup, being written: ``abandon`` closes and removes it."""
        with self._lock:
            self._files.put(path)
            self._writers.add(writer)

    def not_opened(self, writer: _Writer, path: str) -> None:
        """``path`` could not be created: what may lie there is not ours."""
        with self._lock:
            self._files.discard(path)
            self._writers.discard(writer)

    def closed(self, writer: _Writer) -> None:
        """Nothing is written through ``writer`` any more."""
        with self._lock:
            self._writers.discard(writer)

    def make_dir(self, path: str) -> None:
        place = self._place(path)
        with self._lock:
            if path in self._dirs:
                return
        parent = os.path.dirname(path)
        if parent:
            self.make_dir(parent)
        with self._lock, _writing(place):
            if path not in self._dirs:
                self._dirs[path] = None
                try:
                    os.mkdir(place, DIR_MODE)
                except OSError:
                    del self._dirs[path]
                    raise

    # -- content ----------------------------------------------------------------------------------------------

    def open_whole(
        self, path: str, *, size: int, page_size: int, external: str = "", sparse: bool = False
    ) -> _Whole:
        return _Whole(self, path, size, sparse)

    def open_delta(self, path: str, *, geometry: Geometry, external: str = "") -> _Delta:
        return _Delta(self, path, geometry)

    def put_file(self, path: str, *, external: str = "", mode: int = FILE_MODE, mtime_ns: int = 0) -> _File:
        return _File(self, path)

    # -- mending ----------------------------------------------------------------------------------------------

    def _stored(self, path: str) -> list[str]:
        """The files that a tablespace is kept in."""
        with self._lock:
            return [name for name in (path, path + ".delta", path + ".meta") if name in self._files]

    def remove_space(self, path: str) -> None:
        for name in self._stored(path):
            self.remove_file(name)

    def rename_space(self, old: str, new: str) -> None:
        if self._stored(new):
            raise ValueError(f"{new} is taken")
        self.create_parents(new)
        for name in self._stored(old):
            to = new + name[len(old) :]
            with self._lock:
                self._files.put(to)
            with _writing(self._place(to)):
                os.rename(self._place(name), self._place(to))
            with self._lock:
                self._files.discard(name)
        self._drop_empty_parents(old)

    def remove_file(self, path: str) -> None:
        with self._lock:
            if path not in self._files:
                return
        with _writing(self._place(path)):
            os.unlink(self._place(path))
        with self._lock:
            self._files.discard(path)
        self._drop_empty_parents(path)

    def _drop_empty_parents(self, path: str) -> None:
        """The database of a dropped table may be gone as well; one that is merely empty is made again later."""
        with self._lock:
            while (path := os.path.dirname(path)) in self._dirs:
                try:
                    os.rmdir(self._place(path))
                except OSError:
                    return
                del self._dirs[path]

    # -- the end ----------------------------------------------------------------------------------------------

    def sizes(self) -> Sizes:
        with self._lock:
            states = (os.stat(self._place(path)) for path in self._files)
            stored = sum(min(state.st_size, state.st_blocks * osfile.BLOCK_BYTES) for state in states)
        return Sizes(stored, stored)

    def relative(self, directory: str) -> str:
        other = os.path.abspath(directory)
        if os.path.dirname(os.path.realpath(other)) == os.path.dirname(os.path.realpath(self.directory)):
            return os.path.relpath(other, self.directory)
        return other

    def sync(self) -> None:
        with _writing(self.directory):
            osfile.sync_filesystem(self.directory)

    def commit(self, manifest: Manifest) -> None:
        temporary = MANIFEST_NAME + ".tmp"
        out = self.put_file(temporary)
        for piece in dump(manifest):
            out.write(piece)
        out.finish()
        place = self._place(temporary)
        with _writing(place):
            fd = os.open(place, os.O_RDONLY | os.O_CLOEXEC)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
            self._files.put(MANIFEST_NAME)
            os.rename(place, self._place(MANIFEST_NAME))
            self._files.discard(temporary)
            osfile.sync_directory(self.directory)
            osfile.sync_directory(os.path.dirname(self.directory))
        self._committed = True

    def abandon(self) -> None:
        if self._committed:
            return
        for writer in list(self._writers):
            with contextlib.suppress(GoldcopyError, OSError):
                writer.abort()
        # the manifest first: without it what stays is no backup
        for path in chain([MANIFEST_NAME] if MANIFEST_NAME in self._files else [], self._files):
            try:
                os.unlink(self._place(path))
            except OSError:
                pass  # best effort
        for path in reversed(self._dirs):
            with contextlib.suppress(OSError):
                os.rmdir(self._place(path))
        if self._made_root:
            with contextlib.suppress(OSError):
                os.rmdir(self.directory)
        self._files, self._dirs = Table(str, str), {}
