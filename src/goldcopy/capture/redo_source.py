"""The live redo log of a server, read raw by LSN: which files, where in them, and whether the bytes are whole.

A ``RedoSource`` answers for one log directory whatever its layout; the follower drives it. Nothing is parsed here
but headers and checkpoints, and nothing is remembered between backups but LSNs: a server may replace its log files
at any restart, and MariaDB >= 10.9 and MySQL >= 8.0.30 even while they run.
"""

from __future__ import annotations

import abc
import errno
import functools
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Concatenate, ParamSpec, TypeVar

from goldcopy.errors import RedoOverrun, ServerRefused, Unsupported
from goldcopy.formats import Family, Lsn
from goldcopy.formats.redo import LAYOUTS, Checkpoint, Window, identify
from goldcopy.formats.redo.blocks import (
    BLOCK,
    BLOCK_HEADER,
    BlockLayout,
    CircularLayout,
    block_number,
    ceiling,
    floor,
    found_number,
    is_encrypted,
    used_bytes,
)
from goldcopy.formats.redo.layout import Layout, newest
from goldcopy.formats.redo.r57 import ENCRYPTION_AT, is_mariadb
from goldcopy.formats.redo.r108 import HEADER_BYTES as STREAM_HEADER_BYTES
from goldcopy.formats.redo.r108 import R108, circle
from goldcopy.formats.redo.r8030 import DIRECTORY, R8030
from goldcopy.formats.redo.window import Circle, Header

__all__ = ["Checkpoint", "RedoSource", "open_source"]

_S = TypeVar("_S", bound="RedoSource")
_P = ParamSpec("_P")
_R = TypeVar("_R")
READ_TRIES, READ_PAUSE_S = 200, 0.005
SCAN_TRIES, SCAN_PAUSE_S = 500, 0.002
HEADER_TRIES = 200


