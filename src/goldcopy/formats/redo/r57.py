"""R57: MySQL 5.7.9 to 8.0.29 and MariaDB 10.2 to 10.4: circular files as in R56, blocks and header with CRC-32C.

Header: format u32 at 0, start LSN u64 at 8, creator at 16, flags u32 at 48 (MySQL 8.0.21: bit 0 = redo logging was
switched off), sum at 508. Checkpoint blocks at 512 and 1536 of file 0: number u64 at 0, LSN u64 at 8, offset with
headers u64 at 16, log buffer size u64 at 24, MariaDB's end LSN u64 at 496, sum at 508; a MariaDB log that is
encrypted keeps its key data from 32 on. MySQL's encryption block lies at 1024 of file 0.
Sources: MySQL 5.7 and 8.0.20 ``log0log.h``, ``log0constants.h``; MariaDB 10.4 ``log0log.h``, ``log0crypt.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from goldcopy.formats import Lsn, ReadAt
from goldcopy.formats.bigendian import u32, u64
from goldcopy.formats.redo.blocks import BLOCK, CircularLayout, mariadb_encrypted, spread
from goldcopy.formats.redo.layout import CREATOR, crc_right, crc_sealed, creator_text
from goldcopy.formats.redo.r56 import data_offset, log_files, offset_with_headers
from goldcopy.formats.redo.window import Checkpoint, Circle, Header, LogFile, LogPiece, Window

HEADER_BYTES = 2048
LOG_BUFFER_BYTES = 16 << 20
ENCRYPTION_AT = 1024
MARIADB_ENCRYPTED = 1 << 31
_MARIADB_FORMATS = (103, 104, 0x50485953)
_END_LSN_AT = 496
_REDO_DISABLED = 1


def is_mariadb(header_format: int) -> bool:
    """Whether a format number is MariaDB's (10.2 shares number 1 with MySQL 5.7 and needs no distinction)."""
    return header_format in _MARIADB_FORMATS or bool(header_format & MARIADB_ENCRYPTED)


def parse_header(first: bytes) -> Header:
    """A header that carries a sum. Raises ValueError when that is wrong."""
    if not crc_right(first, BLOCK):
        raise ValueError("the header of the redo log is damaged: wrong checksum")
    version = u32(first, 0)
    encrypted = bool(version & MARIADB_ENCRYPTED)
    disabled = not is_mariadb(version) and bool(u32(first, 48) & _REDO_DISABLED)
    return Header(version, Lsn(u64(first, 8)), creator_text(first), encrypted, disabled)


def parse_checkpoint(block: bytes) -> Checkpoint | None:
    """A checkpoint block with number, LSN and offset; None when its sum is wrong."""
    if not crc_right(block, BLOCK) or not u64(block, 8):
        return None
    lsn, end_lsn = u64(block, 8), u64(block, _END_LSN_AT)
    # MySQL has no end LSN; what lies there in its blocks is zero
    return Checkpoint(Lsn(lsn), Lsn(end_lsn), u64(block, 0), u64(block, 16), block)


def checkpoint_block(window: Window, offset: int) -> bytes:
    """The checkpoint of a rebuilt log, which lies at ``offset`` of its files.

    An encrypted MariaDB log keeps the key data of the source's own checkpoint block.
    """
    encrypted = mariadb_encrypted(window.header) and len(window.encryption) == BLOCK
    block = bytearray(window.encryption if encrypted else BLOCK)
    struct.pack_into(">QQQQ", block, 0, window.checkpoint_no, window.checkpoint, offset, LOG_BUFFER_BYTES)
    struct.pack_into(">Q", block, _END_LSN_AT, window.checkpoint_end)
    return crc_sealed(block, BLOCK)


def first_header(window: Window, offset: int, *, start: int) -> bytes:
    """The 2048 bytes before the data of a rebuilt log's first file; ``start``: LSN of the first data byte."""
    header = bytearray(HEADER_BYTES)
    header[:BLOCK] = plain_header(window, start)
    block = checkpoint_block(window, offset)
    header[512:1024] = header[1536:2048] = block
    if window.encryption and not is_mariadb(u32(window.header, 0)):
        header[ENCRYPTION_AT : ENCRYPTION_AT + BLOCK] = window.encryption
    return bytes(header)


def plain_header(window: Window, start: int) -> bytes:
    """The header block of a rebuilt file: the source's format, our start LSN."""
    block = bytearray(BLOCK)
    block[:8] = window.header[:8]
    struct.pack_into(">Q", block, 8, start)
    block[16 : 16 + len(CREATOR)] = CREATOR
    return crc_sealed(block, BLOCK)


class R57(CircularLayout):
    """MySQL 5.7.9 to 8.0.29, MariaDB 10.2 to 10.4."""

    key = "R57"
    may_be_opaque = True

    def header(self, first: bytes) -> Header:
        """The header carries a sum."""
        return parse_header(first)

    def checkpoint(self, block: bytes) -> Checkpoint | None:
        """None when the sum is wrong."""
        return parse_checkpoint(block)

    def circle(self, checkpoint: Checkpoint, file_bytes: int, files: int) -> Circle:
        """Offsets count from the checkpoint's."""
        at = data_offset(checkpoint.offset, file_bytes)
        return Circle(checkpoint.lsn, at, file_bytes - HEADER_BYTES, files, HEADER_BYTES)

    def files(self, window: Window, *, force_fresh: bool = False) -> list[LogFile]:
        """Two files: MySQL 5.7 refuses to start with one."""
        return log_files(window)

    def rebuild(self, window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
        """A new pair of files that begins with the block of the checkpoint."""
        files = log_files(window)
        circle = Circle(window.start, 0, files[0].size - HEADER_BYTES, len(files), HEADER_BYTES)
        offset = offset_with_headers(window.checkpoint - window.start, circle.data_bytes)
        yield LogPiece(files[0].name, 0, first_header(window, offset, start=window.start))
        for i, file in enumerate(files[1:], 1):
            yield LogPiece(file.name, 0, plain_header(window, window.start + i * circle.data_bytes))
        names = [file.name for file in files]
        for at, data in self.trimmed(window, read):
            yield from spread(circle, names, window.start + at, data)
