"""A file of a data directory being written: direct where the file system takes it, holes kept, never over another."""

from __future__ import annotations

import contextlib
import os

from goldcopy.errors import TargetRefused
from goldcopy.formats.chunksum import CHUNK
from goldcopy.image import osfile
from goldcopy.image.holes import punch_tails

DIR_MODE, FILE_MODE = 0o750, 0o640


def make_dirs(path: str) -> None:
    """Make a directory and those above it."""
    os.makedirs(path, mode=DIR_MODE, exist_ok=True)


def remove_empty(directory: str) -> None:
    """Remove the empty directories below one."""
    for root, _dirs, _files in os.walk(directory, topdown=False):
        if root != directory and not os.listdir(root):
            os.rmdir(root)


class OutFile(contextlib.AbstractContextManager["OutFile"]):
    """Write chunks of a new file. ``data`` handed in must begin at a page-aligned address for direct writes."""

    def __init__(self, path: str, size: int) -> None:
        self._path = path
        try:
            self._fd, self._direct = osfile.create(path, direct=size > CHUNK, mode=FILE_MODE)
        except FileExistsError:
            raise TargetRefused(f"{path} is there already; existing files are never overwritten") from None
        self._buffered = -1

    def __exit__(self, *exc: object) -> None:
        if self._buffered not in (-1, self._fd):
            os.close(self._buffered)
        os.close(self._fd)

    def write_at(self, offset: int, data: memoryview) -> None:
        """Write at a chunk border; a tail that direct I/O cannot take goes through the page cache."""
        whole = len(data) // osfile.ALIGN * osfile.ALIGN if self._direct else 0
        try:
            if whole:
                osfile.write_at(self._fd, data[:whole], offset)
            if whole < len(data):
                osfile.write_at(self._plain_fd(), data[whole:], offset + whole, osfile.WRITE_BYTES)
        except OSError as e:
            # files may lie on several file systems: which one is full?
            e.filename = self._path
            raise

    def punch_tails(self, offset: int, pages: memoryview, page_size: int) -> None:
        """Give back what compressed pages that were written at ``offset`` do not need of their room."""
        punch_tails(self._fd, pages, offset, page_size)

    def _plain_fd(self) -> int:
        if self._buffered < 0:
            self._buffered = os.open(self._path, os.O_RDWR | os.O_CLOEXEC) if self._direct else self._fd
        return self._buffered

    def truncate(self, size: int) -> None:
        """Give the file its final size; what was not written is a hole."""
        if os.fstat(self._fd).st_size != size:
            os.ftruncate(self._fd, size)
