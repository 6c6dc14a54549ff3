"""innobackupex's ways with directories: time-stamped ones, and the newest backup beside as base."""

from __future__ import annotations

import os
import re
import time

from goldcopy.compat.options.backup import BASES
from goldcopy.compat.options.settings import Settings
from goldcopy.compat.peerdir import find_file
from goldcopy.errors import UsageError

_STAMP = "%Y-%m-%d_%H-%M-%S"
_STAMPED = re.compile(r"\d{4}-\d\d-\d\d_\d\d-\d\d-\d\d")


def backup_dir(settings: Settings) -> str:
    """Where a backup goes. Raises UsageError unless innobackupex was given one directory."""
    if not settings.face.positional:
        return settings.text("target-dir")
    root = only_directory(settings)
    return root if settings.flag("no-timestamp") else os.path.join(root, time.strftime(_STAMP))


def only_directory(settings: Settings) -> str:
    """innobackupex's one bare word. Raises UsageError for none, or more."""
    if len(settings.directories) == 1:
        return settings.directories[0]
    extra = f"Error: extra argument found {settings.directories[1]}" if settings.directories else ""
    raise UsageError(extra or "innobackupex wants one directory", hint="innobackupex [OPTIONS] DIRECTORY")


def with_base(settings: Settings) -> Settings:
    """``--incremental`` alone means: against the newest backup in the same directory. Raises UsageError without one."""
    if not settings.flag("incremental") or any(map(settings.text, BASES)):
        return settings
    root = settings.directories[0] if settings.directories else os.path.dirname(settings.text("target-dir"))
    found = [os.path.join(root, n) for n in os.listdir(root) if _STAMPED.fullmatch(n)] if os.path.isdir(root) else []
    backups = [d for d in found if find_file(d, "checkpoints")]
    if not backups:
        raise UsageError(f"there is no backup in {root} to take an increment against", hint="--incremental-basedir=DIR")
    return settings.with_text("incremental-basedir", max(backups))
