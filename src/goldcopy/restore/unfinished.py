"""The mark of a directory in the making: whoever finds it knows that what lies there is not whole, and whose it is."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import Iterable

from goldcopy.errors import TargetRefused
from goldcopy.image import osfile

MARK_NAME = "goldcopy.unfinished"


class Mark:
    """A mark in ``directory``, made before the first file. It is locked as long as the operation lives.

    ``what``: the operation, as words that follow "cut off:".
    """

    def __init__(self, directory: str, what: str) -> None:
        self._directory = directory
        began = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime())
        path = os.path.join(directory, MARK_NAME)
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o640)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        os.write(self._fd, f"{what}, begun {began} UTC\n".encode("utf-8", "surrogateescape"))
        os.fsync(self._fd)
        osfile.sync_directory(directory)

    def remove(self) -> None:
        """After the last file is durable, or all are gone."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(os.path.join(self._directory, MARK_NAME))
        os.close(self._fd)
        osfile.sync_directory(self._directory)


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


def discard(directory: str) -> bool:
    """Remove a working directory of ours if an operation on it was cut off. Returns whether it was.

    Raises TargetRefused when one is at work.
    """
    path = os.path.join(directory, MARK_NAME)
    if not os.path.exists(path):
        return False
    if _is_held(path):
        raise TargetRefused(f"another process is at work in {directory}", hint="wait for it, or end it")
    shutil.rmtree(directory)
    return True


def _is_held(path: str) -> bool:
    with open(path, "rb") as f:
        try:
            fcntl.flock(f, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
