"""The live redo log of a server, read raw by LSN: which files, where in them, and whether the bytes are whole.

A ``RedoSource`` answers for one log directory whatever its layout; the follower drives it. Nothing is parsed here
but headers and checkpoints, and nothing is remembered between backups but LSNs: a server may replace its log files
at any restart, and MariaDB >= 10.9 and MySQL >= 8.0.30 even while they run.
"""

from __future__ import annotations

import os

from goldcopy.capture.redo_base import RedoSource, open_log
from goldcopy.capture.redo_blocks import CircularSource, FileSetSource
from goldcopy.capture.redo_stream import StreamSource
from goldcopy.errors import Unsupported
from goldcopy.formats import Family
from goldcopy.formats.redo import LAYOUTS, identify
from goldcopy.formats.redo.blocks import BLOCK, CircularLayout
from goldcopy.formats.redo.r8030 import DIRECTORY


def open_source(redo_dir: str, family: Family) -> RedoSource:
    """The redo log in ``redo_dir`` (the directory of ib_logfile0, or of #innodb_redo, or #innodb_redo itself).

    The layout is chosen by the bytes. Raises ServerRefused when there is none or it cannot be read, Unsupported
    when its format is unknown or redo logging is switched off.
    """
    for directory in (os.path.join(redo_dir, DIRECTORY), redo_dir):
        if os.path.basename(directory.rstrip("/")) == DIRECTORY and _holds_redo(directory):
            return FileSetSource(directory)
    path = os.path.join(redo_dir, "ib_logfile0")
    fd = open_log(path, family)
    try:
        layout = LAYOUTS[identify(os.pread(fd, BLOCK, 0))]
    except ValueError as e:
        raise Unsupported(f"{path}: {e}", hint="this server is newer than this program") from e
    finally:
        os.close(fd)
    if isinstance(layout, CircularLayout):
        return CircularSource(redo_dir, layout, family)
    return StreamSource(path, family)


def _holds_redo(directory: str) -> bool:
    """Whether #innodb_redo is in use: an empty one may stand beside the ib_logfile0 of an older server."""
    try:
        return any(name.startswith("#ib_redo") for name in os.listdir(directory))
    except (FileNotFoundError, NotADirectoryError):
        return False
    except PermissionError:
        return True
