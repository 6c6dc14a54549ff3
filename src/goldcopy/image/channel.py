"""Pipes that streams go through: whole chunks by several threads, and XtraBackup's named pipes, one stream each.

``thread_0`` ... ``thread_<N-1>`` in one directory, made by the writer, removed by the reader (``ds_fifo.cc``).
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import socket
import stat
import threading
import time
from collections.abc import Iterator, Sequence
from typing import IO

from goldcopy import signals
from goldcopy.errors import GoldcopyError, Interrupted, TargetRefused, write_failure
from goldcopy.formats import Bytes

PIPE_BYTES = 256 << 10
"""What we ask of a pipe, by default 64 KiB. A megabyte was measured to cost a third more CPU time: its pages are cold
when they are read."""

FIFO_MODE = 0o600
_POLL_S = 0.02


def _widen(fd: int) -> None:
    try:
        fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, PIPE_BYTES)
    except OSError:
        pass  # a file, a socket, or a limit of the system: smaller steps are only slower


def _failure(e: OSError, what: str) -> GoldcopyError:
    if e.errno == errno.EAGAIN:
        return Interrupted(f"interrupted while the reader of {what} took nothing")
    if e.errno == errno.EPIPE:
        return TargetRefused(
            f"cannot write {what}: its reader is gone", hint="look at the messages of the program that reads the stream"
        )
    return write_failure(e, what, full_hint="free space there, or stream somewhere else")


class Channel:
    """Where chunks of a stream go. A chunk is never torn by another one, whatever threads write.

    ``written_bytes``: of all chunks so far.
    """

    def __init__(self, out: IO[bytes] | int, name: str = "the stream") -> None:
        """``out``: a descriptor or a binary file, not closed here. Buffered bytes of the file are flushed first."""
        self._name, self._lock = name, threading.Lock()
        self.written_bytes = 0
        self._file: IO[bytes] | None = None
        self._fd = -1
        if isinstance(out, int):
            self._fd = out
        else:
            out.flush()
            try:
                self._fd = out.fileno()
            except OSError:
                self._file = out
        if self._fd >= 0:
            _widen(self._fd)

    def write(self, *parts: Bytes) -> None:
        """Write the parts of one chunk, all of them. Raises NoSpace, TargetRefused; Interrupted after ``give_up``."""
        with self._lock:
            try:
                if self._file is not None:
                    for part in parts:
                        self._file.write(part)
                else:
                    self._writev([memoryview(p) for p in parts if len(p)])
                self.written_bytes += sum(map(len, parts))
            except OSError as e:
                raise _failure(e, self._name) from e

    def give_up(self) -> None:
        """Wait for the reader no more, in no thread: writing what it does not take at once fails from now on.

        Takes no lock, for signal handlers.
        """
        with contextlib.suppress(OSError):
            mode = os.fstat(self._fd).st_mode
            if stat.S_ISSOCK(mode):
                with socket.socket(fileno=os.dup(self._fd)) as out:
                    out.shutdown(socket.SHUT_WR)
            elif stat.S_ISFIFO(mode):
                os.set_blocking(self._fd, False)
                # who waits already is woken by more room (fs/pipe.c, pipe_resize_ring), and sees it then
                fcntl.fcntl(self._fd, fcntl.F_SETPIPE_SZ, 2 * fcntl.fcntl(self._fd, fcntl.F_GETPIPE_SZ))

    def wait_again(self) -> None:
        """After ``give_up``: a pipe is as it was, for it may be shared with other programs."""
        with contextlib.suppress(OSError):
            if stat.S_ISFIFO(os.fstat(self._fd).st_mode):
                os.set_blocking(self._fd, True)

    def _writev(self, parts: list[memoryview]) -> None:
        while parts:
            done = os.writev(self._fd, parts)
            while parts and done >= len(parts[0]):
                done -= len(parts.pop(0))
            if done:
                parts[0] = parts[0][done:]


@contextlib.contextmanager
def interruptible(channels: Sequence[Channel]) -> Iterator[None]:
    """Within the block the first signal ends all waiting for the streams' readers, in whatever thread."""

    def give_up() -> None:
        for channel in channels:
            channel.give_up()

    with signals.at_once(give_up):
        try:
            yield
        finally:
            for channel in channels:
                channel.wait_again()


