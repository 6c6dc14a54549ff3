"""What every redo layout must be able to do. One module per layout implements it."""

from __future__ import annotations

import abc
import struct
from collections.abc import Iterator
from typing import ClassVar

from fastcrc import crc32

from goldcopy.formats import ReadAt
from goldcopy.formats.bigendian import u32
from goldcopy.formats.redo.window import Checkpoint, Header, LogFile, LogPiece, Window

crc = crc32.iscsi
CREATOR = b"Backup Goldcopy"
HEADER_SUM_AT = 508


def crc_sealed(block: bytearray, size: int) -> bytes:
    """The block with the CRC-32C of everything before it in its last four bytes."""
    struct.pack_into(">I", block, size - 4, crc(bytes(block[: size - 4])))
    return bytes(block)


def crc_right(block: bytes, size: int) -> bool:
    """Whether the last four of ``size`` bytes are the CRC-32C of those before."""
    return len(block) >= size and u32(block, size - 4) == crc(block[: size - 4])


def creator_text(header: bytes) -> str:
    """The creator string of a header, for messages."""
    return header[16:48].split(b"\0")[0].decode("ascii", "replace")


class Layout(abc.ABC):
    """One on-disk layout of the redo log.

    ``key``: its name in manifests. ``block``: 512, or 1 for a stream. ``header_bytes``: before the data of each
    file. ``checkpoint_at``, ``checkpoint_bytes``: where the two checkpoint blocks lie and how long they are.
    """

    key: ClassVar[str]
    block: ClassVar[int] = 512
    header_bytes: ClassVar[int] = 2048
    checkpoint_at: ClassVar[tuple[int, int]] = (512, 1536)
    checkpoint_bytes: ClassVar[int] = 512

    @abc.abstractmethod
    def header(self, first: bytes) -> Header:
        """Read the first 512 bytes of a log file. Raises ValueError when they are damaged."""

    @abc.abstractmethod
    def checkpoint(self, block: bytes) -> Checkpoint | None:
        """Read a checkpoint block; None when its sum is wrong (it is being written, or never was)."""

    @abc.abstractmethod
    def files(self, window: Window, *, force_fresh: bool = False) -> list[LogFile]:
        """The files of the rebuilt log and their sizes."""

    @abc.abstractmethod
    def rebuild(self, window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
        """The log that makes the server recover exactly to ``window.end``, in pieces, memory bounded.

        Raises ValueError, naming the LSN, where the stored window is not whole.
        """

    @abc.abstractmethod
    def verify(self, window: Window, read: ReadAt) -> None:
        """Check every number and sum that the stored window carries. Raises ValueError naming the LSN."""


def newest(found: list[Checkpoint]) -> Checkpoint | None:
    """The valid checkpoint that counts: the greater number, else the greater LSN."""
    return max(found, key=lambda c: (c.number, c.lsn), default=None)
