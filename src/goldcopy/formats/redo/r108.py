"""R108: MariaDB >= 10.8: one ``ib_logfile0``, a stream of mini-transactions without blocks.

Header: format u32 at 0, zero u32 at 4, ``first_lsn`` u64 at 8 (LSN of byte 12288 in generation 0), creator at 16,
encryption parameters from 48, sum at 508. Checkpoint blocks of 64 bytes at 4096 and 8192: LSN u64, LSN of its
FILE_CHECKPOINT record u64, zeros, sum at 60. The stream is ended by the first terminator that has the sequence bit
of another round. Source: MariaDB 10.8 ``log0log.h``, ``log0log.cc`` ``log_t::write_checkpoint``, ``log0recv.cc``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from goldcopy.formats import Lsn, ReadAt
from goldcopy.formats.bigendian import u32, u64
from goldcopy.formats.redo.layout import CREATOR, HEADER_SUM_AT, Layout, crc_right, crc_sealed, creator_text
from goldcopy.formats.redo.mtr import Walker
from goldcopy.formats.redo.window import (
    Checkpoint,
    Circle,
    Extent,
    Header,
    LogFile,
    LogPiece,
    Window,
    pieces,
)

HEADER_BYTES = 12288
LOG_NAME = "ib_logfile0"
SPARE_BYTES = 64 << 20
FORMAT = 0x50687973
ENCRYPTED_FORMATS = (FORMAT | 1 << 31, 0xF09F979D)
_ENCRYPTION_AT = 48


def circle(first_lsn: int, file_bytes: int) -> Circle:
    """Where LSNs lie in a log of ``file_bytes``."""
    return Circle(first_lsn, 0, file_bytes - HEADER_BYTES, 1, HEADER_BYTES)


def fits_as_it_lay(window: Window) -> bool:
    """Whether the window can go back to where it lay: then nothing of it need be parsed.

    Some room must be left, or the server that recovers could not write its first own checkpoint.
    """
    return 0 < window.end - window.checkpoint <= window.capacity - window.capacity // 8


class R108(Layout):
    """MariaDB 10.8 and later."""

    key = "R108"
    block = 1
    header_bytes = HEADER_BYTES
    checkpoint_at = (4096, 8192)
    checkpoint_bytes = 64

    def header(self, first: bytes) -> Header:
        """The header carries a sum."""
        if not crc_right(first, 512):
            raise ValueError("the header of the redo log is damaged: wrong checksum")
        version = u32(first, 0)
        return Header(version, Lsn(u64(first, 8)), creator_text(first), version in ENCRYPTED_FORMATS)

    def checkpoint(self, block: bytes) -> Checkpoint | None:
        """None when the sum is wrong."""
        if not crc_right(block, 64) or not u64(block, 0):
            return None
        return Checkpoint(Lsn(u64(block, 0)), Lsn(u64(block, 8)), block=block)

    def files(self, window: Window, *, force_fresh: bool = False) -> list[LogFile]:
        """One file: as large as the source's when the window goes back to where it lay, else made to measure."""
        if fits_as_it_lay(window) and not force_fresh:
            return [LogFile(LOG_NAME, window.capacity + HEADER_BYTES)]
        size = HEADER_BYTES + window.end - window.checkpoint + SPARE_BYTES
        return [LogFile(LOG_NAME, -(-size // 4096) * 4096)]

    def rebuild(self, window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
        """The window where it lay; or, with ``force_fresh`` and when it is too long, a log that begins with it.

        The latter is generation 0 throughout, so every sequence bit must become 1: that is what is walked for,
        and every mini-transaction's sum is checked on the way.
        """
        if fits_as_it_lay(window) and not force_fresh:
            yield LogPiece(LOG_NAME, 0, self._header(window, window.first_lsn))
            yield from self._as_it_lay(window, read)
        else:
            yield LogPiece(LOG_NAME, 0, self._header(window, window.checkpoint))
            yield from self._fresh(window, read)

    def verify(self, window: Window, read: ReadAt) -> None:
        """Walk all of the window: every mini-transaction's sum and sequence bit, and that it ends with one."""
        walker = self._walker(window)
        for _, data in self._stored(window, read):
            walker.feed(data)
        walker.finish()

    def _stored(self, window: Window, read: ReadAt) -> Iterator[tuple[int, bytes]]:
        return pieces(read, window.end - window.start, start=window.checkpoint - window.start)

    def _as_it_lay(self, window: Window, read: ReadAt) -> Iterator[LogPiece]:
        lies = circle(window.first_lsn, window.capacity + HEADER_BYTES)
        for offset, data in self._stored(window, read):
            lsn, done = window.start + offset, 0
            extent: Extent
            for extent in lies.extents(lsn, lsn + len(data)):
                yield LogPiece(LOG_NAME, extent.offset, data[done : done + extent.length])
                done += extent.length

    def _fresh(self, window: Window, read: ReadAt) -> Iterator[LogPiece]:
        walker = self._walker(window)
        for _, data in self._stored(window, read):
            at = HEADER_BYTES + walker.lsn - window.checkpoint
            yield LogPiece(LOG_NAME, at, bytes(walker.feed(data, set_bits=True)))
        walker.finish()

    def _walker(self, window: Window) -> Walker:
        encrypted = u32(window.header, 0) in ENCRYPTED_FORMATS
        return Walker(window.checkpoint, window.first_lsn, window.capacity, encrypted=encrypted)

    def _header(self, window: Window, first_lsn: int) -> bytes:
        header = bytearray(HEADER_BYTES)
        block = bytearray(512)
        block[:4] = window.header[:4]
        struct.pack_into(">Q", block, 8, first_lsn)
        block[16 : 16 + len(CREATOR)] = CREATOR
        block[_ENCRYPTION_AT:HEADER_SUM_AT] = window.header[_ENCRYPTION_AT:HEADER_SUM_AT]
        header[:512] = crc_sealed(block, 512)
        checkpoint = bytearray(64)
        struct.pack_into(">QQ", checkpoint, 0, window.checkpoint, window.checkpoint_end)
        for at in self.checkpoint_at:
            header[at : at + 64] = crc_sealed(checkpoint, 64)
        return bytes(header)
