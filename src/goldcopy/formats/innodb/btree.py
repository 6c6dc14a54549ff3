"""MySQL's B-tree pages: what their headers say of the index, and the few records that name indexes.

Sources: MySQL ``page0types.h``, ``page0page.h`` (header of an index page), ``rem0rec.h`` (records), ``fsp0fsp.h``
(extent descriptors), ``dict0boot.h`` (the dictionary's own tables, MySQL 5.7 and before), ``utilities/ibd2sdi.cc``
(dictionary information inside each tablespace, MySQL 8.0 and newer).
"""

from __future__ import annotations

import contextlib
import json
import re
import struct
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from goldcopy.formats.bigendian import u16, u64
from goldcopy.formats.innodb.page import Geometry

DESCRIPTOR_TYPES = frozenset({8, 9})
"""Pages that begin with descriptors of the extents that follow: the first of a tablespace, and more of them."""
SDI_TYPE = 17853
EXTERNAL_TYPES = frozenset({10, 11, 12, *range(22, 30)})
"""Pages of values that are too long for their record."""
_INDEX_TYPES = frozenset({17854, 17855})
_TYPE_AT, _HEADER_AT = 24, 38
_DESCRIPTORS_AT, _BITMAP_AT = 150, 24
_COMPACT = 0x8000
# behind the two records that every page begins with
_COMPACT_RECORDS_AT, _OLD_RECORDS_AT = 120, 125
_SYS_TABLES, _SYS_INDEXES = 1, 3
_TORN = (zlib.error, struct.error, ValueError, LookupError)


class IndexPage(msgspec.Struct, frozen=True):
    """``level``: 0 for leaves. ``data_bytes``: of all records that are not deleted."""

    index_id: int
    level: int
    records: int
    data_bytes: int


class IndexName(msgspec.Struct, frozen=True):
    """``table``: ``db/table``, in file-name encoding in MySQL 5.7 and before."""

    table: str
    index: str


def page_type(page: bytes | memoryview) -> int:
    """FIL_PAGE_TYPE."""
    return u16(page, _TYPE_AT)


def index_page(page: bytes | memoryview) -> IndexPage | None:
    """What a B-tree page says of itself, compressed ones too; None for a page of another kind."""
    if page_type(page) not in _INDEX_TYPES:
        return None
    at = _HEADER_AT
    start = _COMPACT_RECORDS_AT if u16(page, at + 4) & _COMPACT else _OLD_RECORDS_AT
    heap_top, garbage = u16(page, at + 2), u16(page, at + 8)
    return IndexPage(u64(page, at + 28), u16(page, at + 26), u16(page, at + 16), heap_top - start - garbage)


def is_free(descriptors: bytes | memoryview, number: int, geo: Geometry) -> bool:
    """Whether a page is in no use, by the descriptor page of its group; a free one keeps what was in it."""
    extent = (1 << 20) // geo.logical_size if geo.logical_size <= 16384 else 64
    within = number % geo.page_size
    entry = _DESCRIPTORS_AT + within // extent * (_BITMAP_AT + extent * 2 // 8)
    bit = within % extent * 2
    return bool(descriptors[entry + _BITMAP_AT + bit // 8] >> bit % 8 & 1)


# -- the names -----------------------------------------------------------------------


class OldDictionary:
    """Names from SYS_TABLES and SYS_INDEXES, the pages of the system tablespace fed in any order."""

    def __init__(self) -> None:
        self._tables: dict[int, str] = {}
        self._indexes: dict[int, tuple[int, str]] = {}

    def feed(self, page: bytes | memoryview, about: IndexPage) -> None:
        """Look at one page of an index: only the two tables' leaves count, as far as they are whole."""
        if about.level or about.index_id not in (_SYS_TABLES, _SYS_INDEXES) or u16(page, _HEADER_AT + 4) & _COMPACT:
            return
        with contextlib.suppress(*_TORN):
            for row in _old_records(bytes(page)):
                if about.index_id == _SYS_TABLES:
                    self._tables[int.from_bytes(row[3])] = row[0].decode(errors="replace")
                else:
                    self._indexes[int.from_bytes(row[1])] = int.from_bytes(row[0]), row[4].decode(errors="replace")

    def names(self) -> dict[int, IndexName]:
        """By index id."""
        return {
            number: IndexName(self._tables[table], name)
            for number, (table, name) in self._indexes.items()
            if table in self._tables
        }


def _old_records(page: bytes) -> Iterator[list[bytes]]:
    """The records of a page of ROW_FORMAT=REDUNDANT, each as its fields; deleted ones left out."""
    for origin in _origins(page, 101, 116, relative=False):
        count, short = u16(page, origin - 4) >> 1 & 0x3FF, page[origin - 3] & 1
        ends = [
            page[origin - 7 - i] & 0x7F if short else u16(page, origin - 8 - 2 * i) & 0x3FFF for i in range(count)
        ]
        if not page[origin - 6] & 0x20:
            yield [page[origin + a : origin + b] for a, b in zip([0, *ends], ends, strict=False)]


def _origins(page: bytes, first: int, last: int, *, relative: bool) -> Iterator[int]:
    """Where the records begin, in the order of their keys."""
    at, left = u16(page, first - 2) + (first if relative else 0), len(page)
    while (at := at & 0xFFFF) != last and first < at < len(page) and left:
        yield at
        at, left = u16(page, at - 2) + (at if relative else 0), left - 1


def sdi_names(page: bytes | memoryview) -> dict[int, IndexName]:
    """Names from one page of a tablespace's dictionary information; what does not lie in the page whole is left out.

    The same goes for what was being written when the page was read.
    """
    names: dict[int, IndexName] = {}
    data = bytes(page)
    if page_type(data) != SDI_TYPE or u16(data, _HEADER_AT + 26):
        return names
    with contextlib.suppress(*_TORN):
        for origin in _origins(data, 99, 112, relative=True):
            length, more = data[origin - 6], data[origin - 7]
            if length & 0x80:
                length = (length & 0x3F) << 8 | more
            outside = data[origin - 6] & 0xC0 == 0xC0
            if not (data[origin - 5] & 0x20 or outside):
                names |= _described(zlib.decompress(data[origin + 33 : origin + 33 + length]))
    return names


def _described(text: bytes) -> dict[int, IndexName]:
    """The indexes of one table, and those of its partitions, which refer to them by their place in the list."""
    described: dict[str, Any] = json.loads(text)
    if described.get("dd_object_type") != "Table":
        return {}
    table = described["dd_object"]
    name, indexes = f"{table['schema_ref']}/{table['name']}", table["indexes"]
    found = {_id(index): IndexName(name, index["name"]) for index in indexes}
    for partition in _partitions(table):
        for index in partition.get("indexes", ()):
            found[_id(index)] = IndexName(name, indexes[index["index_opx"]]["name"])
    return {number: index for number, index in found.items() if number}


def _partitions(described: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for partition in (*described.get("partitions", ()), *described.get("subpartitions", ())):
        yield partition
        yield from _partitions(partition)


def _id(index: dict[str, Any]) -> int:
    found = re.search(r"\bid=(\d+)", index.get("se_private_data", ""))
    return int(found[1]) if found else 0

