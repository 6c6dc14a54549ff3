"""Reads a stream into a directory: all of it or an error, and never outside of the directory or over another file.

A file has a temporary name until the stream says that it is whole. Directories are opened one by one, never through a
symbolic link, so that nothing that lies in the target can lead a name elsewhere.
"""

from __future__ import annotations

import contextlib
import errno
import functools
import itertools
import os
import queue
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO

import msgspec

from goldcopy.errors import BackupInvalid, GoldcopyError, TargetRefused, writing
from goldcopy.formats import xbcrypt, xbstream
from goldcopy.image import codecs, osfile
from goldcopy.image.channel import Source
from goldcopy.image.holes import punch_compressed_pages
from goldcopy.image.stream import CHANGES_NAME, ChangeList

FILE_MODE, DIR_MODE = 0o640, 0o700
MAX_OPEN_FILES = 500
"""Files that may have begun and not ended; a writer has as many as it has threads."""

_QUEUE_PIECES = 8
_NO_LINKS = {errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK}
_CUT_HINT = "the backup or its transfer was interrupted, or the stream was damaged: take it again from its source"


@dataclass(frozen=True)
class Extracted:
    """What came out of a stream. ``size_bytes``: of the files as they lie in the directory."""

    files: int
    size_bytes: int


_writing = functools.partial(writing, full_hint="free space on the target, or extract elsewhere")


# -- the directory -------------------------------------------------------------------------------------------------


