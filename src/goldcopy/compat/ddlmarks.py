"""The marks of DDL that ran during a backup: ``.del``, ``.ren``, ``.new`` (``peer-formats.md`` 7.3).

db/t.del   the tablespace db/t.ibd beside it was dropped after it had been copied
db/t.ren   db/t.ibd was renamed after it had been copied; the file holds the new name, ``db2/t2``
db/t.new   made, or copied again, under the lock: it is db/t.ibd
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from goldcopy.errors import BackupInvalid

DEL, REN, NEW = ".del", ".ren", ".new"
_MOVING = ".ibd.goldcopy-renamed"


def marks(directory: str, suffix: str) -> Iterator[str]:
    """Names in database directories that carry a mark, relative, without it."""
    for entry in sorted(os.scandir(directory), key=lambda e: e.name):
        if entry.is_dir(follow_symlinks=False):
            for name in sorted(os.listdir(entry.path)):
                if name.endswith(suffix):
                    yield f"{entry.name}/{name.removesuffix(suffix)}"


def renamed_to(directory: str, name: str) -> str:
    """The new name that ``db/t.ren`` holds. Raises BackupInvalid when it leads out of the backup."""
    path = os.path.join(directory, name + REN)
    with open(path, encoding="utf-8", errors="surrogateescape") as f:
        new = f.read().strip().removesuffix(".ibd")
    parts = new.split("/")
    if len(parts) != 2 or any(part in ("", ".", "..") for part in parts):
        raise BackupInvalid(f"{path} holds {new!r}, which is no name of a tablespace")
    return new


def apply_marks(directory: str) -> None:
    """Do what the marks of a full backup say, and remove them. May be interrupted and done again."""

    def at(name: str) -> str:
        return os.path.join(directory, name)

    for name in marks(directory, DEL):
        if os.path.exists(at(name + ".ibd")):
            os.unlink(at(name + ".ibd"))
        os.unlink(at(name + DEL))
    # two tables may have exchanged their names: all leave their old ones before any takes its new one
    for name in marks(directory, REN):
        new = renamed_to(directory, name)
        if os.path.exists(at(name + ".ibd")):
            os.makedirs(os.path.dirname(at(new)), mode=0o750, exist_ok=True)
            os.rename(at(name + ".ibd"), at(new + _MOVING))
        os.unlink(at(name + REN))
    for name in marks(directory, _MOVING):
        os.rename(at(name + _MOVING), at(name + ".ibd"))
    for name in marks(directory, NEW):
        os.rename(at(name + NEW), at(name + ".ibd"))
