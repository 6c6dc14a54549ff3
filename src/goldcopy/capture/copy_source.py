"""A file of the server as the copier reads it: one inode from open to close, the page cache left as it was."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable

from goldcopy.errors import GoldcopyError, PageCorrupt, PrivilegeMissing
from goldcopy.image import osfile
from goldcopy.image.osfile import ALIGN, PageCache
from goldcopy.image.pageheads import PageHeads
from goldcopy.image.sink import Extent

_BLANK = bytes(64 << 10)


def read_failure(e: OSError, path: str, offset: int = 0) -> GoldcopyError:
    """What an OSError while opening or reading ``path`` means to the user."""
    if e.errno in (errno.EACCES, errno.EPERM):
        return PrivilegeMissing(
            f"cannot read {path}: {e.strerror}", hint="run as the account that the server runs as, or as root"
        )
    if e.errno == errno.EIO:
        return PageCorrupt(
            f"cannot read {path} at byte {offset}: {e.strerror}", hint="the disk is failing: see the kernel's log"
        )
    return GoldcopyError(f"cannot read {path} at byte {offset}: {e.strerror}")


class Source:
    """A file opened for copying. Raises FileNotFoundError when it is gone. Reads are thread-safe.

    ``size``: bytes when it was measured last, at first when it was opened. ``sparse``: it has holes.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self.measure()
        self._lock = threading.Lock()
        self._direct: int | None = None
        self._direct_refused = False
        self._from_cache = False

    def measure(self) -> int:
        """Look at size and holes again. Returns the size."""
        self.stat = os.fstat(self.fd)
        self.size = self.stat.st_size
        self.sparse = osfile.has_holes(self.stat)
        return self.size

    def read(self, view: memoryview, offset: int, cache: PageCache) -> int:
        """Fill ``view`` (page-aligned, as is ``offset``; its length a multiple of ALIGN) from ``offset`` on.

        From the page cache when all of it is there, else past it. Returns the bytes read: fewer than the view has
        only at the file's end.
        """
        wanted = min(len(view), self.size - offset)
        cached = cache.cached_bytes(self.fd, offset, wanted)
        self._from_cache = cached == wanted
        try:
            if cached is None or cached < wanted:
                direct = self._direct_fd()
                if direct is not None:
                    return self._read_direct(direct, view, offset)
                osfile.no_readahead(self.fd)
            got = osfile.read_at(self.fd, view, offset)
        except OSError as e:
            raise read_failure(e, self.path, offset) from e
        if cached == 0:
            osfile.forget(self.fd, offset, got)
        return got

    def read_heads(self, heads: PageHeads, offset: int, pages: int, page_size: int, cache: PageCache) -> bool:
        """Take the heads of pages alone, if the page cache holds these pages (it is asked only when it held those that
        were read before). False: read the pages.
        """
        length = pages * page_size
        if not self._from_cache or offset + length > self.size:
            return False
        self._from_cache = cache.cached_bytes(self.fd, offset, length) == length
        return self._from_cache and heads.read(self.fd, offset, pages, page_size)

    def _direct_fd(self) -> int | None:
        with self._lock:
            if self._direct is None and not self._direct_refused:
                self._direct = osfile.reopen_direct(self.fd)
                self._direct_refused = self._direct is None
            return None if self._direct_refused else self._direct

    def _read_direct(self, fd: int, view: memoryview, offset: int) -> int:
        try:
            return osfile.read_at(fd, view, offset)
        except OSError as e:
            # some file systems take the flag and refuse the first read
            if e.errno != errno.EINVAL:
                raise
            self._direct_refused = True
        return osfile.read_at(self.fd, view, offset)

    def is_hole(self, offset: int, length: int) -> bool:
        """Whether the range holds nothing but holes."""
        return self.sparse and next(osfile.data_extents(self.fd, offset, offset + length), None) is None

    def extents(self, view: memoryview, offset: int) -> list[Extent] | None:
        """The ranges to write so that what was read into ``view`` keeps its holes; None: all of it.

        The file may have changed since it was read, so a hole counts only where the bytes read are zeros too.
        """
        if not self.sparse:
            return None
        found: list[Extent] = []
        at, end = offset, offset + len(view)
        for start, stop in [*osfile.data_extents(self.fd, offset, end), (end, end)]:
            if at < start and not is_zero(view[at - offset : start - offset]):
                start = at
            if start < stop:
                found.append((start, stop))
            at = stop
        return found

    def close(self) -> None:
        """Give both descriptors back."""
        for fd in (self.fd, self._direct):
            if fd is not None and fd >= 0:
                os.close(fd)
        self.fd, self._direct = -1, None


def is_zero(view: memoryview) -> bool:
    """Whether every byte is zero (by ``bytes`` compares: a memoryview compares a byte at a time)."""
    step = len(_BLANK)
    return all(view[i : i + step].tobytes() == _BLANK[: len(view) - i] for i in range(0, len(view), step))


def aligned(length: int) -> int:
    """``length`` rounded up to what direct I/O takes."""
    return -(-length // ALIGN) * ALIGN


Pause = Callable[[float], None]
"""Sleep for so many seconds; raises when the copy is to stop."""
