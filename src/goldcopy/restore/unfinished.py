"""The mark of a directory in the making: whoever finds it knows that what lies there is not whole, and whose it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterable

from goldcopy.errors import TargetRefused

MARK_NAME = "goldcopy.unfinished"


class Mark:
    """A mark in ``directory``, made before the first file. It is locked as long as the operation lives, and goes with
    the directory when that is renamed.

    ``what``: the operation, as words that follow "cut off:".
    """

    def __init__(self, directory: str, what: str) -> None:
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        self._directory_fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
        self._fd = os.open(MARK_NAME, flags, 0o640, dir_fd=self._directory_fd)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        try:
            os.write(self._fd, f"{what}, begun {began} UTC\n".encode("utf-8", "surrogateescape"))
            os.fsync(self._fd)
            os.fsync(self._directory_fd)
        except OSError:
            # nothing has begun
            with contextlib.suppress(OSError):
                self.remove()
            raise

    def remove(self) -> None:
        """After the last file is durable, or all are gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(MARK_NAME, dir_fd=self._directory_fd)
        os.fsync(self._directory_fd)
        os.close(self._fd)
        os.close(self._directory_fd)


def refuse(directory: str, entries: Iterable[str], hint: str) -> None:
    """Raises TargetRefused when an operation on the directory, which has these entries, is at work or was cut off."""
    if MARK_NAME not in entries:
        return
    path = os.path.join(directory, MARK_NAME)
    with open(path, encoding="utf-8", errors="replace") as f:
        what = f.readline().strip()
    if _is_held(path):
        raise TargetRefused(f"{what} is at work in {directory}", hint="wait for it, or end it")
    raise TargetRefused(f"what lies in {directory} is not whole; an earlier operation was cut off: {what}", hint=hint)


def is_cut_off(directory: str) -> bool:
    """Whether an operation on the directory was cut off. Raises TargetRefused when one is at work."""
    path = os.path.join(directory, MARK_NAME)
    if not os.path.exists(path):
        return False
    if _is_held(path):
        raise TargetRefused(f"another process is at work in {directory}", hint="wait for it, or end it")
    return True


def was_cut_off(directory: str, what: str) -> bool:
    """Whether this very operation was. Raises TargetRefused when one is at work."""
    if not is_cut_off(directory):
        return False
    with open(os.path.join(directory, MARK_NAME), encoding="utf-8", errors="surrogateescape") as f:
        return f.readline().startswith(f"{what}, begun ")


def _is_held(path: str) -> bool:
    with open(path, "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
