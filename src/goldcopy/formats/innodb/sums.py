"""Page checksums, one page at a time: every form that a server may have left on disk.

The fast path lives in ``page.ChunkVerifier``; what it cannot confirm comes here. Sources: MariaDB
``buf0buf.cc`` ``buf_page_is_corrupted``, ``fil0crypt.cc`` ``fil_space_verify_crypt_checksum``; MySQL
``buf0checksum.cc``, ``page0zip.cc``, ``os0file.cc`` ``Compression::deserialize``.
"""

from __future__ import annotations

import enum
import zlib
from collections.abc import Callable
from functools import lru_cache
from itertools import repeat
from typing import Any

from fastcrc import crc32

from goldcopy.formats import Bytes
from goldcopy.formats.bigendian import u16, u32
from goldcopy.formats.vector import numpy_or_none

crc = crc32.iscsi

NO_CHECKSUM = 0xDEADBEEF
MYSQL_COMPRESSED = 14
MYSQL_OPAQUE_TYPES = frozenset({14, 15, 16, 17})
MARIADB_OPAQUE_TYPES = frozenset({34354, 37401})
_FOLD_1, _FOLD_2 = 1463735687, 1653893711
_MYSQL_PAGE_HEADER = 38
_SLAB = 16


class Checksum(enum.Enum):
    """Where a tablespace's pages keep their sum; ``CRC32`` and ``ZIP`` admit the older forms too."""

    FULL_CRC32 = "full_crc32"
    CRC32 = "crc32"
    ZIP = "zip"


class State(enum.Enum):
    """What can be said of one page: its sum is right, wrong, or it carries none on disk."""

    RIGHT = "right"
    WRONG = "wrong"
    NO_SUM = "no sum"


def is_blank(page: memoryview) -> bool:
    """Whether every byte is zero: a page that was allocated and never written, or freed and scrubbed."""
    return page.tobytes().count(0) == len(page)


def full_crc32_right(page: memoryview) -> bool:
    """MariaDB full_crc32: last four bytes of what is stored; a compressed page (type bit 15) may be shorter.

    The low LSN word repeated in the trailer needs no look of its own, the sum covers both copies.
    """
    size = len(page)
    page_type = u16(page, 24)
    if page_type & 0x8000:
        size = (page_type & 0x7FFF) << 8
        if not 256 <= size < len(page):
            return False
    return crc(page[: size - 4]) == u32(page, size - 4) or is_blank(page)


def crc32_sum(page: memoryview) -> int:
    """The ``crc32`` sum of an uncompressed page of the old layout."""
    return int(crc(page[4:26]) ^ crc(page[38:-8]))


def zip_crc32_sum(page: memoryview) -> int:
    """The ``crc32`` sum of a ROW_FORMAT=COMPRESSED page."""
    return int(crc(page[4:16]) ^ crc(page[24:26]) ^ crc(page[34:]))


def zip_adler_sum(page: memoryview) -> int:
    """The ``innodb`` sum of a ROW_FORMAT=COMPRESSED page."""
    return zlib.adler32(page[34:], zlib.adler32(page[24:26], zlib.adler32(page[4:16], 0)))


def fold(data: Bytes) -> int:
    """``ut_fold_binary`` on 32 bits: the byte-serial hash behind the ``innodb`` sum."""
    value = 0
    for byte in bytes(data):
        value = (((((value ^ byte ^ _FOLD_2) << 8) + value) ^ _FOLD_1) + byte) & 0xFFFFFFFF
    return value


def innodb_right(page: memoryview) -> bool:
    """The ``innodb`` sum: new form in front, and in the trailer the old form or the high LSN word."""
    return _innodb_fits(page, (fold(page[4:26]) + fold(page[38:-8])) & 0xFFFFFFFF)


def _innodb_fits(page: memoryview, total: int) -> bool:
    """``total``: the new form. Pages from before 4.0.14 have 0 in front and the old form alone."""
    front, old = u32(page, 0), u32(page, len(page) - 8)
    if front != total:
        return front == 0 and old == fold(page[:26]) and _lsn_words_agree(page)
    return old in (fold(page[:26]), u32(page, 16)) and _lsn_words_agree(page)


def _lsn_words_agree(page: memoryview) -> bool:
    return page[20:24] == page[-4:]


def _is_flush_lsn_only(page: memoryview) -> bool:
    """The first page of a further file of MySQL's system tablespace, before InnoDB has used it.

    A shutdown writes FIL_PAGE_FILE_FLUSH_LSN into it and no sum (fil0fil.cc, fil_write_lsn_and_arch_no_to_file).
    """
    return is_blank(page[:26]) and is_blank(page[34:])


def crc32_state(page: memoryview, *, mariadb: bool) -> State:
    """An uncompressed page of the old layout by every form but ``innodb``: ``innodb_wrong`` is for that."""
    page_type = u16(page, 24)
    front = u32(page, 0)
    if is_blank(page):
        return State.RIGHT
    if mariadb:
        if page_type in MARIADB_OPAQUE_TYPES:
            return State.NO_SUM
        if u32(page, 26) and u32(page, 30) in (crc32_sum(page), NO_CHECKSUM):
            return State.RIGHT
    elif _is_flush_lsn_only(page):
        return State.RIGHT
    elif page_type == MYSQL_COMPRESSED:
        return mysql_compressed_state(page)
    elif page_type in MYSQL_OPAQUE_TYPES:
        return State.NO_SUM
    if front == NO_CHECKSUM == u32(page, len(page) - 8):
        return State.RIGHT if _lsn_words_agree(page) else State.WRONG
    return State.RIGHT if front == crc32_sum(page) and _lsn_words_agree(page) else State.WRONG


