"""R56: the redo log of MySQL 5.0 to 5.6 and MariaDB up to 10.1.

Files ``ib_logfile0..n-1`` of equal size. Header: group id u32 at 0, start LSN u64 at 4, file number u32 at 12,
32 bytes for "created by hot backup" at 16; it has no sum. Checkpoint blocks at 512 and 1536 of file 0: number u64
at 0, LSN u64 at 8, low half of the offset u32 at 16, log buffer size u32 at 20, archived LSN u64 at 24, folds at
288 and 292, high half of the offset u32 at 304. Source: MySQL 5.6 ``log0log.h``, ``log_group_checkpoint``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from msgspec.structs import replace

from goldcopy.formats import Lsn, ReadAt
from goldcopy.formats.bigendian import u32, u64
from goldcopy.formats.innodb.sums import fold
from goldcopy.formats.redo.blocks import BLOCK, BLOCK_HEADER, CircularLayout, ceiling, spread
from goldcopy.formats.redo.window import Checkpoint, Circle, Header, LogFile, LogPiece, Window

HEADER_BYTES = 2048
FILES = 2
# room behind the window: the server refuses a log that is small for innodb_thread_concurrency
SPARE_BYTES = 16 << 20
LOG_BUFFER_BYTES = 8 << 20
_FOLD_1_AT, _FOLD_2_AT = 288, 292
_NEVER_ARCHIVED = b"\xff" * 8
_LABEL = b"ibbackup"


def data_offset(offset: int, file_bytes: int) -> int:
    """A checkpoint's offset, which counts the headers of the files, as an offset into their data."""
    return offset - HEADER_BYTES * (1 + offset // file_bytes)


def offset_with_headers(at: int, data_bytes: int) -> int:
    """The inverse of ``data_offset``; ``data_bytes``: of one file, without its header."""
    return at + HEADER_BYTES * (1 + at // data_bytes)


def log_files(window: Window) -> list[LogFile]:
    """Two files of a whole number of MiB that hold the window and room to go on."""
    data = ceiling(window.end) - window.start + SPARE_BYTES
    size = -(-(data // FILES + HEADER_BYTES + BLOCK) // (1 << 20)) << 20
    return [LogFile(f"ib_logfile{i}", size) for i in range(FILES)]


def empty_after(window: Window, lsn: Lsn) -> Window:
    """A window without records, for what was recovered up to ``lsn``: it begins with the next block, as InnoDB lets a
    new log begin (``log0recv.cc``, ``recv_reset_logs``). Whoever reads it is given zeros."""
    start = Lsn(ceiling(lsn))
    first = Lsn(start + BLOCK_HEADER)
    return replace(window, start=start, checkpoint=first, end=first)


class R56(CircularLayout):
    """MySQL 5.0 to 5.6."""

    key = "R56"
    legacy = True

    def header(self, first: bytes) -> Header:
        """The header has neither format nor sum: all that can be seen is that it begins with group 0."""
        if len(first) < BLOCK or u32(first, 0):
            raise ValueError("not a redo log header of MySQL 5.6 or before")
        return Header(0, Lsn(u64(first, 4)), first[16:48].split(b"\0")[0].decode("ascii", "replace").strip())

    def checkpoint(self, block: bytes) -> Checkpoint | None:
        """Both folds must fit."""
        if len(block) < BLOCK or not u64(block, 8):
            return None
        if fold(block[:_FOLD_1_AT]) != u32(block, _FOLD_1_AT):
            return None
        if fold(block[8:_FOLD_2_AT]) != u32(block, _FOLD_2_AT):
            return None
        offset = u32(block, 304) << 32 | u32(block, 16)
        return Checkpoint(Lsn(u64(block, 8)), number=u64(block, 0), offset=offset, block=block)

    def circle(self, checkpoint: Checkpoint, file_bytes: int, files: int) -> Circle:
        """Offsets count from the checkpoint's."""
        at = data_offset(checkpoint.offset, file_bytes)
        return Circle(checkpoint.lsn, at, file_bytes - HEADER_BYTES, files, HEADER_BYTES)

    def files(self, window: Window, *, force_fresh: bool = False) -> list[LogFile]:
        """Two files; the server must be started with exactly their size (5.6.8 and later resize otherwise)."""
        return log_files(window)

    def rebuild(self, window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
        """A new pair of files that begins with the block of the checkpoint."""
        files = log_files(window)
        circle = Circle(window.start, 0, files[0].size - HEADER_BYTES, len(files), HEADER_BYTES)
        for i, file in enumerate(files):
            yield LogPiece(file.name, 0, self._header(window, i, circle))
        names = [file.name for file in files]
        for offset, data in self.trimmed(window, read):
            yield from spread(circle, names, window.start + offset, data)

    def _header(self, window: Window, file: int, circle: Circle) -> bytes:
        header = bytearray(HEADER_BYTES)
        struct.pack_into(">IQ", header, 0, 0, window.start + file * circle.data_bytes)
        if file == 0:
            header[16 : 16 + len(_LABEL)] = _LABEL
            block = self._checkpoint_block(window, circle)
            for at in self.checkpoint_at:
                header[at : at + BLOCK] = block
        return bytes(header)

    def _checkpoint_block(self, window: Window, circle: Circle) -> bytes:
        offset = offset_with_headers(window.checkpoint - window.start, circle.data_bytes)
        block = bytearray(BLOCK)
        low, high = offset & 0xFFFFFFFF, offset >> 32
        struct.pack_into(
            ">QQII8s", block, 0, window.checkpoint_no, window.checkpoint, low, LOG_BUFFER_BYTES, _NEVER_ARCHIVED
        )
        struct.pack_into(">I", block, 304, high)
        struct.pack_into(">I", block, _FOLD_1_AT, fold(block[:_FOLD_1_AT]))
        struct.pack_into(">I", block, _FOLD_2_AT, fold(block[8:_FOLD_2_AT]))
        return bytes(block)
