"""``--stats``: what the tablespaces of a data directory or a backup hold."""

from __future__ import annotations

import os
from collections.abc import Iterator

from goldcopy.errors import UsageError
from goldcopy.formats import Family
from goldcopy.formats.innodb.page import MAX_PAGE_BYTES, geometry, is_unwritten

_ENDS = (".ibd", ".ibu")
_STARTS = ("ibdata", "undo")
_FAMILY: Family = "mysql"
"""mariadb-backup has no --stats."""


def stats(directory: str) -> Iterator[str]:
    """One line a tablespace: name, id, page size, pages, bytes on disk; a total at the end.

    Raises UsageError when there is no such directory.
    """
    if not os.path.isdir(directory):
        raise UsageError(f"there is no directory {directory}", hint="--datadir or --target-dir names one")
    files = pages = size = 0
    for path in _spaces(directory):
        with open(os.path.join(directory, path), "rb") as f:
            first = f.read(MAX_PAGE_BYTES)
            state = os.fstat(f.fileno())
        if is_unwritten(first):
            continue
        try:
            geo = geometry(first, _FAMILY)
        except ValueError as e:
            yield f"tablespace: {path}, not one of MySQL's: {e}"
            continue
        files, pages, size = files + 1, pages + state.st_size // geo.page_size, size + state.st_blocks * 512
        yield (
            f"tablespace: {path}, space id: {geo.space_id}, page size: {geo.page_size}, "
            f"pages: {state.st_size // geo.page_size}, bytes on disk: {state.st_blocks * 512}"
        )
    yield f"tablespaces: {files}, pages: {pages}, bytes on disk: {size}"


def _spaces(directory: str) -> Iterator[str]:
    for root, dirs, names in os.walk(directory):
        dirs.sort()
        for name in sorted(names):
            at_top = root == directory and name.startswith(_STARTS) and "." not in name
            if name.endswith(_ENDS) or at_top:
                yield os.path.relpath(os.path.join(root, name), directory)