def zip_state(page: memoryview, *, mariadb: bool) -> State:
    """A ROW_FORMAT=COMPRESSED page by every form."""
    front = u32(page, 0)
    if front in (zip_crc32_sum(page), NO_CHECKSUM, zip_adler_sum(page)) or is_blank(page):
        return State.RIGHT
    if mariadb:
        sums = (zip_crc32_sum(page), zip_adler_sum(page), NO_CHECKSUM)
        return State.RIGHT if u32(page, 26) and u32(page, 30) in sums else State.WRONG
    return State.NO_SUM if u16(page, 24) in MYSQL_OPAQUE_TYPES else State.WRONG


@lru_cache(maxsize=1)
def _lz4_decompress() -> Callable[..., bytes] | None:
    try:
        from lz4.block import decompress
    except ImportError:
        return None
    found: Callable[..., bytes] = decompress
    return found


def mysql_compressed_state(page: memoryview) -> State:
    """A page of MySQL's transparent compression: its header must be sane and its body must decompress.

    Version u8 at 26, algorithm u8 at 27 (1 zlib, 2 LZ4), original type u16 at 28, original size u16 at 30,
    compressed size u16 at 32. The sum in front is that of the page before compression, so it can be checked
    whenever the codec is at hand.
    """
    version, algorithm = page[26], page[27]
    original_type, original_size, size = u16(page, 28), u16(page, 30), u16(page, 32)
    room = len(page) - _MYSQL_PAGE_HEADER
    if version not in (1, 2, 3) or algorithm not in (1, 2) or original_size != room or not 0 < size <= room:
        return State.WRONG
    try:
        body = _decompressed(page[38 : 38 + size], algorithm, original_size)
    except (zlib.error, ValueError, RuntimeError):
        return State.WRONG
    if body is None:
        return State.NO_SUM
    return _compressed_sum_state(page, original_type, body)


def _decompressed(data: memoryview, algorithm: int, size: int) -> bytes | None:
    """The body, or None without the codec. Raises ValueError (or the codec's error) when it is damaged."""
    if algorithm == 1:
        inflater = zlib.decompressobj()
        body = inflater.decompress(data, size)
        if not inflater.eof or inflater.unused_data:
            raise ValueError("a compressed page ends elsewhere than its header says")
    else:
        lz4 = _lz4_decompress()
        if lz4 is None:
            return None
        body = lz4(data, uncompressed_size=size)
    if len(body) != size:
        raise ValueError("a compressed page is too short")
    return body


def _compressed_sum_state(page: memoryview, original_type: int, body: bytes) -> State:
    head = bytes(page[4:24]) + original_type.to_bytes(2, "big")
    front = u32(page, 0)
    if front in (crc(head) ^ crc(body[:-8]), NO_CHECKSUM):
        return State.RIGHT
    return State.RIGHT if front == (fold(head) + fold(body[:-8])) & 0xFFFFFFFF else State.WRONG


def innodb_wrong(view: memoryview, page_size: int, indices: list[int]) -> list[int]:
    """Which of these pages of a buffer (uncompressed, all of one size) fail the ``innodb`` sum.

    With numpy all pages advance together, a byte position a step: hand it many pages at once.
    """
    pages = [view[i * page_size : (i + 1) * page_size] for i in indices]
    numpy = numpy_or_none()
    if numpy is None or len(pages) < 8:
        return [i for i, page in zip(indices, pages, strict=True) if not innodb_right(page)]
    rows = numpy.frombuffer(view, numpy.uint8).reshape(-1, page_size)
    if len(indices) < len(rows):
        rows = rows[indices]
    totals = _fold_columns(numpy, rows, 4, 26) + _fold_columns(numpy, rows, 38, page_size - 8)
    found = zip(indices, pages, totals.tolist(), strict=True)
    return [i for i, page, total in found if not _innodb_fits(page, total)]


def _fold_columns(numpy: Any, rows: Any, start: int, end: int) -> Any:
    """``fold`` of bytes ``start`` to ``end`` of every row at once, in slabs that stay in the processor's cache."""
    first, second = numpy.uint32(_FOLD_1), numpy.uint32(_FOLD_2)
    value = numpy.zeros(len(rows), numpy.uint32)
    work = numpy.empty_like(value)
    xor, shift, add = numpy.bitwise_xor, numpy.left_shift, numpy.add
    for slab in range(start, end, _SLAB):
        columns = rows[:, slab : min(slab + _SLAB, end)].T.astype(numpy.uint32)
        for column, mixed in zip(columns, columns ^ second, strict=True):
            xor(value, mixed, work)
            shift(work, 8, work)
            add(work, value, work)
            xor(work, first, work)
            add(work, column, work)
            value, work = work, value
    return value


def adler_sums(heads: Any, kinds: Any, bodies: Any) -> tuple[int, ...]:
    """``zip_adler_sum`` of many pages in one C-level pass over their three slices."""
    return tuple(map(zlib.adler32, bodies, map(zlib.adler32, kinds, map(zlib.adler32, heads, repeat(0)))))
