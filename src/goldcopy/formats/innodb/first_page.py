"""The first page of a tablespace that is in the redo log only: enough for recovery to know the file.

A table made a moment before an increment has an empty delta: nothing of it was on disk (MySQL: only a first page
without an LSN). MySQL, and MariaDB before 10.8, refuse files whose first pages do not tell the tablespace's id; the
redo then overwrites this page with the real one (fsp0fsp.h: fsp_header_t; fsp0types.h: flags).
"""

from __future__ import annotations

from goldcopy.formats.innodb.page import FULL_CRC32_MARK
from goldcopy.formats.innodb.sums import crc, crc32_sum, zip_crc32_sum

INITIAL_PAGES = 4
"""A tablespace file is never smaller than this many pages of the buffer pool's size."""
_POST_ANTELOPE, _ATOMIC_BLOBS = 1, 1 << 5
_TYPE_FSP_HEADER = 8
_NONE = b"\xff\xff\xff\xff"


def flags_of(page_size: int, zip_size: int, logical_size: int) -> int:
    """FSP_SPACE_FLAGS of a new tablespace, as far as ``.meta`` tells them; the redo mends the rest."""
    if not zip_size:
        return FULL_CRC32_MARK | page_size.bit_length() - 10
    zip_bits = (zip_size.bit_length() - 10) << 1
    size_bits = 0 if logical_size == 16384 else (logical_size.bit_length() - 10) << 6
    return _POST_ANTELOPE | zip_bits | _ATOMIC_BLOBS | size_bits


def first_page(space_id: int, page_size: int, zip_size: int, logical_size: int, flags: int | None = None) -> bytes:
    """The page, with its checksum. Sizes in bytes; ``page_size`` is the size on disk.

    ``flags``: as MySQL's ``.meta`` tells them; None = of a MariaDB tablespace, made of the sizes.
    """
    page = bytearray(page_size)
    page[8:16] = _NONE + _NONE
    page[24:26] = _TYPE_FSP_HEADER.to_bytes(2, "big")
    page[34:42] = space_id.to_bytes(4, "big") * 2
    page[46:50] = INITIAL_PAGES.to_bytes(4, "big")
    known = flags_of(page_size, zip_size, logical_size) if flags is None else flags
    page[54:58] = known.to_bytes(4, "big")
    view = memoryview(page)
    if flags is not None and not zip_size:
        page[0:4] = page[-8:-4] = crc32_sum(view).to_bytes(4, "big")
    elif zip_size:
        page[0:4] = zip_crc32_sum(view).to_bytes(4, "big")
    else:
        page[-4:] = crc(view[:-4]).to_bytes(4, "big")
    return bytes(page)