def _alone(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
    """One thread at a time in a source: files must not be exchanged under another thread's read."""

    @functools.wraps(method)
    def locked(self: _S, /, *args: _P.args, **kwargs: _P.kwargs) -> _R:
        with self._lock:
            return method(self, *args, **kwargs)

    return locked


class RedoSource(abc.ABC):
    """A redo log directory of a running (or dead) server.

    ``layout``: key of ``formats.redo.LAYOUTS``. ``block``: 512, or 1 for a stream: reads are whole blocks.
    ``guard``: bytes beyond the server's write position that it may scribble on. Close it, or use it in a ``with``.
    """

    guard: int = 4096

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        self._lock = threading.RLock()
        self.layout = layout.key
        self.block = layout.block

    def __enter__(self) -> RedoSource:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    @property
    @abc.abstractmethod
    def capacity(self) -> int | None:
        """Bytes the log holds before it overwrites itself; None when whole files come and go instead."""

    @abc.abstractmethod
    def checkpoint(self) -> Checkpoint:
        """The newest checkpoint. Raises ServerRefused when no checkpoint block is whole."""

    @abc.abstractmethod
    def read(self, start: Lsn, end: Lsn) -> bytes:
        """The redo of ``[start, end)``; with blocks: the whole blocks that cover it, ``start`` on a border.

        ``end`` must have been flushed by the server. Blocks that are being written are read again. Raises
        RedoOverrun when the bytes have been overwritten.
        """

    @abc.abstractmethod
    def refresh(self) -> None:
        """Look whether the server replaced its log files, and go on with the new ones."""

    @abc.abstractmethod
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """The facts that make raw bytes from ``start`` to ``end`` a window that can be rebuilt."""

    def exact_last_block(self, end: Lsn) -> bytes | None:
        """For redo whose end cannot be cut afterwards (MySQL's encryption): the block of ``end``, if it ends there.

        b"" where any end can be cut; None while the block holds more than belongs to ``end``: take a newer end.
        """
        return b""

    @abc.abstractmethod
    def close(self) -> None:
        """Give the files back."""


def open_source(redo_dir: str, family: Family) -> RedoSource:
    """The redo log in ``redo_dir`` (the directory of ib_logfile0, or of #innodb_redo, or #innodb_redo itself).

    The layout is chosen by the bytes. Raises ServerRefused when there is none or it cannot be read, Unsupported
    when its format is unknown or redo logging is switched off.
    """
    for directory in (os.path.join(redo_dir, DIRECTORY), redo_dir):
        if os.path.basename(directory.rstrip("/")) == DIRECTORY and os.path.isdir(directory):
            return FileSetSource(directory)
    path = os.path.join(redo_dir, "ib_logfile0")
    fd = _open(path, family)
    try:
        layout = LAYOUTS[identify(os.pread(fd, BLOCK, 0))]
    except ValueError as e:
        raise Unsupported(f"{path}: {e}", hint="this server is newer than this program") from e
    finally:
        os.close(fd)
    if isinstance(layout, CircularLayout):
        return CircularSource(redo_dir, layout, family)
    return StreamSource(path, family)


def _open(path: str, family: Family) -> int:
    try:
        return os.open(path, os.O_RDONLY)
    except PermissionError:
        raise ServerRefused(
            f"{path} cannot be read: permission denied", hint="run as root or as the server's own user"
        ) from None
    except FileNotFoundError:
        raise ServerRefused(
            f"no redo log of a {family} server in {os.path.dirname(path)}",
            hint="innodb_log_group_home_dir of the server must be reachable on this machine",
        ) from None


def _read_exactly(fd: int, length: int, offset: int) -> bytes:
    """``length`` bytes, short only at the end of the file."""
    parts = []
    while length:
        data = os.pread(fd, length, offset)
        if not data:
            break
        parts.append(data)
        offset, length = offset + len(data), length - len(data)
    return b"".join(parts)


def _checkpoints(fd: int, layout: Layout) -> list[Checkpoint]:
    """The valid checkpoint blocks of a log file."""
    blocks = (os.pread(fd, layout.checkpoint_bytes, at) for at in layout.checkpoint_at)
    return [found for found in map(layout.checkpoint, blocks) if found is not None]


def _refuse_disabled(header: Header) -> None:
    if header.redo_disabled:
        raise Unsupported(
            "redo logging is switched off on this server: no hot backup is possible",
            hint="ALTER INSTANCE ENABLE INNODB REDO_LOG",
        )


class BlockSource(RedoSource):
    """What the layouts of 512-byte blocks share: a block is right when its number and sum are."""

    def __init__(self, layout: BlockLayout) -> None:
        super().__init__(layout)
        self._blocks = layout
        self.retries = 0

    @abc.abstractmethod
    def _raw(self, start: int, end: int) -> bytes:
        """The bytes as they lie in the files now; both LSNs are on block borders."""

    @_alone
    def read(self, start: Lsn, end: Lsn) -> bytes:
        """See ``RedoSource.read``."""
        # the block of an end on a border holds nothing yet and need not have been written
        whole = floor(end) if 0 < end % BLOCK <= BLOCK_HEADER else ceiling(end)
        data = self._right_blocks(start, whole) if whole > start else b""
        return data + bytes(ceiling(end) - max(whole, start))

    def _right_blocks(self, start: int, end: int) -> bytes:
        for attempt in range(READ_TRIES):
            data = self._raw(start, end)
            bad = self._blocks.first_bad(data, start)
            if bad is None and (not is_encrypted(data[-BLOCK:]) or self._raw(end - BLOCK, end) == data[-BLOCK:]):
                return data
            if bad is not None and attempt > 3 and self._is_newer(data, bad, start + bad):
                break
            self.retries += 1
            time.sleep(READ_PAUSE_S)
        at = start + (bad or 0)
        raise RedoOverrun(
            f"the redo block of LSN {at} is gone: number {found_number(data, bad or 0)} stands where "
            f"{block_number(at)} was",
            hint="raise the server's redo log size, or take the backup at a quieter time",
        )

    def _is_newer(self, data: bytes, offset: int, lsn: int) -> bool:
        """Whether a whole block of a later round stands there: no waiting brings the old one back."""
        number = found_number(data, offset)
        block = data[offset : offset + BLOCK]
        distance = (number - block_number(lsn)) * BLOCK
        return 0 < distance < 1 << 38 and self._blocks.first_bad(block, lsn + distance) is None

    @_alone
    def exact_last_block(self, end: Lsn) -> bytes | None:
        """See ``RedoSource.exact_last_block``."""
        if end % BLOCK <= BLOCK_HEADER:
            return b""
        block = self.read(Lsn(floor(end)), end)
        if self._blocks.legacy or not is_encrypted(block):
            return b""
        return block if used_bytes(block) == end % BLOCK else None


class CircularSource(BlockSource):
    """``ib_logfile0..n-1`` with blocks (R56, R57, R105)."""

    def __init__(self, redo_dir: str, layout: CircularLayout, family: Family) -> None:
        super().__init__(layout)
        self._circular = layout
        self._fds: list[int] = []
        try:
            self._open_files(redo_dir, family)
            self._file_bytes = os.fstat(self._fds[0]).st_size
            self._checkpoint = self._find_checkpoint()
        except BaseException:
            self.close()
            raise

    def _open_files(self, redo_dir: str, family: Family) -> None:
        self._fds.append(_open(os.path.join(redo_dir, "ib_logfile0"), family))
        while self.layout != "R105":
            try:
                self._fds.append(os.open(os.path.join(redo_dir, f"ib_logfile{len(self._fds)}"), os.O_RDONLY))
            except FileNotFoundError:
                break

    def _header_block(self) -> bytes:
        block = os.pread(self._fds[0], BLOCK, 0)
        try:
            _refuse_disabled(self._layout.header(block))
        except ValueError as e:
            raise ServerRefused(str(e)) from e
        return block

    def _find_checkpoint(self) -> Checkpoint:
        for _ in range(HEADER_TRIES):
            found = newest(_checkpoints(self._fds[0], self._layout))
            if found is not None:
                return found
            time.sleep(READ_PAUSE_S)
        raise ServerRefused("the redo log has no valid checkpoint")

    @property
    def _circle(self) -> Circle:
        return self._circular.circle(self._checkpoint, self._file_bytes, len(self._fds))

    @property
    def capacity(self) -> int:
        """Bytes of all files without their headers."""
        return self._circle.capacity

    @_alone
    def checkpoint(self) -> Checkpoint:
        """See ``RedoSource.checkpoint``."""
        self._header_block()
        self._checkpoint = self._find_checkpoint()
        return self._checkpoint

    def _raw(self, start: int, end: int) -> bytes:
        extents = self._circle.extents(start, end)
        return b"".join(_read_exactly(self._fds[e.file], e.length, e.offset) for e in extents)

    @_alone
    def refresh(self) -> None:
        """Nothing to do: these servers replace their log only when they start."""

    @_alone
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """See ``RedoSource.window``."""
        header = self._header_block()
        return Window(
            layout=self.layout, start=start, checkpoint=checkpoint.lsn, checkpoint_end=checkpoint.end_lsn,
            checkpoint_no=checkpoint.number, end=end, header=header, capacity=self.capacity,
            encryption=self._encryption(checkpoint, header),
        )

    def _encryption(self, checkpoint: Checkpoint, header: bytes) -> bytes:
        if self._blocks.legacy:
            return b""
        parsed = self._layout.header(header)
        if is_mariadb(parsed.format):
            return checkpoint.block if parsed.encrypted else b""
        return _mysql_encryption(self._fds[0])

    def close(self) -> None:
        """Give the files back."""
        while self._fds:
            os.close(self._fds.pop())


def _mysql_encryption(fd: int) -> bytes:
    block = os.pread(fd, BLOCK, ENCRYPTION_AT)
    return block if any(block[48:508]) else b""


@dataclass(frozen=True)
class _RedoFile:
    """One #ib_redoN: it holds the LSNs of ``[start, end)``."""

    start: int
    end: int
    fd: int


class FileSetSource(BlockSource):
    """MySQL >= 8.0.30: ``#innodb_redo/#ib_redoN``, made, renamed and removed while the server runs."""

    capacity = None

    def __init__(self, directory: str) -> None:
        super().__init__(R8030())
        self._directory = directory
        self._files: list[_RedoFile] = []
        self.refresh()

    @_alone
    def refresh(self) -> None:
        """List the files anew, until the list is one without gaps."""
        for _ in range(SCAN_TRIES):
            found = self._scan()
            if found:
                self.close()
                self._files = found
                return
            time.sleep(SCAN_PAUSE_S)
        raise ServerRefused(f"{self._directory} holds no gapless set of redo log files")

    def _scan(self) -> list[_RedoFile]:
        """All files in order; empty when they changed while we looked."""
        found: list[_RedoFile] = []
        whole = True
        for name in self._names():
            try:
                fd = os.open(os.path.join(self._directory, name), os.O_RDONLY)
            except FileNotFoundError:
                whole = False
                continue
            try:
                start = self._layout.header(os.pread(fd, BLOCK, 0)).first_lsn
            except ValueError:
                whole = False
                start = Lsn(0)
            found.append(_RedoFile(start, start + os.fstat(fd).st_size - self._layout.header_bytes, fd))
        found.sort(key=lambda file: file.start)
        if whole and all(a.end == b.start for a, b in pairwise(found)):
            return found
        for file in found:
            os.close(file.fd)
        return []

    def _names(self) -> list[str]:
        try:
            names = os.listdir(self._directory)
        except PermissionError:
            raise ServerRefused(
                f"{self._directory} cannot be read: permission denied",
                hint="run as root or as the server's own user",
            ) from None
        return [n for n in names if n.startswith("#ib_redo") and not n.endswith("_tmp")]

    @_alone
    def checkpoint(self) -> Checkpoint:
        """The greatest one whose LSN lies in the file it stands in: files are recycled with old blocks in them."""
        for _ in range(HEADER_TRIES):
            self.refresh()
            self._header_block()
            found = [
                c
                for file in self._files
                for c in _checkpoints(file.fd, self._layout)
                if file.start <= c.lsn <= file.end
            ]
            best = newest(found)
            if best is not None:
                return best
            time.sleep(READ_PAUSE_S)
        raise ServerRefused("the redo log has no valid checkpoint")

    def _header_block(self) -> bytes:
        block = os.pread(self._files[-1].fd, BLOCK, 0)
        _refuse_disabled(self._layout.header(block))
        return block

    def _raw(self, start: int, end: int) -> bytes:
        if not (self._files[0].start <= start and end <= self._files[-1].end):
            self.refresh()
        return b"".join(self._parts(start, end))

    def _parts(self, start: int, end: int) -> Iterator[bytes]:
        while start < end:
            file = self._file_of(start)
            length = min(end, file.end) - start
            data = _read_exactly(file.fd, length, self._layout.header_bytes + start - file.start)
            yield data.ljust(length, b"\0")
            start += length

    def _file_of(self, lsn: int) -> _RedoFile:
        for _ in range(SCAN_TRIES):
            for file in self._files:
                if file.start <= lsn < file.end:
                    return file
            if lsn < self._files[0].start:
                break
            time.sleep(SCAN_PAUSE_S)
            self.refresh()
        raise RedoOverrun(
            f"the redo of LSN {lsn} is gone: the server's files begin at LSN {self._files[0].start} and end at "
            f"{self._files[-1].end}",
            hint="raise innodb_redo_log_capacity, or let the backup use the redo log consumer (BACKUP_ADMIN)",
        )

    def _right_blocks(self, start: int, end: int) -> bytes:
        try:
            return super()._right_blocks(start, end)
        except RedoOverrun:
            # a file may have been recycled under its open descriptor while the LSNs went on elsewhere
            self.refresh()
            return super()._right_blocks(start, end)

    @_alone
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """See ``RedoSource.window``."""
        return Window(
            layout=self.layout, start=start, checkpoint=checkpoint.lsn, end=end, header=self._header_block(),
            encryption=_mysql_encryption(self._files[-1].fd),
        )

    def close(self) -> None:
        """Give the files back."""
        while self._files:
            os.close(self._files.pop().fd)


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
            fd = _open(self._path, self._family)
            block = os.pread(fd, BLOCK, 0)
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

    @_alone
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

    @_alone
    def checkpoint(self) -> Checkpoint:
        """See ``RedoSource.checkpoint``."""
        for _ in range(HEADER_TRIES):
            self.refresh()
            first = self._log.header.first_lsn
            found = newest([c for c in _checkpoints(self._log.fd, self._layout) if c.lsn >= first])
            if found is not None:
                # what lies before the checkpoint is of no use: the window begins with this file
                self._oldest = self._log
                return found
            time.sleep(READ_PAUSE_S)
        raise ServerRefused("the redo log has no valid checkpoint")

    @_alone
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

    @_alone
    def window(self, start: Lsn, checkpoint: Checkpoint, end: Lsn) -> Window:
        """See ``RedoSource.window``; ``capacity`` is 0 when the log was replaced within the window."""
        self.refresh()
        log = self._log
        replaced = log is not self._oldest
        return Window(
            layout=self.layout, start=start, checkpoint=checkpoint.lsn, checkpoint_end=checkpoint.end_lsn, end=end,
            header=log.block, first_lsn=log.header.first_lsn, capacity=0 if replaced else self.capacity,
        )

    def close(self) -> None:
        """Give the files back."""
        for log in {id(x): x for x in (self._old, self._log) if x is not None}.values():
            log.close()


class _OpenLog:
    """One incarnation of ib_logfile0."""

    def __init__(self, fd: int, block: bytes, header: Header, stat: os.stat_result) -> None:
        self.fd, self.block, self.header, self.stat = fd, block, header, stat
        if stat.st_size <= STREAM_HEADER_BYTES:
            raise ValueError("the redo log is shorter than its header")
        self.circle = circle(header.first_lsn, stat.st_size)

    def read(self, start: int, end: int) -> bytes:
        """The bytes as they lie now."""
        data = b"".join(_read_exactly(self.fd, e.length, e.offset) for e in self.circle.extents(start, end))
        if len(data) != end - start:
            raise OSError(errno.EIO, "the redo log became shorter while it was read")
        return data

    def close(self) -> None:
        """Give the file back; once is enough."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
