"""InnoDB pages: what page 0 says of its tablespace, and checking whole chunks of pages at C speed.

Sources: MariaDB ``fsp0types.h`` and MySQL ``fsp0types.h`` (flags), ``fil0fil.h`` (page header), ``trx0sys.h``
(doublewrite extents).
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Sequence
from functools import lru_cache
from itertools import compress
from operator import xor

import msgspec

from goldcopy.formats import Family, Lsn, PageNo, SpaceId
from goldcopy.formats.bigendian import u16, u32
from goldcopy.formats.innodb import sums
from goldcopy.formats.innodb.sums import Checksum as Checksum
from goldcopy.formats.innodb.sums import State, crc

SYSTEM_SPACE = SpaceId(0)
TRX_SYS_PAGE = PageNo(5)
MIN_PAGE_BYTES, MAX_PAGE_BYTES = 4096, 64 << 10
_BLANK_4K = bytes(MIN_PAGE_BYTES)
_FLAGS_AT, _SPACE_ID_AT, _SIZE_AT = 54, 34, 46
FULL_CRC32_MARK = 1 << 4
"""FSP_SPACE_FLAGS of MariaDB's newer form."""
_MARIADB_PAGE_COMPRESSED = 1 << 16
MYSQL_ENCRYPTED = 1 << 13
"""FSP_SPACE_FLAGS of a tablespace that MySQL encrypts."""
_MYSQL_KNOWN_FLAGS = (1 << 15) - 1
# fil0fil.h, fil0types.h: FIL_PAGE_COMPRESSED and ..._AND_ENCRYPTED; FIL_PAGE_PAGE_COMPRESSED and ..._ENCRYPTED
_COMPRESSED_TYPES = frozenset({14, 16, 34354, 37401})
_FULL_CRC32_COMPRESSED = 1 << 15
_MARIADB_CRYPT_MAGIC = b"s\x0e\x0cREt"
_DOUBLEWRITE_MAGIC = 536853855


class Geometry(msgspec.Struct, frozen=True):
    """What page 0 of a tablespace says about all its pages.

    ``page_size``: bytes of a page on disk. ``logical_size``: bytes in the buffer pool (greater only with
    ROW_FORMAT=COMPRESSED). ``zip_size``: ``page_size`` of such a tablespace, else 0. ``page_compressed``:
    MariaDB's PAGE_COMPRESSED (MySQL's transparent compression leaves no flag). ``encrypted``: the tablespace
    says so; single pages may differ while it is being converted.
    """

    space_id: SpaceId
    flags: int
    family: Family
    page_size: int
    logical_size: int
    zip_size: int
    checksum: Checksum
    page_compressed: bool
    encrypted: bool


def geometry(page0: bytes | memoryview, family: Family) -> Geometry:
    """Read page 0, or as much of it as is at hand (64 bytes; the whole for MariaDB's ``encrypted``).

    Raises ValueError on impossible flags, and where there is less.
    """
    if len(page0) < _FLAGS_AT + 4:
        raise ValueError(f"page 0 is cut short, to {len(page0)} bytes")
    encrypted = family == "mariadb" and _mariadb_encrypted(page0)
    return geometry_of(SpaceId(u32(page0, _SPACE_ID_AT)), u32(page0, _FLAGS_AT), family, encrypted=encrypted)


def geometry_of(space_id: SpaceId, flags: int, family: Family, *, encrypted: bool = False) -> Geometry:
    """The same by FSP_SPACE_FLAGS alone, which tell of encryption only in MySQL. Raises ValueError."""
    if family == "mariadb":
        if flags & FULL_CRC32_MARK:
            return _full_crc32_geometry(space_id, flags, encrypted)
        return _old_geometry(space_id, flags, family, bool(flags & _MARIADB_PAGE_COMPRESSED), encrypted)
    if flags & ~_MYSQL_KNOWN_FLAGS:
        raise ValueError(f"tablespace {space_id}: unknown flags 0x{flags:x}")
    return _old_geometry(space_id, flags, family, False, bool(flags & MYSQL_ENCRYPTED))


