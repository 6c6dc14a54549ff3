"""What a MariaDB redo log says of a restore: by its header, or by being empty, that a first start is ahead."""

from __future__ import annotations

import os

import fastcrc

from goldcopy.formats.bigendian import u64
from goldcopy.formats.redo import LAYOUTS, identify
from goldcopy.formats.redo.layout import newest

_HEADER_BYTES, _CREATOR_AT, _CREATOR_BYTES, _SUM_AT = 512, 16, 32, 508
_MARK = b"Backup "
_FLUSH_LSN_AT = 26
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


def empty_when_spent(path: str, system_path: str) -> None:
    """Empty a log of MariaDB 10.5 to 10.7 that the data files need no more.

    Their own tool leaves such a log of 0 bytes: the server makes one of its own size, goes on at the LSN that a clean
    shutdown wrote into page 0 of the system tablespace, and knows by it, too, that this is the first start after a
    restore (srv0start.cc, find_and_check_log_file). ``system_path``: that tablespace's first file. A log with a
    checkpoint anywhere else, or of another layout, stays as it is.
    """
    layout = LAYOUTS["R105"]
    with open(path, "r+b") as log, open(system_path, "rb") as system:
        head = log.read(layout.header_bytes)
        if not head or identify(head) != layout.key:
            return
        blocks = (layout.checkpoint(head[at : at + layout.checkpoint_bytes]) for at in layout.checkpoint_at)
        last = newest([checkpoint for checkpoint in blocks if checkpoint is not None])
        if last is not None and last.lsn == u64(system.read(_FLUSH_LSN_AT + 8), _FLUSH_LSN_AT):
            log.truncate(0)
            os.fsync(log.fileno())
