"""The heads of pages out of the page cache, without the pages: all that an increment asks of most of them.

The range is mapped into memory, but only the kernel looks into the mapping (process_vm_readv on ourselves). A look of
our own would be the end of this process (SIGBUS) when the server cuts the file meanwhile; the kernel's says EFAULT.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
from array import array
from typing import Any

HEAD_BYTES = 64
_WINDOW_BYTES = 4 << 20
"""What is mapped at once: it counts as memory of ours, but every mapping undone interrupts the other processors. A call
takes 1024 pieces at most (UIO_MAXIOV)."""
_REFUSED = {errno.EPERM, errno.ENOSYS}
_libc = ctypes.CDLL(None, use_errno=True)
_quick = ctypes.PyDLL(None)  # too short to give the interpreter's lock away for
_MAP_FAILED = ctypes.c_void_p(-1).value
_quick.mmap.restype = ctypes.c_void_p
_quick.mmap.argtypes = [
    ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64
]  # fmt: skip
_quick.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
_read: Any = getattr(_libc, "process_vm_readv", None)
if _read is not None:
    _read.restype = ctypes.c_ssize_t
    _read.argtypes = [
        ctypes.c_int, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_void_p, ctypes.c_ulong, ctypes.c_ulong
    ]  # fmt: skip


class PageHeads:
    """Fills in the first ``HEAD_BYTES`` of each page of ``view``. For one thread, which owns ``view``."""

    def __init__(self, view: memoryview) -> None:
        self._view_at = ctypes.addressof(ctypes.c_char.from_buffer(view))
        self._refused = _read is None

    def read(self, fd: int, offset: int, pages: int, page_size: int) -> bool:
        """Take the heads of ``pages`` pages (of 4 KiB or more) from ``offset`` on. False: not all can be had so."""
        at_once = _WINDOW_BYTES // page_size
        return all(
            self._read_window(fd, offset, first * page_size, min(at_once, pages - first), page_size)
            for first in range(0, pages, at_once)
        )

    def _read_window(self, fd: int, offset: int, start: int, count: int, page_size: int) -> bool:
        """The heads of ``count`` pages; they begin ``start`` bytes behind ``offset``, and behind the view's begin."""
        if self._refused:
            return False
        length = count * page_size
        window_at = _quick.mmap(None, length, mmap.PROT_READ, mmap.MAP_SHARED, fd, offset + start)
        if window_at == _MAP_FAILED:
            return False
        try:
            ours, theirs = (_pieces(at, count, page_size) for at in (self._view_at + start, window_at))
            got = _read(os.getpid(), ours.buffer_info()[0], count, theirs.buffer_info()[0], count, 0)
            self._refused = got < 0 and ctypes.get_errno() in _REFUSED
        finally:
            _quick.munmap(window_at, length)
        return bool(got == count * HEAD_BYTES)


def _pieces(at: int, count: int, page_size: int) -> array[int]:
    """The heads of the pages from an address on, as an array of struct iovec: address and length of each."""
    pieces = array("L", [HEAD_BYTES]) * (2 * count)
    pieces[::2] = array("L", range(at, at + count * page_size, page_size))
    return pieces
