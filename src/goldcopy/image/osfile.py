"""What Linux offers for copying files and Python's ``os`` does not: direct I/O, page cache queries, holes, syncfs.

Every call here has an answer for systems that lack it; ``copying.md`` 8 lists them.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import hashlib
import mmap
import os
from collections.abc import Iterable, Iterator
from typing import NoReturn

ALIGN = 4096
"""Offsets, lengths and addresses of direct I/O are multiples of this: enough for every disk in use."""

WRITE_BYTES = 64 << 10
"""Piece of a buffered write: never bad anywhere, while larger ones are where free memory is given back to the
host (``copying.md`` 4)."""

BLOCK_BYTES = 512
"""What ``st_blocks`` counts in."""

HUGE_PAGE_BYTES = 2 << 20
"""Of x86-64, and of ARM with its usual 4 KiB pages; where they have another size, buffers are merely aligned to it."""

NAME_BYTES = 255
"""Of a file's name: NAME_MAX of every usual file system."""

_SYS_CACHESTAT = 451  # one number on every architecture, Linux 6.5
_NOT_SUPPORTED = {errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL, errno.EPERM}
_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


class _Range(ctypes.Structure):
    _fields_ = [("offset", ctypes.c_uint64), ("length", ctypes.c_uint64)]


class _CacheStat(ctypes.Structure):
    _fields_ = [(name, ctypes.c_uint64) for name in ("cached", "dirty", "writeback", "evicted", "recent")]


class PageCache:
    """Asks what of a file the page cache holds. One per thread: it keeps the structures of the call."""

    def __init__(self) -> None:
        self._range, self._stat = _Range(), _CacheStat()
        self._range_at, self._stat_at = ctypes.byref(self._range), ctypes.byref(self._stat)

    def cached_bytes(self, fd: int, offset: int, length: int) -> int | None:
        """Bytes of the range in the page cache; None where the kernel does not tell (before 6.5, containers)."""
        self._range.offset, self._range.length = offset, length
        if _libc.syscall(_SYS_CACHESTAT, fd, self._range_at, self._stat_at, 0):
            return None
        return int(self._stat.cached) * mmap.PAGESIZE


def buffer(length_bytes: int) -> memoryview:
    """Memory for direct I/O, aligned, in huge pages where the kernel gives them.

    A direct read into them costs a quarter of the processor time, since the kernel pins one page where it else pins
    512, and hands the disk larger pieces. A child process does not get it: a fork while the disk writes into private
    memory would leave one of the two without what is written.
    """
    room = mmap.mmap(-1, length_bytes + HUGE_PAGE_BYTES, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    room.madvise(mmap.MADV_DONTFORK)
    with contextlib.suppress(OSError):  # a kernel without huge pages
        room.madvise(mmap.MADV_HUGEPAGE)
    start = -ctypes.addressof(ctypes.c_char.from_buffer(room)) % HUGE_PAGE_BYTES
    return memoryview(room)[start : start + length_bytes]


def _raise_errno(what: str) -> NoReturn:
    code = ctypes.get_errno()
    raise OSError(code, os.strerror(code), what)


def syncfs(fd: int) -> None:
    """Make everything written to the file system of ``fd`` durable. Raises OSError: what was written may be lost."""
    if _libc.syncfs(fd):
        _raise_errno("syncfs")


def fallocate(fd: int, length_bytes: int) -> bool:
    """Reserve space without writing it. False where the file system cannot; OSError (ENOSPC) when it is full.

    glibc's ``posix_fallocate`` would write every block instead, so the call itself is used.
    """
    if not length_bytes or not _libc.fallocate(fd, 0, 0, length_bytes):
        return True
    if ctypes.get_errno() in _NOT_SUPPORTED:
        return False
    _raise_errno("fallocate")


def reopen_direct(fd: int) -> int | None:
    """A second descriptor of the very file behind ``fd``, for direct reads; None where that is refused.

    By way of /proc, not by name: the name may be another table by now.
    """
    try:
        return os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_DIRECT | os.O_CLOEXEC)
    except OSError:
        return None


