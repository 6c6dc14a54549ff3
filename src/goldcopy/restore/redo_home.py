"""A redo log that has a directory of its own: recovered in the data directory, then brought there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable

from goldcopy.errors import TargetRefused
from goldcopy.image import osfile
from goldcopy.image.manifest import Manifest
from goldcopy.restore.materialise import Placement
from goldcopy.restore.outfile import make_dirs

_DIRECTORY = "#innodb_redo"


def redo_home(manifest: Manifest, placement: Placement) -> str:
    """Where a server with the source's innodb_log_group_home_dir looks for its redo log, the mapping applied."""
    value = manifest.server.variables.get("innodb_log_group_home_dir", "")
    source = manifest.server.datadir
    told = os.path.normpath(os.path.join(source, value))
    if told == source or placement.inside:
        return placement.datadir
    if told.startswith(source + "/"):
        return os.path.join(placement.datadir, os.path.relpath(told, source))
    return placement.of("", told)


def logs_in(directory: str) -> list[str]:
    """Redo logs that lie in a directory: names of files, or of the directory that holds them."""
    try:
        names = os.listdir(directory)
    except FileNotFoundError:
        return []
    return sorted(filter(_is_log, names))


def _is_log(name: str) -> bool:
    return name == _DIRECTORY or (name.startswith("ib_logfile") and name[10:].isdigit())


def place_of(path: str, external: str, manifest: Manifest, placement: Placement) -> str:
    """Where a file goes when its redo log is brought home at once."""
    if _is_log(path.partition("/")[0]):
        return os.path.join(redo_home(manifest, placement), path)
    return placement.of(path, external)


def refuse_taken(manifest: Manifest, placement: Placement) -> None:
    """Raise TargetRefused when another server's redo log lies where this one's is to go."""
    home = redo_home(manifest, placement)
    found = logs_in(home)
    if home != placement.datadir and found:
        raise TargetRefused(
            f"{home} holds a redo log ({found[0]}), and the backup's belongs there",
            hint="move it away, or map the directory elsewhere with --map OLD=NEW",
        )


def bring_logs_home(manifest: Manifest, placement: Placement, moving: Callable[[str], None]) -> None:
    """Move the redo log from the data directory to its home. ``moving`` is told of each path there before."""
    home = redo_home(manifest, placement)
    if home == placement.datadir:
        return
    make_dirs(home)
    for name in logs_in(placement.datadir):
        moving(os.path.join(home, name))
        shutil.move(os.path.join(placement.datadir, name), os.path.join(home, name))
    osfile.sync_directory(home)