class Source:
    """A stream that is read: pieces as large as the pipe gives at once."""

    def __init__(self, stream: IO[bytes] | int) -> None:
        """``stream``: a descriptor, or a binary file of which nothing was read yet. Not closed here."""
        self._file: IO[bytes] | None = None
        self._fd = -1
        try:
            self._fd = stream if isinstance(stream, int) else stream.fileno()
        except OSError:
            assert not isinstance(stream, int)
            self._file = stream
        else:
            _widen(self._fd)

    def pieces(self) -> Iterator[bytes]:
        """The stream's bytes until it ends. Raises TargetRefused when it cannot be read."""
        try:
            while piece := self._read():
                yield piece
        except OSError as e:
            raise TargetRefused(f"cannot read the stream: {e.strerror}") from e

    def _read(self) -> bytes:
        if self._file is not None:
            return self._file.read(PIPE_BYTES)
        return os.read(self._fd, PIPE_BYTES)


def fifo_paths(directory: str, count: int) -> list[str]:
    """The names of ``count`` pipes."""
    return [os.path.join(directory, f"thread_{i}") for i in range(count)]


@contextlib.contextmanager
def fifo_channels(directory: str, count: int, timeout_s: float) -> Iterator[list[Channel]]:
    """Make ``count`` pipes and wait until all have a reader; the reader removes them, or this if none came.

    Raises TargetRefused when a name is taken or no reader comes within ``timeout_s`` seconds.
    """
    made: list[str] = []
    fds: list[int] = []
    try:
        for path in fifo_paths(directory, count):
            _make_fifo(path)
            made.append(path)
        deadline = time.monotonic() + timeout_s
        for path in made:
            fds.append(_open_for_write(path, deadline, timeout_s))
        yield [Channel(fd, path) for fd, path in zip(fds, made, strict=True)]
    finally:
        for fd in fds:
            os.close(fd)
        _remove(made if len(fds) < count else [])


def _make_fifo(path: str) -> None:
    try:
        os.mkfifo(path, FIFO_MODE)
    except OSError as e:
        raise TargetRefused(
            f"cannot make the pipe {path}: {e.strerror}",
            hint="remove what is left of an earlier run, or give another --fifo-dir",
        ) from e


def _open_for_write(path: str, deadline: float, timeout_s: float) -> int:
    """ENXIO: nobody has opened it for reading yet."""
    while True:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as e:
            if e.errno != errno.ENXIO:
                raise TargetRefused(f"cannot open the pipe {path}: {e.strerror}") from e
        else:
            os.set_blocking(fd, True)
            return fd
        if time.monotonic() > deadline:
            raise TargetRefused(
                f"nobody reads the pipe {path} after {timeout_s:g} seconds",
                hint="start xbstream -x --fifo-streams=N --fifo-dir=DIR, or raise --fifo-timeout",
            )
        time.sleep(_POLL_S)


@contextlib.contextmanager
def fifo_sources(directory: str, count: int, timeout_s: float) -> Iterator[list[int]]:
    """Wait for ``count`` pipes and open them; removes them at the end. Descriptors to read from.

    Raises TargetRefused when they are not there within ``timeout_s`` seconds.
    """
    paths, fds = fifo_paths(directory, count), list[int]()
    deadline = time.monotonic() + timeout_s
    try:
        for path in paths:
            fds.append(_open_for_read(path, deadline, timeout_s))
        yield fds
    finally:
        for fd in fds:
            os.close(fd)
        _remove(paths[: len(fds)])


def _open_for_read(path: str, deadline: float, timeout_s: float) -> int:
    while not os.path.exists(path):
        if time.monotonic() > deadline:
            raise TargetRefused(
                f"there is no pipe {path} after {timeout_s:g} seconds",
                hint="start the backup with the same --fifo-streams and --fifo-dir",
            )
        time.sleep(_POLL_S)
    try:
        # both sides open in the same order, so waiting in open() ends when the writer has come this far
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as e:
        raise TargetRefused(f"cannot open the pipe {path}: {e.strerror}") from e


def _remove(paths: Sequence[str]) -> None:
    for path in paths:
        with contextlib.suppress(OSError):
            os.unlink(path)