def _full_crc32_geometry(space_id: SpaceId, flags: int, encrypted: bool) -> Geometry:
    ss = flags & 15
    if not 3 <= ss <= 7 or flags >> 8:
        raise ValueError(f"tablespace {space_id}: impossible full_crc32 flags 0x{flags:x}")
    size = 1 << (ss + 9)
    compressed = bool(compression_algorithm(flags))
    return Geometry(space_id, flags, "mariadb", size, size, 0, Checksum.FULL_CRC32, compressed, encrypted)


def compression_algorithm(flags: int) -> int:
    """How MariaDB compresses the pages of a tablespace of its newer form (FSP_FLAGS_FCRC32_PAGE_COMPRESSED_ALGO).

    0 = not at all, or of the older form, where each page says it by itself.
    """
    return flags >> 5 & 7 if flags & FULL_CRC32_MARK else 0


def _old_geometry(
    space_id: SpaceId, flags: int, family: Family, compressed: bool, encrypted: bool
) -> Geometry:
    z, ss = flags >> 1 & 15, flags >> 6 & 15
    logical = 512 << ss if ss else 16384
    zip_size = 512 << z if z else 0
    if ss not in (0, 3, 4, 5, 6, 7) or z > 5 or zip_size > logical:
        raise ValueError(f"tablespace {space_id}: impossible flags 0x{flags:x}")
    checksum = Checksum.ZIP if zip_size else Checksum.CRC32
    return Geometry(
        space_id, flags, family, zip_size or logical, logical, zip_size, checksum, compressed, encrypted
    )


def _mariadb_encrypted(page0: bytes | memoryview) -> bool:
    """MariaDB keeps crypt data in page 0 (fil0crypt.cc): magic, scheme u8, length u8, IV, key version u32."""
    data = bytes(page0)
    at = data.find(_MARIADB_CRYPT_MAGIC)
    return at > 0 and at + 28 <= len(data) and data[at + 6] == 1 and u32(data, at + 24) != 0


def mariadb_key_id(page0: bytes | memoryview) -> int:
    """The number of the key that MariaDB encrypts a tablespace with, 0 where it does not."""
    data = bytes(page0)
    if not _mariadb_encrypted(data):
        return 0
    return u32(data, data.find(_MARIADB_CRYPT_MAGIC) + 28)


def is_full_crc32(page0: bytes | memoryview) -> bool:
    """Whether a tablespace is of MariaDB's form ``full_crc32``."""
    return bool(u32(page0, _FLAGS_AT) & FULL_CRC32_MARK)


def is_compressed_page(page_type: int, *, full_crc32: bool) -> bool:
    """Whether a page is compressed as a whole, by its type: MySQL's COMPRESSION, MariaDB's PAGE_COMPRESSED."""
    return bool(page_type & _FULL_CRC32_COMPRESSED) if full_crc32 else page_type in _COMPRESSED_TYPES


def is_unwritten(page0: bytes | memoryview) -> bool:
    """Whether page 0 was never written: the tablespace was created a moment ago and is in the redo only."""
    return bytes(page0[:MIN_PAGE_BYTES]) == _BLANK_4K[: len(page0)]


def page_lsn(page: bytes | memoryview) -> Lsn:
    """FIL_PAGE_LSN: the end LSN of the mini-transaction that last changed the page."""
    return Lsn(int.from_bytes(page[16:24], "big"))


def page_space_id(page: bytes | memoryview) -> SpaceId:
    """The tablespace id in the page's own header."""
    return SpaceId(u32(page, _SPACE_ID_AT))


def space_pages(page0: bytes | memoryview) -> int:
    """FSP_SIZE: how many pages the tablespace has, in all its files (fsp0fsp.h, fsp_header_t)."""
    return u32(page0, _SIZE_AT)


def page_no(page: bytes | memoryview) -> PageNo:
    """The page number in the page's own header."""
    return PageNo(u32(page, 4))


