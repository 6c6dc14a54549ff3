"""R105: MariaDB 10.5 to 10.7: one ``ib_logfile0`` of 512-byte blocks, ended by a circle of its own.

Header as in R57 (format ``PHYS``, subformat u32 at 4); the checkpoint's offset counts from the start of the file.
Source: MariaDB 10.5 ``log0log.h``, ``log_t::file``.
"""

from __future__ import annotations

from collections.abc import Iterator

from goldcopy.formats import ReadAt
from goldcopy.formats.redo.blocks import CircularLayout, ceiling
from goldcopy.formats.redo.r57 import HEADER_BYTES, first_header, parse_checkpoint, parse_header
from goldcopy.formats.redo.window import Checkpoint, Circle, Header, LogFile, LogPiece, Window

SPARE_BYTES = 16 << 20
LOG_NAME = "ib_logfile0"


class R105(CircularLayout):
    """MariaDB 10.5 to 10.7."""

    key = "R105"

    def header(self, first: bytes) -> Header:
        """The header carries a sum."""
        return parse_header(first)

    def checkpoint(self, block: bytes) -> Checkpoint | None:
        """None when the sum is wrong."""
        return parse_checkpoint(block)

    def circle(self, checkpoint: Checkpoint, file_bytes: int, files: int) -> Circle:
        """Offsets count from the checkpoint's."""
        at = checkpoint.offset - HEADER_BYTES
        return Circle(checkpoint.lsn, at, file_bytes - HEADER_BYTES, files, HEADER_BYTES)

    def files(self, window: Window, *, force_fresh: bool = False) -> list[LogFile]:
        """One file with room to go on."""
        size = HEADER_BYTES + ceiling(window.end) - window.start + SPARE_BYTES
        return [LogFile(LOG_NAME, -(-size // 65536) * 65536)]

    def rebuild(self, window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
        """A new file that begins with the block of the checkpoint."""
        offset = HEADER_BYTES + window.checkpoint - window.start
        yield LogPiece(LOG_NAME, 0, first_header(window, offset, start=window.start))
        for at, data in self.trimmed(window, read):
            yield LogPiece(LOG_NAME, HEADER_BYTES + at, data)
