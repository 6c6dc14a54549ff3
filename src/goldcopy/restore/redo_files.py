"""Write the redo log that makes a server recover a backup to its consistent point."""

from __future__ import annotations

import contextlib
import os
import re

from goldcopy.errors import BackupInvalid
from goldcopy.formats import Lsn, ReadAt
from goldcopy.formats.redo import LogFile, Window, log_files, rebuild
from goldcopy.formats.redo.r56 import empty_after
from goldcopy.formats.redo.r8030 import DIRECTORY
from goldcopy.image import osfile
from goldcopy.image.manifest import Redo
from goldcopy.restore.durable import copy_whole
from goldcopy.restore.materialise import check_stored

_STALE = re.compile(r"ib_logfile\d+$")
_STALE_IN_DIRECTORY = re.compile(r"#ib_redo\d+(_tmp)?$")
_SPARE = re.compile(r"#ib_redo\d+_tmp$")
_UNFINISHED = ".goldcopy-tmp"


def lay_logs(redo: Redo, window: Window, backup: str, directory: str) -> list[LogFile]:
    """Make the log of a backup in a data directory, whatever form the backup keeps it in. Returns the files made.

    ``window``: the same redo as the formats layer takes it. Raises BackupInvalid when it is not whole, or not as it
    was written.
    """
    stored = os.path.join(backup, redo.stored_as)
    check_stored(stored, redo.sums)
    if not redo.rebuilt:
        return write_logs(window, stored, directory)
    files = log_files(window, force_fresh=True)
    target = os.path.join(directory, files[0].name)
    copy_whole(stored, target + _UNFINISHED, durable=False)
    with open(target + _UNFINISHED, "r+b") as log:
        # the server wants room behind what it recovers
        log.truncate(files[0].size)
        os.fsync(log.fileno())
    _remove_stale(directory)
    os.rename(target + _UNFINISHED, target)
    osfile.sync_directory(directory)
    return files


def write_logs(
    window: Window, redo_path: str, directory: str, *, force_fresh: bool = False
) -> list[LogFile]:
    """Rebuild the log of a stored window (``redo_path``) in a data directory, or in a log directory of its own.

    Redo logs that lie there are removed, once the new one is whole and durable. Returns the files made, names
    relative to ``directory``. Raises BackupInvalid when the window is not whole; then nothing has changed.
    """
    try:
        files = log_files(window, force_fresh=force_fresh)
        with open(redo_path, "rb", buffering=0) as stored:
            _write(window, lambda at, n: os.pread(stored.fileno(), n, at), directory, files, force_fresh)
    except ValueError as e:
        raise BackupInvalid(f"{redo_path}: {e}") from e
    except FileNotFoundError:
        if os.path.exists(redo_path):
            raise
        raise BackupInvalid(f"{redo_path} is missing from the backup") from None
    _take_their_names(files, directory)
    return files


def _take_their_names(files: list[LogFile], directory: str) -> None:
    """The logs that were written become the ones that count."""
    _remove_stale(directory)
    for file in files:
        path = os.path.join(directory, file.name)
        os.rename(path + _UNFINISHED, path)
    for parent in {os.path.dirname(os.path.join(directory, file.name)) for file in files}:
        osfile.sync_directory(parent)


def write_empty_logs(window: Window, lsn: Lsn, directory: str) -> list[LogFile]:
    """Put a log without records in the place of the one of ``window`` (R56) that was applied up to ``lsn``.

    Every page must be on disk. Returns the files made.
    """
    empty = empty_after(window, lsn)
    files = log_files(empty)
    _write(empty, lambda _at, count: bytes(count), directory, files, force_fresh=False)
    _take_their_names(files, directory)
    return files


def drop_spare_logs(directory: str) -> None:
    """Remove the files that MySQL 8.0.30+ keeps for redo to come: up to its whole innodb_redo_log_capacity.

    They hold nothing, and every start removes them first (``log0log.cc``, ``log_sys_init``). No server may be running.
    """
    inner = os.path.join(directory, DIRECTORY)
    for name in os.listdir(inner) if os.path.isdir(inner) else ():
        if _SPARE.match(name):
            os.unlink(os.path.join(inner, name))


def _write(window: Window, read: ReadAt, directory: str, files: list[LogFile], force_fresh: bool) -> None:
    """Write all files under their unfinished names; none is left over when that fails."""
    with contextlib.ExitStack() as stack:
        undo = stack.enter_context(contextlib.ExitStack())
        fds: dict[str, int] = {}
        for file in files:
            path = os.path.join(directory, file.name) + _UNFINISHED
            os.makedirs(os.path.dirname(path), mode=0o750, exist_ok=True)
            fds[file.name] = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o640)
            stack.callback(os.close, fds[file.name])
            undo.callback(os.unlink, path)
            os.ftruncate(fds[file.name], file.size)
        for piece in rebuild(window, read, force_fresh=force_fresh):
            osfile.write_at(fds[piece.file], memoryview(piece.data), piece.offset, osfile.WRITE_BYTES)
        for fd in fds.values():
            os.fsync(fd)
        undo.pop_all()


def _remove_stale(directory: str) -> None:
    """Other redo logs in the directory: the server would take them for its own."""
    inner = os.path.join(directory, DIRECTORY)
    for parent, pattern in ((directory, _STALE), (inner, _STALE_IN_DIRECTORY)):
        if os.path.isdir(parent):
            for name in os.listdir(parent):
                if pattern.match(name):
                    os.unlink(os.path.join(parent, name))