def fits(name: str) -> bool:
    """Whether a file may have this name, as far as its length goes."""
    return len(os.fsencode(name)) <= NAME_BYTES


def beside(path: str, suffix: str) -> str:
    """A name for work on a file in its directory: its own with ``suffix``, or the same short one each time, where that
    would be too long: table names of fifty CJK characters leave no room."""
    directory, name = os.path.split(path)
    if not fits(name + suffix):
        name = hashlib.sha256(os.fsencode(name)).hexdigest()[:32]
    return os.path.join(directory, name + suffix)


def create(path: str, *, direct: bool, mode: int = 0o640) -> tuple[int, bool]:
    """Create a file that must not exist, for writing: its descriptor, and whether it takes direct writes."""
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    if direct:
        try:
            return os.open(path, flags | os.O_DIRECT, mode), True
        except OSError as e:
            if e.errno not in _NOT_SUPPORTED:
                raise
            # tmpfs of old creates the file before it refuses the flag
            if os.path.lexists(path):
                os.unlink(path)
    return os.open(path, flags, mode), False


def read_at(fd: int, view: memoryview, offset: int) -> int:
    """Fill ``view`` from ``offset`` on. Returns the bytes read: fewer only where the file ends."""
    got = os.preadv(fd, [view], offset)
    if got == len(view) or not got:
        return got
    # a direct read may stop at any sector; where it stopped short of one the file ends
    while got < len(view) and got % ALIGN == 0:
        more = os.preadv(fd, [view[got:]], offset + got)
        if not more:
            break
        got += more
    return got


def write_at(fd: int, data: memoryview, offset: int, piece_bytes: int = 0) -> None:
    """Write all of ``data`` at ``offset``, in pieces of ``piece_bytes`` when given."""
    done, step = 0, piece_bytes or len(data)
    while done < len(data):
        done += os.pwrite(fd, data[done : done + step], offset + done)


def data_extents(fd: int, start: int, end: int) -> Iterator[tuple[int, int]]:
    """The ranges of ``[start, end)`` that are not holes, as (start, end); all of it where holes are not told."""
    while start < end:
        try:
            data = os.lseek(fd, start, os.SEEK_DATA)
            hole = os.lseek(fd, data, os.SEEK_HOLE)
        except OSError as e:
            if e.errno == errno.ENXIO:
                return
            if e.errno not in _NOT_SUPPORTED:
                raise
            data, hole = start, end
        if data >= end:
            return
        yield data, min(hole, end)
        start = hole


def has_holes(state: os.stat_result) -> bool:
    """Whether a file takes less room than it has bytes."""
    return state.st_blocks * BLOCK_BYTES < state.st_size


def no_readahead(fd: int) -> None:
    """Let reads bring in just what they ask for, so that it is known what to ``forget``."""
    _advise(fd, 0, 0, os.POSIX_FADV_RANDOM)


def forget(fd: int, offset: int, length: int) -> None:
    """Let the page cache drop a range that was not in it before we read it; only advice."""
    _advise(fd, offset, length, os.POSIX_FADV_DONTNEED)


def _advise(fd: int, offset: int, length: int, advice: int) -> None:
    try:
        os.posix_fadvise(fd, offset, length, advice)
    except OSError:
        pass  # nothing depends on it being taken


def sync_filesystem(directory: str) -> None:
    """Make everything written to the file system of a directory durable. Raises OSError as ``syncfs`` does."""
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        syncfs(fd)
    finally:
        os.close(fd)


def sync_filesystems(directories: Iterable[str]) -> None:
    """The same for all file systems that these directories are on."""
    for directory in {os.stat(directory).st_dev: directory for directory in directories}.values():
        sync_filesystem(directory)


def sync_directory(path: str) -> None:
    """Make the names in a directory durable."""
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
