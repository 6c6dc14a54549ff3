"""Redo in 512-byte blocks: numbers, sums, and a window cut to end exactly at an LSN.

    0 u32    number, (lsn / 512 mod 2^30) + 1; bit 31 marks the first block of a write
    4 u16    bytes used, header included; bit 15: MySQL encrypted what follows the header, sum included
             (MariaDB <= 10.7 encrypts from here on, but not the sum: what a block holds cannot be seen)
    6 u16    offset of the first record group that starts here, 0 = none
    8 u32    checkpoint number, or epoch (R8030)
    508 u32  sum of what is before

Sources: MySQL ``log0constants.h``, ``log0log.ic``; MariaDB 10.5 ``log0log.h``.
"""

from __future__ import annotations

import abc
import struct
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, ClassVar

from goldcopy.formats import Bytes, ReadAt
from goldcopy.formats.bigendian import u16, u32
from goldcopy.formats.redo.layout import Layout, crc
from goldcopy.formats.redo.window import Checkpoint, Circle, LogPiece, Window, pieces
from goldcopy.formats.vector import numpy_or_none

BLOCK = 512
BLOCK_HEADER = 12
SUM_AT = 508
ENCRYPTED = 0x8000
_NUMBER_MASK = 0x7FFFFFFF
_LAST_NUMBER = 0x3FFFFFFF


