"""Small files written so that a crash leaves the old content or the new one, never a mixture."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterable, Iterator

from goldcopy import signals
from goldcopy.errors import writing
from goldcopy.formats.chunksum import RunningSum
from goldcopy.image import osfile

_FICLONE = 0x40049409
_UNFINISHED = ".goldcopy-tmp"
_PIECE_BYTES = 1 << 20
_NO_LINK = frozenset({errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP})


def working_name(path: str) -> str:
    """The name that a file has until it is whole: in its directory, the same one each time."""
    return osfile.beside(path, _UNFINISHED)


def write_file(path: str, pieces: Iterable[bytes]) -> None:
    """Write under a temporary name, make it durable, rename it into place. ``pieces``: the content, bit by bit.

    Raises NoSpace, TargetRefused.
    """
    temporary = working_name(path)
    with _whole_or_gone(temporary):
        fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        try:
            at = 0
            for piece in pieces:
                osfile.write_at(fd, memoryview(piece), at)
                at += len(piece)
            os.fsync(fd)
        finally:
            os.close(fd)
    os.rename(temporary, path)
    osfile.sync_directory(os.path.dirname(path))


@contextlib.contextmanager
def _whole_or_gone(path: str) -> Iterator[None]:
    """Removes what could not be written. Raises NoSpace, TargetRefused, which name it."""
    try:
        with writing(path):
            yield
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(path)
        raise


def file_time_ns(directory: str) -> int:
    """What its file system gives as the time of what is written now, nanoseconds since the epoch.

    Another clock than ours may tell it, and one that ticks coarsely: what is written later has this time or a later.
    """
    with tempfile.TemporaryFile(dir=directory) as f:
        return os.fstat(f.fileno()).st_mtime_ns


def second_name(source: str, target: str) -> bool:
    """Give a file another name, which a move does before the first one goes: unlike a rename, that overwrites nothing.

    One that it has already is left. False where it cannot be (another file system). Raises OSError: FileExistsError
    when another file has the name.
    """
    try:
        os.link(source, target)
    except FileExistsError:
        if not os.path.samefile(source, target):
            raise
    except OSError as e:
        if e.errno in _NO_LINK:
            return False
        raise
    return True


def replace_copy(source: str, target: str) -> None:
    """Put a copy of ``source`` at ``target`` in one step, over whatever is there. The caller makes it durable.

    Raises NoSpace, TargetRefused.
    """
    temporary = working_name(target)
    copy_whole(source, temporary, durable=False)
    os.rename(temporary, target)


def copy_whole(source: str, target: str, *, durable: bool = True) -> None:
    """Copy a file's bytes and mode, holes as holes; blocks are shared where the file system can.

    Raises NoSpace, TargetRefused; nothing is left of the copy then.
    """
    with open(source, "rb", buffering=0) as src, _whole_or_gone(target), open(target, "wb", buffering=0) as out:
        if not _clone(src.fileno(), out.fileno()):
            copy_data(src.fileno(), out.fileno())
        os.fchmod(out.fileno(), os.fstat(src.fileno()).st_mode & 0o777)
        if durable:
            os.fsync(out.fileno())


def copy_data(source: int, target: int, sums: RunningSum | None = None) -> None:
    """Copy all bytes between two open files, holes as holes. ``sums``: makes those of what was copied."""
    size = os.fstat(source).st_size
    os.ftruncate(target, size)
    at = 0
    for start, end in osfile.data_extents(source, 0, size):
        if sums is not None:
            sums.add_zeros(start - at)
        at = start
        while at < end:
            signals.check()
            data = os.pread(source, min(_PIECE_BYTES, end - at), at)
            if not data:
                return
            osfile.write_at(target, memoryview(data), at, osfile.WRITE_BYTES)
            if sums is not None:
                sums.add(data)
            at += len(data)
    if sums is not None:
        sums.add_zeros(size - at)


def _clone(source: int, target: int) -> bool:
    import fcntl

    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError:
        return False
    return True