class _Tree(contextlib.AbstractContextManager["_Tree"]):
    """The target: gives for a path of a stream the descriptor of its directory, made where missing."""

    def __init__(self, directory: str) -> None:
        self.root = directory
        with _writing(directory):
            os.makedirs(directory, DIR_MODE, exist_ok=True)
            self._fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def __exit__(self, *_exc: object) -> None:
        os.close(self._fd)

    @contextlib.contextmanager
    def parent(self, path: str) -> Iterator[tuple[int, str]]:
        """The directory that ``path`` lies in, open, and the last word of ``path``."""
        *above, name = xbstream.path_parts(path)
        base = os.open("/", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if path.startswith("/") else os.dup(self._fd)
        try:
            for word in above:
                base = self._step(base, word)
            yield base, name
        finally:
            os.close(base)

    def _step(self, base: int, word: str) -> int:
        """From a directory into one below; closes the first, unless it fails."""
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(word, flags, dir_fd=base)
        except FileNotFoundError:
            with contextlib.suppress(FileExistsError):
                os.mkdir(word, DIR_MODE, dir_fd=base)
            fd = os.open(word, flags, dir_fd=base)
        os.close(base)
        return fd

    def sync(self) -> None:
        """Make all of it durable."""
        osfile.syncfs(self._fd)


def _exists(name: str, dir_fd: int) -> bool:
    try:
        os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _move(old: str, old_fd: int, new: str, new_fd: int, what: str) -> None:
    """Rename without ever replacing a file."""
    try:
        os.link(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd, follow_symlinks=False)
    except FileExistsError:
        raise _taken(what) from None
    except OSError as e:
        if e.errno not in _NO_LINKS:
            raise
        if _exists(new, new_fd):
            raise _taken(what) from None
        os.rename(old, new, src_dir_fd=old_fd, dst_dir_fd=new_fd)
        return
    os.unlink(old, dir_fd=old_fd)


def _taken(what: str) -> TargetRefused:
    return TargetRefused(
        f"{what} exists already; it was not touched",
        hint="extract into an empty directory (or the stream holds the file twice: then it is damaged)",
    )


# -- one file ------------------------------------------------------------------------------------------------------


class _Out:
    """A file on its way into the directory, under a temporary name. Used by one thread at a time."""

    def __init__(self, tree: _Tree, path: str, plain: str, unwrap: codecs.Unwrapper | None, number: int) -> None:
        """``path``: its name in the stream; ``plain``: without the wrappings that ``unwrap`` takes off."""
        self.path, self.plain, self._tree, self._unwrap = path, plain, tree, unwrap
        self._temporary = f".extract-{os.getpid()}-{number}.part"
        self._at = 0
        self._what = os.path.join(tree.root, plain)
        with _writing(self._what), tree.parent(plain) as (fd, name):
            if _exists(name, fd):
                raise _taken(self._what)
            flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            self._fd = os.open(self._temporary, flags, FILE_MODE, dir_fd=fd)

    def write(self, offset: int, data: memoryview | bytes) -> None:
        """Bytes of the stream, for ``offset`` of the file in the stream."""
        if self._unwrap is None:
            self._put(memoryview(data), offset)
            return
        for piece in self._unwrap.feed(data):
            self._append(piece)

    def _append(self, piece: bytes) -> None:
        self._put(memoryview(piece), self._at)
        self._at += len(piece)

    def _put(self, data: memoryview, offset: int) -> None:
        with _writing(self._what):
            osfile.write_at(self._fd, data, offset, osfile.WRITE_BYTES)

    def jump(self) -> None:
        """The file goes on elsewhere: the next write says where, and ``finish`` how long it is."""
        if self._unwrap is not None:
            raise BackupInvalid(f"{self.path}: it is compressed or encrypted, and yet has holes")

    def finish(self, size: int) -> int:
        """It is whole: give it its name. Returns its size on disk."""
        if self._unwrap is not None:
            for piece in self._unwrap.finish():
                self._append(piece)
            size = self._at
        with _writing(self._what), self._tree.parent(self.plain) as (fd, name):
            if os.fstat(self._fd).st_size < size:
                os.ftruncate(self._fd, size)
            if self._unwrap is not None:
                punch_compressed_pages(self._fd, self.plain)
            self._close()
            _move(self._temporary, fd, name, fd, self._what)
        return size

    def _close(self) -> None:
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    def abort(self) -> None:
        """Leave nothing of it."""
        self._close()
        with contextlib.suppress(OSError, GoldcopyError), self._tree.parent(self.plain) as (fd, _name):
            os.unlink(self._temporary, dir_fd=fd)


# -- many at once --------------------------------------------------------------------------------------------------


class _Threads(contextlib.AbstractContextManager["_Threads"]):
    """Runs steps of files: those of one file in order, by one thread. ``count`` 1: in the caller's own."""

    def __init__(self, count: int) -> None:
        count = count if count > 1 else 0
        self._queues = [queue.Queue[Callable[[], object] | None](_QUEUE_PIECES) for _ in range(count)]
        self._turn = 0
        self._error: BaseException | None = None
        self._threads = [threading.Thread(target=self._run, args=(q,), daemon=True) for q in self._queues]
        for t in self._threads:
            t.start()

    def lane(self) -> int:
        """The thread for another file."""
        self._turn += 1
        return self._turn % max(1, len(self._queues))

    def do(self, lane: int, step: Callable[[], object]) -> None:
        """Run ``step`` behind the others of its lane. Raises what an earlier one raised."""
        self.check()
        if self._queues:
            self._queues[lane].put(step)
        else:
            step()

    def check(self) -> None:
        """Raise what a step raised."""
        if self._error is not None:
            raise self._error

    def wait(self) -> None:
        """Until all steps are done."""
        for q in self._queues:
            q.join()
        self.check()

    def _run(self, steps: queue.Queue[Callable[[], object] | None]) -> None:
        while (step := steps.get()) is not None:
            try:
                if self._error is None:
                    step()
            except BaseException as e:
                self._error = self._error or e
            finally:
                steps.task_done()

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        # a stream that turns out damaged leaves the whole files before the damage: their steps are still run
        if not isinstance(error, GoldcopyError):
            self._error = self._error or error
        for q in self._queues:
            q.put(None)
        for t in self._threads:
            t.join()


class _Extraction:
    """One stream being read."""

    def __init__(self, tree: _Tree, threads: _Threads, reader: _Reader, on_file: Callable[[str], None]) -> None:
        self._tree, self._threads, self._reader, self._on_file = tree, threads, reader, on_file
        self._decoder = reader.decoder()
        self._open: dict[str, tuple[_Out, int]] = {}
        self._unfinished: set[_Out] = set()
        self._counting = threading.Lock()
        self.made: set[str] = set()
        self.files = self.size_bytes = 0

    def run(self, source: Source) -> None:
        """Read all of it. Raises GoldcopyError; then nothing that is not whole is left."""
        try:
            self._read(source)
        except ValueError as e:
            raise BackupInvalid(f"the stream is damaged: {e}{self._open_names()}", hint=_CUT_HINT) from e

    def _read(self, source: Source) -> None:
        for piece in source.pieces():
            for event in self._decoder.feed(piece):
                self._obey(event)
        for event in self._decoder.finish():
            self._obey(event)
        self._threads.wait()

    def _open_names(self) -> str:
        names = sorted(self._decoder.open_files)
        return f"; removed, because they are not whole: {', '.join(names[:10])}" if names else ""

    def clean(self) -> None:
        """Remove what is not whole. No thread may be at work any more."""
        for out in self._unfinished:
            out.abort()

    def _obey(self, event: xbstream.Event) -> None:
        match event:
            case xbstream.Payload(path, offset, data):
                self._step(path, lambda out: out.write(offset, data))
            case xbstream.Hole(path) | xbstream.Seek(path):
                self._step(path, _Out.jump)
            case xbstream.End(path, size):
                self._end(path, size)
            case xbstream.Rename(path, new):
                self._threads.wait()
                self._rename(self._reader.plain_name(path), self._reader.plain_name(new))
            case xbstream.Remove(path):
                self._threads.wait()
                self._remove(self._reader.plain_name(path))

    def _file(self, path: str) -> tuple[_Out, int]:
        found = self._open.get(path)
        if found is None:
            if len(self._open) >= MAX_OPEN_FILES:
                raise BackupInvalid(f"the stream has more than {MAX_OPEN_FILES} files begun and not ended")
            self._on_file(path)
            found = self._open[path] = self._reader.open_out(path), self._threads.lane()
            self._unfinished.add(found[0])
        return found

    def _step(self, path: str, step: Callable[[_Out], object]) -> None:
        out, lane = self._file(path)
        self._threads.do(lane, functools.partial(step, out))

    def _end(self, path: str, size: int) -> None:
        out, lane = self._file(path)
        del self._open[path]
        self._threads.do(lane, functools.partial(self._finish, out, size))

    def _finish(self, out: _Out, size: int) -> None:
        on_disk = out.finish(size)
        self._unfinished.remove(out)
        with self._counting:
            self.made.add(out.plain)
            self.files += 1
            self.size_bytes += on_disk

    def _rename(self, old: str, new: str) -> None:
        what = os.path.join(self._tree.root, new)
        if old not in self.made:
            raise BackupInvalid(f"the stream is damaged: it renames {old}, which it does not hold", hint=_CUT_HINT)
        with _writing(what), self._tree.parent(old) as (a, old_name), self._tree.parent(new) as (b, new_name):
            _move(old_name, a, new_name, b, what)
        self.made.remove(old)
        self.made.add(new)

    def _remove(self, path: str) -> None:
        """Only what this stream brought: any other file there is not its own."""
        with _writing(path), self._tree.parent(path) as (fd, name):
            if path in self.made:
                os.unlink(name, dir_fd=fd)
                self.made.remove(path)
            elif _exists(name, fd):
                raise _taken(os.path.join(self._tree.root, path))


# -- all of it -----------------------------------------------------------------------------------------------------


class _Reader:
    """How every stream of one backup is read."""

    def __init__(self, tree: _Tree, key: xbcrypt.Cipher | None, decompress: bool, absolute_names: bool) -> None:
        self._tree, self._key, self._decompress, self._absolute_names = tree, key, decompress, absolute_names
        self._numbers = itertools.count()

    def decoder(self) -> xbstream.Decoder:
        """Of another stream."""
        return xbstream.Decoder(absolute=self._absolute_names)

    def _split(self, path: str) -> tuple[str, tuple[str, ...]]:
        return codecs.split(path, decompress=self._decompress, decrypt=self._key is not None)

    def plain_name(self, path: str) -> str:
        """Where a file of the stream comes to lie."""
        return "/" * path.startswith("/") + "/".join(xbstream.path_parts(self._split(path)[0]))

    def open_out(self, path: str) -> _Out:
        """Begin a file of the stream."""
        suffixes = self._split(path)[1]
        unwrap = codecs.Unwrapper(path, suffixes, self._key) if suffixes else None
        return _Out(self._tree, path, self.plain_name(path), unwrap, next(self._numbers))

    def read(self, stream: IO[bytes] | int, parallel: int, on_file: Callable[[str], None]) -> _Extraction:
        """One stream, whole."""
        threads = _Threads(parallel)
        extraction = _Extraction(self._tree, threads, self, on_file)
        try:
            with threads:
                extraction.run(Source(stream))
        finally:
            extraction.clean()
        return extraction


def extract(
    streams: Sequence[IO[bytes] | int],
    directory: str,
    *,
    decompress: bool = False,
    key: xbcrypt.Cipher | None = None,
    parallel: int = 1,
    absolute_names: bool = False,
    durable: bool = True,
    on_file: Callable[[str], None] = lambda _path: None,
) -> Extracted:
    """Read the streams of one backup (one, or one for each named pipe) into ``directory``, which is made if need be.

    ``decompress``, ``key``: take compression and encryption off on the way. ``parallel``: threads that write.
    ``absolute_names``: absolute paths in the stream are taken as such. ``durable``: on return all of it is on disk.
    ``on_file`` is called with the name of each file that begins, by several threads when there are several streams.
    What a list of changes at the end of Goldcopy's own streams says is done (``settle``).

    Raises BackupInvalid for a stream that is damaged, empty or cut, TargetRefused where a file stands already, NoSpace,
    KeyMissing. Whole files stay then, for a look at them; what is not whole is removed.
    """
    with _Tree(directory) as tree:
        reader = _Reader(tree, key, decompress, absolute_names)
        if len(streams) == 1:
            done = [reader.read(streams[0], parallel, on_file)]
        else:
            with ThreadPoolExecutor(len(streams), "extract") as pool:
                done = list(pool.map(lambda stream: reader.read(stream, 1, on_file), streams))
        if not any(extraction.files for extraction in done):
            raise BackupInvalid("the stream is empty: whoever was to write it has failed before", hint=_CUT_HINT)
        if any(CHANGES_NAME in extraction.made for extraction in done):
            settle(directory)
        if durable:
            with _writing(directory):
                tree.sync()
    return Extracted(sum(e.files for e in done), sum(e.size_bytes for e in done))


# -- changes -------------------------------------------------------------------------------------------------------

_MOVING_NAME = CHANGES_NAME + ".moving"
_MOVING_SUFFIX = ".goldcopy-moving"
_WRAPPINGS = ("", *(a + b for a in ("", ".zst", ".lz4") for b in ("", ".xbcrypt") if a + b))


def settle(directory: str) -> None:
    """Do what the list of changes in an extracted stream says, and remove the list. Does nothing without one.

    An extraction by another program (``mbstream``) leaves the list in the directory: call this before the manifest
    is used. May be called again after it was interrupted. Raises BackupInvalid when the list is damaged.
    """
    if not os.path.isdir(directory):
        return
    with _Tree(directory) as tree, _writing(directory):
        changes = _change_list(tree, CHANGES_NAME)
        if changes is not None:
            _take_apart(tree, changes)
            tree.sync()
            _move_in(tree, CHANGES_NAME, _MOVING_NAME)
        changes = changes or _change_list(tree, _MOVING_NAME)
        if changes is not None:
            for _, new in changes.renamed:
                for suffix in _WRAPPINGS:
                    _move_in(tree, new + _MOVING_SUFFIX + suffix, new + suffix)
            tree.sync()
            _unlink_in(tree, _MOVING_NAME)


def _change_list(tree: _Tree, name: str) -> ChangeList | None:
    """The list, or None when there is none."""
    try:
        with tree.parent(name) as (fd, last), open(os.open(last, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=fd), "rb") as f:
            changes = msgspec.json.decode(f.read(), type=ChangeList)
        for path in (*changes.removed, *(p for pair in changes.renamed for p in pair), *(p for p, _ in changes.sized)):
            xbstream.check_path(path)
    except FileNotFoundError:
        return None
    except (msgspec.DecodeError, ValueError) as e:
        raise BackupInvalid(f"{tree.root}: {name} is damaged: {e}") from e
    return changes


def _take_apart(tree: _Tree, changes: ChangeList) -> None:
    """Cut, remove, and move every file that gets another name to one that nothing else has."""
    for path, size in changes.sized:
        _cut_in(tree, path, size)
    for path in changes.removed:
        for suffix in _WRAPPINGS:
            _unlink_in(tree, path + suffix)
    for old, new in changes.renamed:
        for suffix in _WRAPPINGS:
            _move_in(tree, old + suffix, new + _MOVING_SUFFIX + suffix)


def _cut_in(tree: _Tree, path: str, size: int) -> None:
    """A wrapped file is left longer: only its reader could cut it."""
    with tree.parent(path) as (fd, name), contextlib.suppress(FileNotFoundError):
        out = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=fd)
        try:
            os.ftruncate(out, min(size, os.fstat(out).st_size))
        finally:
            os.close(out)


def _unlink_in(tree: _Tree, path: str) -> None:
    with tree.parent(path) as (fd, name), contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=fd)


def _move_in(tree: _Tree, old: str, new: str) -> None:
    """Move a file if it is there."""
    with tree.parent(old) as (a, old_name), tree.parent(new) as (b, new_name):
        if _exists(old_name, a):
            _move(old_name, a, new_name, b, os.path.join(tree.root, new))
