"""A directory is made anew beside the old one and takes its place in one step: a crash leaves either of them whole.

The working copy is marked as unfinished (``unfinished.Mark``) and keeps its mark until the old directory is gone. So
whoever comes after a crash can tell by the marks what is left over: see ``settle``.
"""

from __future__ import annotations

import ctypes
import os
import shutil

from goldcopy.image import osfile
from goldcopy.image.manifest import MANIFEST_NAME
from goldcopy.restore.unfinished import MARK_NAME, is_cut_off

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_libc = ctypes.CDLL(None, use_errno=True)


def working_copy(home: str) -> str:
    """Where the directory that will take the place of ``home`` is made."""
    return home + ".preparing"


def _aside(home: str) -> str:
    return home + ".before-prepare"


def take_place(home: str) -> None:
    """Put the working copy of ``home`` in its place and remove what was there."""
    work = old = working_copy(home)
    if _libc.renameat2(_AT_FDCWD, os.fsencode(work), _AT_FDCWD, os.fsencode(home), _RENAME_EXCHANGE):
        # a file system without the exchange: two steps, the old backup kept beside it until the new one is in place
        old = _aside(home)
        os.rename(home, old)
        os.rename(work, home)
    osfile.sync_directory(os.path.dirname(home))
    _remove(old)


def settle(home: str) -> bool:
    """Remove what an earlier attempt left when it was cut off, be it the new directory or the old one.

    Returns whether there was such a thing. Raises TargetRefused when another process is at work on it.
    """
    work, aside = working_copy(home), _aside(home)
    if os.path.isdir(aside) and not os.path.exists(home):
        os.rename(aside, home)
    left = is_cut_off(work)
    if left:
        _remove(work)
    if os.path.exists(os.path.join(home, MANIFEST_NAME)) and is_cut_off(home):
        # whole, and in its place: what else is there was before it
        left = True
        for old in filter(os.path.isdir, (work, aside)):
            _remove(old)
        os.unlink(os.path.join(home, MARK_NAME))
        osfile.sync_directory(home)
    return left


def _remove(directory: str) -> None:
    """First its manifest, and its mark last: should we be killed, what is left is no backup, and known as ours."""
    for name in sorted(os.listdir(directory), key=lambda name: (name != MANIFEST_NAME, name == MARK_NAME)):
        path = os.path.join(directory, name)
        shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
    os.rmdir(directory)
