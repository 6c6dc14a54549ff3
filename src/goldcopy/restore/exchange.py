"""One directory takes another's place in one step, so that a crash leaves either the old or the new one there."""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil

from goldcopy.image import osfile
from goldcopy.image.manifest import MANIFEST_NAME

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def take_place(work: str, home: str) -> None:
    """Put ``work`` where ``home`` is and remove what was there. Both must be on one file system."""
    if _libc.renameat2(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(home), _RENAME_EXCHANGE):
        # a file system without the exchange: two steps, the old backup kept beside it until the new one is in place
        aside = home + ".before-prepare"
        os.rename(home, aside)
        os.rename(work, home)
        work = aside
    osfile.sync_directory(os.path.dirname(home))
    # without its manifest what is left of it, should we be killed, is no backup
    with contextlib.suppress(FileNotFoundError):
        os.unlink(os.path.join(work, MANIFEST_NAME))
    shutil.rmtree(work)
