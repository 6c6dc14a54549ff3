"""What every live redo log can be asked, and how its files are read."""

from __future__ import annotations

import abc
import functools
import os
import threading
from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from goldcopy.errors import ServerRefused, Unsupported
from goldcopy.formats import Family, Lsn
from goldcopy.formats.redo import Checkpoint, Window
from goldcopy.formats.redo.layout import Layout
from goldcopy.formats.redo.window import Header

_S = TypeVar("_S", bound="RedoSource")
_P = ParamSpec("_P")
_R = TypeVar("_R")
READ_TRIES, READ_PAUSE_S = 200, 0.005
SCAN_TRIES, SCAN_PAUSE_S = 500, 0.002
HEADER_TRIES = 200


def alone(method: Callable[Concatenate[_S, _P], _R]) -> Callable[Concatenate[_S, _P], _R]:
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

    def idle_end(self, checkpoint: Checkpoint) -> Lsn:
        """Where a log ends that no server writes (it runs without InnoDB). Raises Unsupported where that is unknown."""
        raise Unsupported(
            "the server runs without InnoDB, and the end of such an old redo log cannot be told",
            hint="start the server with InnoDB for the backup",
        )

    @abc.abstractmethod
    def close(self) -> None:
        """Give the files back."""


def open_log(path: str, family: Family) -> int:
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


def read_exactly(fd: int, length: int, offset: int) -> bytes:
    """``length`` bytes, short only at the end of the file."""
    parts = []
    while length:
        data = os.pread(fd, length, offset)
        if not data:
            break
        parts.append(data)
        offset, length = offset + len(data), length - len(data)
    return b"".join(parts)


def checkpoints(fd: int, layout: Layout) -> list[Checkpoint]:
    """The valid checkpoint blocks of a log file."""
    blocks = (os.pread(fd, layout.checkpoint_bytes, at) for at in layout.checkpoint_at)
    return [found for found in map(layout.checkpoint, blocks) if found is not None]


def refuse_disabled(header: Header) -> None:
    if header.redo_disabled:
        raise Unsupported(
            "Redo logging is disabled, cannot take consistent backup",
            hint="ALTER INSTANCE ENABLE INNODB REDO_LOG",
        )