def doublewrite_pages(page5: bytes | memoryview, geometry: Geometry) -> frozenset[int]:
    """Page numbers of the system tablespace's doublewrite extents: copies of other pages, never to be taken.

    ``page5``: page TRX_SYS_PAGE of the system tablespace. Empty when there are none (MySQL >= 8.0.20, other
    tablespaces).
    """
    at = geometry.page_size - 200 + 10
    if geometry.space_id != SYSTEM_SPACE or len(page5) < geometry.page_size:
        return frozenset()
    if u32(page5, at) != _DOUBLEWRITE_MAGIC:
        return frozenset()
    extent = max(64, (1 << 20) // geometry.page_size)
    firsts = (u32(page5, at + 4), u32(page5, at + 8))
    return frozenset(page for first in firsts if first for page in range(first, first + extent))


_ALONE_COSTS = 4
"""Looking at a page alone costs as much as so many pages in one go."""


@lru_cache(maxsize=64)
def _every_page(fields: str, pages: int) -> struct.Struct:
    return struct.Struct(">" + fields * pages)


class ChunkVerifier:
    """Checks the pages that lie in one buffer, again and again as the buffer is refilled.

    ``view``: the buffer, a whole number of pages. Slices and structs are made once, so that a right chunk
    costs one C-level ``map`` of sums and no Python per page (``copying.md`` 5). A page that this cannot
    confirm is looked at alone by every other form its tablespace admits.

    ``legacy``: the server's default is the ``innodb`` sum (MySQL <= 5.6), so the crc32 pass is left out. That
    sum is byte-serial: with numpy all pages of the view advance together, so give it 16 MiB or more at once.
    """

    def __init__(self, view: memoryview, geometry: Geometry, *, legacy: bool = False) -> None:
        n = geometry.page_size
        if len(view) % n:
            raise ValueError(f"a buffer of {len(view)} bytes is not a whole number of {n} byte pages")
        self._view, self._geometry, self._n = view, geometry, n
        self._mariadb = geometry.family == "mariadb"
        self._pages = [view[o : o + n] for o in range(0, len(view), n)]
        self._lsn_field = f"16xQ{n - 24}x"
        self._parts: tuple[list[memoryview], ...] = ()
        self._blank_sum = 0
        self._suspects = self._choose(legacy)

    def _choose(self, legacy: bool) -> Callable[[int], list[int]]:
        """The fast pass: page count -> indices of the pages it cannot confirm."""
        n, pages = self._n, self._pages
        if self._geometry.checksum is Checksum.FULL_CRC32:
            self._parts = ([p[: n - 4] for p in pages],)
            self._blank_sum = crc(bytes(n - 4))
            return self._full_crc32_suspects
        if self._geometry.checksum is Checksum.ZIP:
            self._parts = ([p[4:16] for p in pages], [p[24:26] for p in pages], [p[34:] for p in pages])
            return self._zip_adler_suspects if legacy else self._zip_crc32_suspects
        self._parts = ([p[4:26] for p in pages], [p[38 : n - 8] for p in pages])
        self._blank_sum = crc(bytes(22)) ^ crc(bytes(n - 46))
        return self._every_suspect if legacy else self._crc32_suspects

    def _full_crc32_suspects(self, count: int) -> list[int]:
        found = tuple(map(crc, self._parts[0][:count]))
        stored = _every_page(f"{self._n - 4}xI", count).unpack_from(self._view)
        if found == stored:
            return []
        blank = self._blank_sum
        pairs = enumerate(zip(found, stored, strict=True))
        return [i for i, (a, b) in pairs if a != b and not (b == 0 and a == blank)]

    def _crc32_suspects(self, count: int) -> list[int]:
        heads, bodies = self._parts
        found = tuple(map(xor, map(crc, heads[:count]), map(crc, bodies[:count])))
        words = _every_page(f"I16xI{self._n - 28}xI", count).unpack_from(self._view)
        stored, low_lsn, trailer = words[::3], words[1::3], words[2::3]
        if found == stored and low_lsn == trailer:
            return []
        blank = self._blank_sum
        rows = enumerate(zip(found, stored, low_lsn, trailer, strict=True))
        return [i for i, (a, b, c, d) in rows if (a != b and (a != blank or b)) or c != d]

    def _zip_crc32_suspects(self, count: int) -> list[int]:
        heads, kinds, bodies = (map(crc, part[:count]) for part in self._parts)
        return self._unlike_front(tuple(map(xor, map(xor, heads, kinds), bodies)))

    def _zip_adler_suspects(self, count: int) -> list[int]:
        return self._unlike_front(sums.adler_sums(*(part[:count] for part in self._parts)))

    def _unlike_front(self, found: tuple[int, ...]) -> list[int]:
        stored = _every_page(f"I{self._n - 4}x", len(found)).unpack_from(self._view)
        if found == stored:
            return []
        return [i for i, (a, b) in enumerate(zip(found, stored, strict=True)) if a != b]

    def _every_suspect(self, count: int) -> list[int]:
        return list(range(count))

    def _state(self, index: int) -> State:
        page = self._pages[index]
        if self._geometry.checksum is Checksum.FULL_CRC32:
            return State.RIGHT if sums.full_crc32_right(page) else State.WRONG
        if self._geometry.checksum is Checksum.ZIP:
            return sums.zip_state(page, mariadb=self._mariadb)
        return sums.crc32_state(page, mariadb=self._mariadb)

    def bad(self, length: int, only: Sequence[int] | None = None) -> list[int]:
        """Indices of the pages in the first ``length`` bytes whose sum is wrong, ascending; among ``only``, if given.

        A page of zeros is right; one without any sum on disk is not bad (see ``unverifiable``).
        """
        count = length // self._n
        few = only is not None and len(only) * _ALONE_COSTS < count
        suspects = only if only is not None and few else self._suspects(count)
        wrong = [i for i in suspects if self._state(i) is State.WRONG]
        if wrong and self._geometry.checksum is Checksum.CRC32:
            return sums.innodb_wrong(self._view, self._n, wrong)
        return wrong

    def disguised(self, length: int) -> list[int]:
        """Indices of MariaDB's pages that say they are encrypted and are not, ascending.

        With the older sums an encrypted page keeps its plain sum at 0 and has the one of its encrypted bytes at 30,
        behind the key version (fil0crypt.cc, fil_space_encrypt). Where both are the same nothing was encrypted.
        """
        if not self._mariadb or self._geometry.checksum is not Checksum.CRC32:
            return []
        words = _every_page(f"I22xII{self._n - 34}x", length // self._n).unpack_from(self._view)
        rows = enumerate(zip(words[::3], words[1::3], words[2::3], strict=True))
        return [i for i, (plain, key_version, encrypted) in rows if key_version and plain and plain == encrypted]

    def unverifiable(self, length: int) -> list[int]:
        """Indices of the pages that carry no sum on disk, so that nobody can tell whether they are torn."""
        opaque = sums.MARIADB_OPAQUE_TYPES if self._mariadb else sums.MYSQL_OPAQUE_TYPES
        if self._geometry.checksum is Checksum.FULL_CRC32:
            return []
        types = _every_page(f"24xH{self._n - 26}x", length // self._n).unpack_from(self._view)
        if opaque.isdisjoint(types):
            return []
        return [i for i, kind in enumerate(types) if kind in opaque and self._state(i) is State.NO_SUM]

    def changed(self, length: int, since: int) -> list[int]:
        """Indices of the pages with FIL_PAGE_LSN >= ``since``."""
        lsns = _every_page(self._lsn_field, length // self._n).unpack_from(self._view)
        if not lsns or max(lsns) < since:
            return []
        return list(compress(range(len(lsns)), map(since.__le__, lsns)))

    def newest(self, length: int) -> tuple[Lsn, int]:
        """The greatest FIL_PAGE_LSN, and the index of the page that has it."""
        lsns = _every_page(self._lsn_field, length // self._n).unpack_from(self._view)
        lsn = max(lsns, default=0)
        return Lsn(lsn), lsns.index(lsn) if lsn else 0

    def any_older(self, length: int, since: int) -> bool:
        """Whether a page that was ever written has FIL_PAGE_LSN < ``since``."""
        lsns = _every_page(self._lsn_field, length // self._n).unpack_from(self._view)
        return any(0 < lsn < since for lsn in lsns)

    def page_type(self, index: int) -> int:
        """FIL_PAGE_TYPE of one page, for messages."""
        return u16(self._pages[index], 24)
