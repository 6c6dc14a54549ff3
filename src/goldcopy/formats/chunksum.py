"""Sums of whole files, cheap enough to make while copying: one CRC-32C per 1 MiB chunk.

Page checksums do not cover every byte of a page (and other files have none), so a backup records these for each
file it holds. They are kept as one hex string, 8 digits a chunk, in file order; the last chunk may be short; an
empty file has the empty string. A chunk that is a hole counts as its zeros.
"""

from __future__ import annotations

from collections.abc import Iterable

from fastcrc import crc32

CHUNK = 1 << 20

_ZEROS = bytes(CHUNK)
_ZERO_CHUNK = crc32.iscsi(_ZEROS)


def chunk_sum(data: bytes | memoryview) -> int:
    """CRC-32C of one chunk (at most ``CHUNK`` bytes)."""
    return int(crc32.iscsi(data))


def zero_sum(length: int) -> int:
    """The sum of a chunk of ``length`` zero bytes."""
    return int(_ZERO_CHUNK if length == CHUNK else crc32.iscsi(bytes(length)))


def encode(sums: Iterable[int]) -> str:
    """Sums in file order -> the hex string that a manifest keeps."""
    return "".join(f"{s:08x}" for s in sums)


def decode(text: str) -> list[int]:
    """The inverse of ``encode``. Raises ValueError on damaged text."""
    if len(text) % 8:
        raise ValueError("chunk sums: length is not a multiple of 8")
    return [int(text[i : i + 8], 16) for i in range(0, len(text), 8)]


class RunningSum:
    """Chunk sums of a file that is written front to back in pieces of any size."""

    def __init__(self) -> None:
        self._sums: list[int] = []
        self._crc: int | None = None
        self._fill = 0

    def add(self, data: bytes | memoryview) -> None:
        """Take the next bytes of the file."""
        view = memoryview(data)
        while len(view):
            take = min(CHUNK - self._fill, len(view))
            piece = view[:take]
            self._crc = crc32.iscsi(piece) if self._crc is None else crc32.iscsi(piece, self._crc)
            self._fill += take
            view = view[take:]
            if self._fill == CHUNK:
                self._sums.append(self._crc)
                self._crc, self._fill = None, 0

    def add_zeros(self, length: int) -> None:
        """Take ``length`` zeros as the next bytes."""
        for at in range(0, length, CHUNK):
            self.add(_ZEROS[: min(CHUNK, length - at)])

    def text(self) -> str:
        """The sums so far, the unfinished last chunk included."""
        return encode([*self._sums, *([] if self._crc is None else [self._crc])])
