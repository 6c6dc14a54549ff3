"""MySQL 8's ``.sdi`` files: the definition of a table that is not InnoDB's, without which it cannot be imported.

Named after the first 16 characters of the table's name and a number (dd/impl/sdi_file.cc), JSON inside.
"""

from __future__ import annotations

import glob
import os
import re

import msgspec

_NUMBERED = re.compile(r"(?P<name>[^/]+)_\d+\.sdi\Z")
_NAME_CHARACTERS = 16
_UNENCODED = re.compile(r"[0-9A-Za-z_]+")


class _Object(msgspec.Struct):
    name: str


class _Definition(msgspec.Struct):
    dd_object: _Object


def table_files(path: str, datadir: str) -> list[str]:
    """A server's file, relative; instead of an ``.sdi`` file those of its table, by their whole names.

    More than one table where a long name is encoded in file names: all whose names begin alike.
    """
    found = _NUMBERED.search(path)
    if not found:
        return [path]
    database, begin = path[: found.start()], found["name"]
    name = _table_in(os.path.join(datadir, path))
    if len(name) <= _NAME_CHARACTERS:
        return [database + begin]
    if _UNENCODED.fullmatch(name):
        return [database + name]
    there = glob.glob(glob.escape(begin) + "*", root_dir=os.path.join(datadir, database))
    return [database + file for file in there]


def _table_in(path: str) -> str:
    """Its name as SQL has it; "" for what cannot be read, or is no table's."""
    try:
        with open(path, "rb") as f:
            return msgspec.json.decode(f.read(), type=_Definition).dd_object.name
    except (OSError, msgspec.MsgspecError):
        return ""
