"""The mark in a MariaDB redo log that says: this is the first start after a restore."""

from __future__ import annotations

import os

import fastcrc

_HEADER_BYTES, _CREATOR_AT, _CREATOR_BYTES, _SUM_AT = 512, 16, 32, 508
_MARK = b"Backup "
# MariaDB 10.5-10.7 and 10.8+, plain and encrypted (formats.md 2)
_FORMATS = {0x50485953, 0xD0485953, 0x50687973, 0xF09F979D}


def mark_restored(path: str) -> None:
    """Write ``Backup`` into the creator field of a log's header (log0recv.cc, srv_start_after_restore).

    Backups hold no ``#sql`` tables; a server that reads this drops what the dictionary still says of them, without
    complaint. Logs of other layouts, and the empty one of MariaDB 10.5, have no such field and stay as they are.
    """
    with open(path, "r+b") as f:
        header = bytearray(f.read(_HEADER_BYTES))
        if len(header) < _HEADER_BYTES or int.from_bytes(header[:4], "big") not in _FORMATS:
            return
        creator = bytes(header[_CREATOR_AT : _CREATOR_AT + _CREATOR_BYTES]).split(b"\0")[0]
        if creator.startswith(_MARK):
            return
        version = creator.removeprefix(b"MariaDB ")
        header[_CREATOR_AT : _CREATOR_AT + _CREATOR_BYTES] = (_MARK + version)[: _CREATOR_BYTES - 1].ljust(
            _CREATOR_BYTES, b"\0"
        )
        header[_SUM_AT:] = fastcrc.crc32.iscsi(bytes(header[:_SUM_AT])).to_bytes(4, "big")
        f.seek(0)
        f.write(header)
        f.flush()
        os.fsync(f.fileno())
