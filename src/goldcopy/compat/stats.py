"""``--stats``: what the tablespaces of a data directory or a backup hold, and how full the pages of each index are."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field

from goldcopy.compat.filters import Filters
from goldcopy.compat.infofiles import Checkpoints
from goldcopy.compat.peerdir import find_file, read_text
from goldcopy.errors import UsageError
from goldcopy.formats import Family
from goldcopy.formats.innodb import btree
from goldcopy.formats.innodb.page import MAX_PAGE_BYTES, SYSTEM_SPACE, Geometry, geometry, is_unwritten, page_no

_ENDS = (".ibd", ".ibu")
_STARTS = ("ibdata", "undo")
_FAMILY: Family = "mysql"
"""mariadb-backup has no --stats."""
_READ_BYTES = 4 << 20
_OPAQUE_TYPES = frozenset({14, 15, 16, 17})
"""Compressed or encrypted as a whole (fil0fil.h)."""


@dataclass
class _Level:
    pages: int = 0
    records: int = 0
    data_bytes: int = 0

    def add(self, page: btree.IndexPage) -> None:
        self.pages += 1
        self.records += page.records
        self.data_bytes += page.data_bytes


@dataclass
class _Index:
    """``root``: the page of the highest level, of which there is one."""

    levels: dict[int, _Level] = field(default_factory=dict)
    root: int = 0

    def add(self, page: btree.IndexPage, number: int) -> None:
        if not self.levels or page.level > max(self.levels):
            self.root = number
        self.levels.setdefault(page.level, _Level()).add(page)


@dataclass
class _Space:
    """What one tablespace was found to hold. ``external``, ``opaque``: pages."""

    path: str
    geo: Geometry
    pages: int
    disk_bytes: int
    indexes: dict[int, _Index] = field(default_factory=dict)
    names: dict[int, btree.IndexName] = field(default_factory=dict)
    external: int = 0
    opaque: int = 0


def stats(directory: str, filters: Filters | None = None) -> Iterator[str]:
    """Lines for each tablespace: name, id, page size, pages, bytes on disk; its indexes, level by level; a total.

    ``filters``: of which tables indexes are told. Raises UsageError when there is no such directory, or a backup lies
    there whose pages are still of different moments.
    """
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", hint="--datadir or --target-dir names one")
    _refuse_unprepared(directory)
    filters = filters or Filters()
    yield "<INDEX STATISTICS>"
    files = pages = size = 0
    known: dict[int, btree.IndexName] = {}
    for _, paths in itertools.groupby(_spaces(directory), os.path.dirname):
        found: list[_Space] = []
        for path in paths:
            try:
                found += _read(directory, path, filters)
            except ValueError as e:
                yield f"tablespace: {path}, not one of MySQL's: {e}"
        # of a partitioned table's files only one says what it is called
        known |= {number: name for space in found for number, name in space.names.items()}
        for space in found:
            files, pages, size = files + 1, pages + space.pages, size + space.disk_bytes
            yield from _told(space, known, filters)
    yield f"tablespaces: {files}, pages: {pages}, bytes on disk: {size}"


def _refuse_unprepared(directory: str) -> None:
    name = find_file(directory, "checkpoints")
    if not name:
        return
    kind = Checkpoints.parse(read_text(os.path.join(directory, name))).backup_type
    if kind != "full-prepared":
        raise UsageError(
            f"Cannot find log file ib_logfile0: {directory} is a backup that was not prepared to the end ({kind})",
            hint="--prepare without --apply-log-only makes what can be counted",
        )


def _spaces(directory: str) -> Iterator[str]:
    for root, dirs, names in os.walk(directory):
        dirs.sort()
        for name in sorted(names):
            at_top = root == directory and name.startswith(_STARTS) and "." not in name
            if name.endswith(_ENDS) or at_top:
                yield os.path.relpath(os.path.join(root, name), directory)


# -- reading -----------------------------------------------------------------------


def _read(directory: str, path: str, filters: Filters) -> Iterator[_Space]:
    """Nothing for what was never written. Raises ValueError for what is no tablespace."""
    with open(os.path.join(directory, path), "rb", buffering=0) as f:
        first = os.pread(f.fileno(), MAX_PAGE_BYTES, 0)
        if is_unwritten(first):
            return
        geo, state = geometry(first, _FAMILY), os.fstat(f.fileno())
        space = _Space(path, geo, state.st_size // geo.page_size, state.st_blocks * 512)
        if filters.keeps(path):
            old = btree.OldDictionary()
            for number, page in _used_pages(f.fileno(), geo):
                _look_at(space, number, page, old)
            space.names |= old.names()
    yield space


def _used_pages(fd: int, geo: Geometry) -> Iterator[tuple[int, memoryview]]:
    """Pages that are in use, with their numbers; copies of pages in the doublewrite buffer left out."""
    descriptors, at, size = b"", 0, geo.page_size
    first = page_no(os.pread(fd, size, 0))
    while data := os.pread(fd, _READ_BYTES, at):
        view = memoryview(data)
        for offset in range(0, len(data) - size + 1, size):
            page, number = view[offset : offset + size], first + (at + offset) // size
            if btree.page_type(page) in btree.DESCRIPTOR_TYPES:
                descriptors = bytes(page)
            elif page_no(page) == number and not (descriptors and btree.is_free(descriptors, number, geo)):
                yield number, page
        at += len(data)


def _look_at(space: _Space, number: int, page: memoryview, old: btree.OldDictionary) -> None:
    kind, about = btree.page_type(page), btree.index_page(page)
    if about is not None:
        space.indexes.setdefault(about.index_id, _Index()).add(about, number)
        if space.geo.space_id == SYSTEM_SPACE:
            old.feed(page, about)
    elif kind == btree.SDI_TYPE and not space.geo.zip_size:
        space.names |= btree.sdi_names(page)
    space.external += kind in btree.EXTERNAL_TYPES
    space.opaque += kind in _OPAQUE_TYPES


# -- telling -----------------------------------------------------------------------


def _told(space: _Space, names: dict[int, btree.IndexName], filters: Filters) -> Iterator[str]:
    geo = space.geo
    yield (
        f"tablespace: {space.path}, space id: {geo.space_id}, page size: {geo.page_size}, "
        f"pages: {space.pages}, bytes on disk: {space.disk_bytes}"
    )
    own_file = "/" in space.path
    for number, index in sorted(space.indexes.items()):
        name = names.get(number)
        if name is None and not own_file:
            continue  # InnoDB's own: the dictionary, the change buffer
        table = space.path.removesuffix(".ibd") if own_file or name is None else name.table
        if filters.keeps(table):
            yield (
                f"  table: {table}, index: {name.index if name else f'#{number}'}, space id: {geo.space_id}, "
                f"root page: {index.root}, zip size: {geo.zip_size}"
            )
            yield "  real statistics:"
            yield from _levels(index, geo)
            yield ""
    if space.external:
        yield f"     external pages: pages={space.external}"
    if space.opaque:
        yield f"     pages that are encrypted or compressed, and were not looked into: {space.opaque}"


def _levels(index: _Index, geo: Geometry) -> Iterator[str]:
    for number, level in sorted(index.levels.items(), reverse=True):
        share = 100 * level.data_bytes // (level.pages * geo.logical_size)
        pages = f"pages={level.pages}, data={level.data_bytes} bytes, data/pages={share}%"
        yield f"     level {number} pages: {pages}" if number else f"        leaf pages: recs={level.records}, {pages}"
