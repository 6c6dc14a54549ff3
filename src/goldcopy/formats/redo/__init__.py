"""Redo log layouts: headers, checkpoints, where an LSN lies, and logs rebuilt from a raw window.

One module per layout (R56, R57, R105, R8030: 512-byte blocks; R108: a stream), told apart by the bytes of a log
file, never by a server version. ``LAYOUTS`` is the table; ``window`` has the values that travel.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import MappingProxyType

from goldcopy.formats import ReadAt
from goldcopy.formats.bigendian import u32
from goldcopy.formats.redo.layout import Layout
from goldcopy.formats.redo.r56 import R56
from goldcopy.formats.redo.r57 import MARIADB_ENCRYPTED, R57
from goldcopy.formats.redo.r105 import R105
from goldcopy.formats.redo.r108 import ENCRYPTED_FORMATS, FORMAT, R108
from goldcopy.formats.redo.r8030 import R8030
from goldcopy.formats.redo.window import Checkpoint, LogFile, LogPiece, Window

__all__ = [
    "LAYOUTS",
    "Checkpoint",
    "Layout",
    "LogFile",
    "LogPiece",
    "Window",
    "identify",
    "layout_of",
    "log_files",
    "rebuild",
    "verify",
]

LAYOUTS: Mapping[str, Layout] = MappingProxyType(
    {layout.key: layout for layout in (R56(), R57(), R105(), R108(), R8030())}
)
_R57_FORMATS = frozenset({1, 2, 3, 4, 5, 103, 104})


def identify(first: bytes) -> str:
    """Key of the layout of a log file that begins with these bytes (512 will do). Raises ValueError if unknown."""
    if len(first) < 512:
        raise ValueError(f"{len(first)} bytes are no redo log header")
    version = u32(first, 0)
    if version == FORMAT or version in ENCRYPTED_FORMATS:
        return R108.key
    plain = version & ~MARIADB_ENCRYPTED
    if plain == 0x50485953:
        return R105.key
    if version == 6:
        return R8030.key
    if version == 0 and any(first[4:12]):
        return R56.key
    if plain in _R57_FORMATS:
        return R57.key
    raise ValueError(f"a redo log of an unknown format (0x{version:08x})")


def layout_of(window: Window) -> Layout:
    """The layout of a window. Raises ValueError when this program does not know it."""
    try:
        return LAYOUTS[window.layout]
    except KeyError:
        raise ValueError(f"unknown redo layout {window.layout!r}") from None


def log_files(window: Window, *, force_fresh: bool = False) -> list[LogFile]:
    """Names and sizes of the files that ``rebuild`` makes."""
    return layout_of(window).files(window, force_fresh=force_fresh)


def rebuild(window: Window, read: ReadAt, *, force_fresh: bool = False) -> Iterator[LogPiece]:
    """The redo log that makes the server recover to exactly ``window.end``, piece by piece.

    ``read``: gives the stored window's bytes. ``force_fresh``: let the log begin at the checkpoint, as the peers'
    backup directories want it, even where the window could go back to where it lay (R108). Raises ValueError,
    naming the LSN, where the window is not whole.
    """
    return layout_of(window).rebuild(window, read, force_fresh=force_fresh)


def verify(window: Window, read: ReadAt) -> None:
    """Check that a stored window is whole: all numbers, all sums. Raises ValueError naming the LSN."""
    layout_of(window).verify(window, read)
