"""Give the unused tails of compressed pages back to the file system, as the server does when it writes them."""

from __future__ import annotations

import ctypes
import os

_KEEP_SIZE, _PUNCH = 1, 2
_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = [ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64]


def punch_tails(fd: int, pages: memoryview, offset: int, page_size: int) -> None:
    """Punch the zero tail of each page just written at ``offset``, in whole blocks. Best effort."""
    block = max(512, os.fstat(fd).st_blksize)
    for at in range(0, len(pages), page_size):
        used = len(bytes(pages[at : at + page_size]).rstrip(b"\0"))
        start = -(-used // block) * block
        if start < page_size:
            _libc.fallocate(fd, _KEEP_SIZE | _PUNCH, offset + at + start, page_size - start)
