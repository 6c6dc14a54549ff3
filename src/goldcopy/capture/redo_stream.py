"""The live redo log of MariaDB >= 10.8: one file without blocks, which the server may replace while it runs."""

from __future__ import annotations

import errno
import os
import time

from goldcopy.capture.redo_base import (
    HEADER_TRIES,
    READ_PAUSE_S,
    RedoSource,
    alone,
    checkpoints,
    open_log,
    read_exactly,
)
from goldcopy.errors import RedoOverrun, ServerRefused
from goldcopy.formats import Family, Lsn
from goldcopy.formats.bigendian import u32
from goldcopy.formats.redo import Checkpoint, Window
from goldcopy.formats.redo.layout import newest
from goldcopy.formats.redo.mtr import Walker
from goldcopy.formats.redo.r108 import ENCRYPTED_FORMATS, HEADER_BYTES, R108, circle
from goldcopy.formats.redo.window import Header

HEADER_BLOCK = 512
_IDLE_STEP_BYTES = 4096


class StreamSource(RedoSource):
    """MariaDB >= 10.8: one ``ib_logfile0`` without blocks.

    ``SET GLOBAL innodb_log_file_size`` puts a new file in its place, with a geometry of its own. The old one, still
    open here, keeps everything up to that moment; the new one has everything from its own first LSN on.
    """

    guard = 8192

    def __init__(self, path: str, family: Family) -> None:
        super().__init__(R108())
        self._path, self._family = path, family
        self._old: _OpenLog | None = None
        self._log = self._open_log()
        self._oldest = self._log

    def _open_log(self) -> _OpenLog:
        """Open the file, once its header is whole."""
        problem = ""
        for _ in range(HEADER_TRIES):
            fd = open_log(self._path, self._family)
            block = os.pread(fd, HEADER_BLOCK, 0)
            try:
                header = self._layout.header(block)
                return _OpenLog(fd, block, header, os.fstat(fd))
            except ValueError as e:
                os.close(fd)
                problem = str(e)
            time.sleep(READ_PAUSE_S)
        raise ServerRefused(f"{self._path}: {problem}")

    @property
    def capacity(self) -> int:
        """Bytes of the file without its header."""
        return self._log.circle.capacity

    @alone
    def refresh(self) -> None:
        """Compare the open file with what stands under its name now."""
        try:
            now = os.stat(self._path)
        except FileNotFoundError:
            return  # between the server's unlink and rename
        was = self._log.stat
        if (now.st_dev, now.st_ino, now.st_size) == (was.st_dev, was.st_ino, was.st_size):
            return
        if self._old is not None:
            os.close(self._old.fd)
        self._old, self._log = self._log, self._open_log()

    @alone
    def checkpoint(self) -> Checkpoint:
        """See ``RedoSource.checkpoint``."""
        for _ in range(HEADER_TRIES):
            self.refresh()
            first = self._log.header.first_lsn
            found = newest([c for c in checkpoints(self._log.fd, self._layout) if c.lsn >= first])
            if found is not None:
                # what lies before the checkpoint is of no use: the window begins with this file
                self._oldest = self._log
                return found
            time.sleep(READ_PAUSE_S)
        raise ServerRefused("the redo log has no valid checkpoint")

    @alone
    def read(self, start: Lsn, end: Lsn) -> bytes:
        """See ``RedoSource.read``. The follower compares LSNs afterwards: the bytes do not tell an overrun."""
        self.refresh()
        parts = []
        first = self._log.header.first_lsn
        if start < first:
            if self._old is None or end - start > self._old.circle.capacity:
                raise self._overrun(start, end)
            parts.append(self._old.read(start, min(end, first)))
            start = Lsn(min(end, first))
        if end - start > self.capacity:
            raise self._overrun(start, end)
        parts.append(self._log.read(start, end))
        return b"".join(parts)

    def _overrun(self, start: int, end: int) -> RedoOverrun:
        return RedoOverrun(
            f"the redo of LSN {start} is gone: the server is at LSN {end}, its log holds {self.capacity:,} bytes "
            f"and begins at LSN {self._log.header.first_lsn}",
            hint="raise innodb_log_file_size, and do not change it during a backup",
        )

    @alone
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """See ``RedoSource.window``; ``capacity`` is 0 when the log was replaced within the window."""
        self.refresh()
        log = self._log
        replaced = log is not self._oldest
        return Window(
            layout=self.layout, start=start, checkpoint=checkpoint.lsn, checkpoint_end=checkpoint.end_lsn, end=end,
            header=log.block, first_lsn=log.header.first_lsn, capacity=0 if replaced else self.capacity,
        )

    @alone
    def idle_end(self, checkpoint: Checkpoint) -> Lsn:
        """See ``RedoSource.idle_end``: behind the last whole mini-transaction."""
        end = self._walk_on(checkpoint.lsn, _IDLE_STEP_BYTES)
        return self._walk_on(end, 1)

    def _walk_on(self, lsn: int, step: int) -> Lsn:
        """Walk in steps until one holds what cannot be; the last end before that."""
        encrypted = u32(self._log.block, 0) in ENCRYPTED_FORMATS
        walker = Walker(lsn, self._log.header.first_lsn, self.capacity, encrypted=encrypted)
        for at in range(lsn, lsn + self.capacity - step, step):
            try:
                walker.feed(self._log.read(at, at + step))
            except ValueError:
                break
        return Lsn(walker.lsn)

    def close(self) -> None:
        """Give the files back."""
        for log in {id(x): x for x in (self._old, self._log) if x is not None}.values():
            log.close()


class _OpenLog:
    """One incarnation of ib_logfile0."""

    def __init__(self, fd: int, block: bytes, header: Header, stat: os.stat_result) -> None:
        self.fd, self.block, self.header, self.stat = fd, block, header, stat
        if stat.st_size <= HEADER_BYTES:
            raise ValueError("the redo log is shorter than its header")
        self.circle = circle(header.first_lsn, stat.st_size)

    def read(self, start: int, end: int) -> bytes:
        """The bytes as they lie now."""
        data = b"".join(read_exactly(self.fd, e.length, e.offset) for e in self.circle.extents(start, end))
        if len(data) != end - start:
            raise OSError(errno.EIO, "the redo log became shorter while it was read")
        return data

    def close(self) -> None:
        """Give the file back; once is enough."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
