"""MySQL 8's ``.sdi`` files: the definition of a table that is not InnoDB's, without which it cannot be imported.

Named after the first 16 characters of the table's name and a number (dd/impl/sdi_file.cc), JSON inside.
"""

from __future__ import annotations

import os
import re

import msgspec

from goldcopy.compat.names import to_file_name

_NUMBERED = re.compile(r"(?P<table>[^/]+)_\d+\.sdi\Z")


class _Object(msgspec.Struct):
    name: str


class _Definition(msgspec.Struct):
    dd_object: _Object


def named_by_table(path: str, datadir: str) -> str:
    """The path of a server's file, relative; that of an ``.sdi`` file as if it had the whole name of its table."""
    found = _NUMBERED.search(path)
    if not found:
        return path
    return path[: found.start()] + (_table_in(os.path.join(datadir, path)) or found["table"]) + ".sdi"


def _table_in(path: str) -> str:
    """Encoded as in file names; "" for what cannot be read, or is no table's."""
    try:
        with open(path, "rb") as f:
            return to_file_name(msgspec.json.decode(f.read(), type=_Definition).dd_object.name)
    except (OSError, msgspec.MsgspecError):
        return ""
