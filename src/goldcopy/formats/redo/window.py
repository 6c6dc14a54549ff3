"""The values that redo code passes around: a window of raw redo, and the pieces of a log rebuilt from it."""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from goldcopy.formats import Lsn, ReadAt

PIECE_BYTES = 1 << 20
_NO_LSN = Lsn(0)


class Window(msgspec.Struct, frozen=True, kw_only=True):
    """Raw redo from ``start`` to ``end``, and what must be known of the log it comes from.

    ``layout``: key of ``LAYOUTS``. ``start``: LSN of the first stored byte (block aligned where the layout has
    blocks). ``checkpoint``: where recovery starts. ``checkpoint_end``: LSN of the checkpoint's own record
    (MariaDB, else 0). ``checkpoint_no``: its number (0 where the layout has none). ``header``: first 512 bytes of
    the source's log. ``first_lsn``, ``capacity``: the geometry by which sequence bits were written (R108);
    capacity 0 = the log was replaced meanwhile, so that they follow no single geometry. ``encryption``: MySQL's
    encryption block, or the checkpoint block of a MariaDB log whose blocks are encrypted; b"" without.
    """

    layout: str
    start: Lsn
    checkpoint: Lsn
    checkpoint_end: Lsn = _NO_LSN
    checkpoint_no: int = 0
    end: Lsn
    header: bytes = b""
    first_lsn: Lsn = _NO_LSN
    capacity: int = 0
    encryption: bytes = b""


class Checkpoint(msgspec.Struct, frozen=True):
    """A checkpoint as the log tells it.

    ``end_lsn``: where its own record lies (MariaDB, else 0). ``number``: 0 where the layout has none. ``offset``:
    its place in the log files, in the layout's own counting. ``block``: the bytes it was read from.
    """

    lsn: Lsn
    end_lsn: Lsn = _NO_LSN
    number: int = 0
    offset: int = 0
    block: bytes = b""


class Header(msgspec.Struct, frozen=True):
    """What the start of a log file says. ``first_lsn``: LSN of its first data byte (of generation 0 in R108)."""

    format: int
    first_lsn: Lsn
    creator: str
    encrypted: bool = False
    redo_disabled: bool = False


class LogFile(msgspec.Struct, frozen=True):
    """A file of a rebuilt log: name relative to the log directory, size in bytes (what no piece covers is zero)."""

    name: str
    size: int


class LogPiece(msgspec.Struct, frozen=True):
    """Bytes of a rebuilt log and where they go."""

    file: str
    offset: int
    data: bytes


class Extent(msgspec.Struct, frozen=True):
    """A contiguous run of log bytes: index of the file, offset in it, length."""

    file: int
    offset: int
    length: int


class Circle(msgspec.Struct, frozen=True):
    """Where LSNs lie in circular log files of equal size.

    ``anchor_lsn`` lies at data offset ``anchor`` (headers not counted) of ``files`` files that hold
    ``data_bytes`` each, behind ``header_bytes``.
    """

    anchor_lsn: int
    anchor: int
    data_bytes: int
    files: int
    header_bytes: int

    @property
    def capacity(self) -> int:
        """Bytes of redo that the files hold."""
        return self.data_bytes * self.files

    def extents(self, start: int, end: int) -> Iterator[Extent]:
        """Where the bytes of ``[start, end)`` lie, in order."""
        while start < end:
            at = (self.anchor + start - self.anchor_lsn) % self.capacity
            file, within = divmod(at, self.data_bytes)
            length = min(end - start, self.data_bytes - within)
            yield Extent(file, self.header_bytes + within, length)
            start += length


def pieces(read: ReadAt, length: int, *, start: int = 0) -> Iterator[tuple[int, bytes]]:
    """The stored window from ``start`` to ``length`` in pieces: (offset, bytes). Raises ValueError when short."""
    for offset in range(start, length, PIECE_BYTES):
        want = min(PIECE_BYTES, length - offset)
        data = read(offset, want)
        if len(data) != want:
            raise ValueError(f"the redo window is cut short at byte {offset + len(data)} of {length}")
        yield offset, data
