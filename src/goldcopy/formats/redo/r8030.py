"""R8030: MySQL >= 8.0.30: a directory of files ``#innodb_redo/#ib_redoN`` that follow one another.

Header of each file: format u32 at 0 (6), log uuid u32 at 4, start LSN u64 at 8, creator at 16, flags u32 at 48, sum
at 508. Checkpoint blocks at 512 and 1536 of every file: LSN u64 at 8, sum at 508. Encryption block at 1024. The
third field of a block is the epoch. Sources: MySQL 8.0.30 ``log0constants.h``, ``log0files_io.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from goldcopy.formats import Lsn, ReadAt
from goldcopy.formats.bigendian import u64
from goldcopy.formats.redo.blocks import BLOCK, BlockLayout, ceiling
from goldcopy.formats.redo.layout import crc_right, crc_sealed
from goldcopy.formats.redo.r57 import ENCRYPTION_AT, HEADER_BYTES, parse_header
from goldcopy.formats.redo.window import Checkpoint, Header, LogFile, LogPiece, Window

DIRECTORY = "#innodb_redo"
SPARE_BYTES = 4 << 20
# any number will do: the server renumbers; far from 0 so that it never meets a name of its own
LOG_NAME = f"{DIRECTORY}/#ib_redo10"


class R8030(BlockLayout):
    """MySQL 8.0.30 and later."""

    key = "R8030"
    epoch = True
    may_be_opaque = True

    def header(self, first: bytes) -> Header:
        """The header carries a sum."""
        return parse_header(first)

    def checkpoint(self, block: bytes) -> Checkpoint | None:
        """None when the sum is wrong. Files are recycled: it counts only if its LSN lies in the same file."""
        if not crc_right(block, BLOCK) or not u64(block, 8):
            return None
        return Checkpoint(Lsn(u64(block, 8)), block=block)

    def files(self, window: Window, *, force_fresh: bool = False) -> list[LogFile]:
        """One file; the server makes of it what innodb_redo_log_capacity says."""
        size = HEADER_BYTES + ceiling(window.end) - window.start + SPARE_BYTES
        return [LogFile(LOG_NAME, -(-size // 65536) * 65536)]

    def rebuild(self, window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
        """A new file that begins with the block of the checkpoint."""
        yield LogPiece(LOG_NAME, 0, self._header(window))
        for at, data in self.trimmed(window, read):
            yield LogPiece(LOG_NAME, HEADER_BYTES + at, data)

    def _header(self, window: Window) -> bytes:
        """The source's format, uuid and creator: other creators switch recovery into branches of their own."""
        header = bytearray(HEADER_BYTES)
        block = bytearray(BLOCK)
        block[:48] = window.header[:48]
        struct.pack_into(">Q", block, 8, window.start)
        header[:BLOCK] = crc_sealed(block, BLOCK)
        checkpoint = bytearray(BLOCK)
        struct.pack_into(">Q", checkpoint, 8, window.checkpoint)
        header[512:1024] = header[1536:2048] = crc_sealed(checkpoint, BLOCK)
        if window.encryption:
            header[ENCRYPTION_AT : ENCRYPTION_AT + BLOCK] = window.encryption
        return bytes(header)