def block_number(lsn: int) -> int:
    """The number that the block of an LSN carries."""
    return (lsn // BLOCK & _LAST_NUMBER) + 1


def floor(lsn: int) -> int:
    """Start of the block of an LSN."""
    return lsn - lsn % BLOCK


def ceiling(lsn: int) -> int:
    """End of the block that holds the last byte before an LSN."""
    return -(-lsn // BLOCK) * BLOCK


def found_number(block: bytes | bytearray, offset: int = 0) -> int:
    """The number a block carries, without the flush bit."""
    return u32(block, offset) & _NUMBER_MASK


def used_bytes(block: bytes | bytearray) -> int:
    """Bytes used in a block, the header's 12 included."""
    return u16(block, 4) & ~ENCRYPTED


def mariadb_encrypted(header: bytes) -> bool:
    """Whether a log of blocks is encrypted as MariaDB up to 10.7 does it; told by the header's format."""
    return len(header) >= 4 and bool(header[0] & 0x80)


@lru_cache(maxsize=16)
def _heads(count: int) -> struct.Struct:
    return struct.Struct(">" + "I504xI" * count)


def crc_sums(data: bytes | bytearray) -> Sequence[int]:
    """CRC-32C of every block."""
    view = memoryview(data)
    return [crc(view[o : o + SUM_AT]) for o in range(0, len(data), BLOCK)]


def legacy_sum(block: Bytes) -> int:
    """``log_block_calc_checksum_innodb``: MySQL <= 5.6."""
    total, shift = 1, 0
    for byte in bytes(block[:SUM_AT]):
        total = (total & 0x7FFFFFFF) + byte + (byte << shift)
        shift = shift + 1 if shift < 24 else 0
    return total & 0xFFFFFFFF


def legacy_sums(data: bytes | bytearray) -> Sequence[int]:
    """``legacy_sum`` of every block: one matrix product with numpy, else a byte at a time."""
    numpy = numpy_or_none()
    if numpy is None:
        return [legacy_sum(memoryview(data)[o : o + BLOCK]) for o in range(0, len(data), BLOCK)]
    # exact in doubles: 508 * 255 * (2^24 + 1) < 2^53
    rows = numpy.frombuffer(data, numpy.uint8).reshape(-1, BLOCK)
    body = rows[:, : SUM_AT - 1].astype(numpy.float64) @ _weights(numpy)
    last = rows[:, SUM_AT - 1].astype(numpy.int64) * (1 + (1 << (SUM_AT - 1) % 25))
    total = ((body.astype(numpy.int64) + 1) & 0x7FFFFFFF) + last & 0xFFFFFFFF
    sums: list[int] = total.tolist()
    return sums


def _weights(numpy: Any) -> Any:
    return numpy.array([1.0 + (1 << i % 25) for i in range(SUM_AT - 1)])


class BlockLayout(Layout):
    """What the layouts with blocks share.

    ``legacy``: the sum before MySQL 5.7. ``epoch``: R8030's third field. ``may_be_opaque``: MySQL may have
    encrypted single blocks, their sums included.
    """

    legacy: ClassVar[bool] = False
    epoch: ClassVar[bool] = False
    may_be_opaque: ClassVar[bool] = False

    def is_opaque(self, block: bytes | bytearray) -> bool:
        """Whether MySQL encrypted the block: then its sum cannot be checked and its end cannot be moved."""
        return self.may_be_opaque and bool(block[4] & 0x80)

    def first_bad(self, data: bytes | bytearray, lsn: int) -> int | None:
        """Offset of the first block that has not the number and the sum of its place; ``lsn`` is that of byte 0.

        The sum of a block that MySQL encrypted is not looked at.
        """
        count = len(data) // BLOCK
        words = _heads(count).unpack_from(data)
        first = block_number(lsn)
        sums = (legacy_sums if self.legacy else crc_sums)(data)
        if first + count <= _LAST_NUMBER and sums == list(words[1::2]):
            numbers = [word & _NUMBER_MASK for word in words[::2]]
            if numbers == list(range(first, first + count)):
                return None
        for i in range(count):
            offset = i * BLOCK
            opaque = self.may_be_opaque and data[offset + 4] & 0x80
            if words[2 * i] & _NUMBER_MASK != block_number(lsn + offset):
                return offset
            if words[2 * i + 1] != sums[i] and not opaque:
                return offset
        return None

    def sealed(self, block: bytearray) -> bytes:
        """The block with its sum made new."""
        total = legacy_sum(block) if self.legacy else crc(bytes(block[:SUM_AT]))
        struct.pack_into(">I", block, SUM_AT, total)
        return bytes(block)

    def ending_at(self, block: bytes, end: int) -> bytes:
        """The block of ``end``, cut to end there. Raises ValueError when it holds less, or cannot be cut."""
        used = end % BLOCK
        if used <= BLOCK_HEADER:
            return self._empty(end, u32(block, 8))
        if used >= SUM_AT:
            raise ValueError(f"{end} is no LSN: it lies in the trailer of a redo block")
        if used_bytes(block) < used:
            raise ValueError(f"the redo window ends at LSN {floor(end) + used_bytes(block)}, not at {end}")
        if self.is_opaque(block):
            if used_bytes(block) != used:
                raise ValueError(f"the encrypted redo block of LSN {end} holds bytes beyond it")
            return block
        cut = bytearray(block)
        struct.pack_into(">H", cut, 4, used)
        if u16(cut, 6) > used:
            struct.pack_into(">H", cut, 6, 0)
        cut[used:SUM_AT] = bytes(SUM_AT - used)
        return self.sealed(cut)

    def _empty(self, lsn: int, third: int) -> bytes:
        """A block that holds its header only: where the log ends on a block's border."""
        block = bytearray(BLOCK)
        if self.epoch:
            third = 1 + (lsn // BLOCK >> 30)
        struct.pack_into(">IHHI", block, 0, block_number(lsn), BLOCK_HEADER, 0, third)
        return self.sealed(block)

    def trimmed(self, window: Window, read: ReadAt) -> Iterator[tuple[int, bytes]]:
        """The window's blocks, the last one ending at ``window.end``: (offset, bytes)."""
        length = ceiling(window.end) - window.start
        for offset, data in self._checked(window, read):
            if offset + len(data) < length or not window.end % BLOCK:
                yield offset, data
            else:
                yield offset, data[:-BLOCK] + self._last(window, data[-BLOCK:])

    def _last(self, window: Window, block: bytes) -> bytes:
        """The block of ``window.end``. One that MariaDB encrypted stays as it is: it may hold a little more, of
        mini-transactions that the server wrote while no one could commit."""
        if not mariadb_encrypted(window.header):
            return self.ending_at(block, window.end)
        return block if window.end % BLOCK > BLOCK_HEADER else b""

    def _checked(self, window: Window, read: ReadAt) -> Iterator[tuple[int, bytes]]:
        length = ceiling(window.end) - window.start
        border = 0 < window.end % BLOCK <= BLOCK_HEADER
        for offset, data in pieces(read, length):
            # the block of an LSN on a block's border may not have been written yet
            whole = data[:-BLOCK] if border and offset + len(data) == length else data
            bad = self.first_bad(whole, window.start + offset)
            if bad is not None:
                raise ValueError(
                    f"redo block at LSN {window.start + offset + bad}: number {found_number(data, bad)} where "
                    f"{block_number(window.start + offset + bad)} should be, or a wrong sum"
                )
            yield offset, data

    def verify(self, window: Window, read: ReadAt) -> None:
        """Every block's number and sum, and that the last one reaches ``window.end``."""
        for _ in self.trimmed(window, read):
            pass

class CircularLayout(BlockLayout):
    """Block layouts whose files are overwritten in a circle."""

    @abc.abstractmethod
    def circle(self, checkpoint: Checkpoint, file_bytes: int, files: int) -> Circle:
        """Where LSNs lie in ``files`` files of ``file_bytes`` each, anchored by a checkpoint."""


def spread(circle: Circle, names: Sequence[str], lsn: int, data: bytes) -> Iterator[LogPiece]:
    """Lay bytes that begin at ``lsn`` into the files of a circle."""
    done = 0
    for extent in circle.extents(lsn, lsn + len(data)):
        yield LogPiece(names[extent.file], extent.offset, data[done : done + extent.length])
        done += extent.length
