"""Give the unused tails of compressed pages back to the file system, as the server does when it writes them."""

from __future__ import annotations

import contextlib
import ctypes
import os

from goldcopy.formats.innodb.page import geometry, is_compressed_page, is_full_crc32

_KEEP_SIZE, _PUNCH = 1, 2
_PAGE_0_BYTES, _TYPE_AT = 64, 24
_SAMPLES = 256
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


def punch_compressed_pages(fd: int, path: str) -> None:
    """Punch the tails of all compressed pages of a tablespace that was unpacked without its holes. Best effort.

    ``path``: its name: any other file is left alone, as are pages that are not compressed. Most tables have none, and a
    large one is not read again to learn it: some of its pages tell.
    """
    size, page0 = os.fstat(fd).st_size, os.pread(fd, _PAGE_0_BYTES, 0)
    page_size = _page_size(page0) if path.endswith(".ibd") else 0
    if not page_size:
        return
    full_crc32, pages = is_full_crc32(page0), range(size // page_size)

    def is_compressed(number: int) -> bool:
        page_type = os.pread(fd, 2, number * page_size + _TYPE_AT)
        return is_compressed_page(int.from_bytes(page_type, "big"), full_crc32=full_crc32)

    if any(map(is_compressed, pages[:: max(1, len(pages) // _SAMPLES)])):
        for number in filter(is_compressed, pages):
            page = os.pread(fd, page_size, number * page_size)
            punch_tails(fd, memoryview(page), number * page_size, page_size)


def _page_size(page0: bytes) -> int:
    """0 where it is no page 0 of any server."""
    for family in ("mysql", "mariadb"):
        with contextlib.suppress(ValueError):
            return geometry(page0, family).page_size
    return 0
