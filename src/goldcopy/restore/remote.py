"""Keep a recovering server away from tablespaces that lie where the backup was taken.

A table with DATA DIRECTORY has its file elsewhere; link files, the dictionary and the redo log all name that place.
In a backup the file lies inside the directory. A server started there would open the named place instead: on the
source's own machine the live table. So the link files are set aside, and the named places are made to show the
backup's files: by a link where nothing is there, else by a mount that only the recovering server sees.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from goldcopy.errors import Unsupported

_ASIDE = ".goldcopy-aside"


@dataclass(frozen=True)
class Remote:
    """``link``: the .isl file. ``inside``: the tablespace in the backup. ``outside``: where it belongs."""

    link: str
    inside: str
    outside: str


def remotes_of(directory: str) -> tuple[Remote, ...]:
    """The remote tablespaces of a backup: every link file with the tablespace beside it."""
    found = []
    for root, _dirs, files in os.walk(directory):
        for name in sorted(files):
            if not name.endswith(".isl"):
                continue
            link = os.path.join(root, name)
            inside = link.removesuffix(".isl") + ".ibd"
            with open(link, encoding="utf-8", errors="surrogateescape") as f:
                outside = f.read().strip()
            if os.path.exists(inside) and os.path.isabs(outside):
                found.append(Remote(link, inside, outside))
    return tuple(found)


@contextlib.contextmanager
def confined(directory: str, binary: str) -> Iterator[str]:
    """Yields the program to start instead of ``binary``, so that it sees the backup's files and no others.

    Raises Unsupported where a named place is taken and the system lets us mount nothing over it.
    """
    _put_back(directory)
    remotes = remotes_of(directory)
    if not remotes:
        yield binary
        return
    with contextlib.ExitStack() as stack:
        stack.callback(_put_back, directory)
        for remote in remotes:
            os.rename(remote.link, remote.link + _ASIDE)
        yield stack.enter_context(shown(remotes, binary))


@contextlib.contextmanager
def shown(remotes: Sequence[Remote], binary: str) -> Iterator[str]:
    """Yields the program to start instead of ``binary``: it sees each ``inside`` file at its ``outside`` place.

    Raises Unsupported like ``confined``.
    """
    with contextlib.ExitStack() as stack:
        taken = [r for r in remotes if os.path.lexists(r.outside)]
        for remote in remotes:
            if remote not in taken:
                stack.enter_context(_linked(remote))
        yield stack.enter_context(_mounted(taken, binary)) if taken else binary


def _put_back(directory: str) -> None:
    for root, _dirs, files in os.walk(directory):
        for name in files:
            if name.endswith(_ASIDE):
                os.rename(os.path.join(root, name), os.path.join(root, name.removesuffix(_ASIDE)))


@contextlib.contextmanager
def _linked(remote: Remote) -> Iterator[None]:
    made: list[str] = []
    parent = os.path.dirname(remote.outside)
    try:
        missing = []
        while not os.path.isdir(parent):
            missing.append(parent)
            parent = os.path.dirname(parent)
        for directory in reversed(missing):
            os.mkdir(directory)
            made.append(directory)
        os.symlink(remote.inside, remote.outside)
    except OSError as e:
        _remove_dirs(made)
        raise Unsupported(
            f"the table of {remote.link} belongs to {remote.outside}, which cannot be made for the recovering server:"
            f" {e.strerror}",
            hint="prepare it as a user who may write there",
        ) from e
    try:
        yield
    finally:
        os.unlink(remote.outside)
        _remove_dirs(made)


def _remove_dirs(made: list[str]) -> None:
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


@contextlib.contextmanager
def _mounted(remotes: list[Remote], binary: str) -> Iterator[str]:
    """A program that mounts the backup's files over the named places, for itself alone, and becomes the server."""
    unshare = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "-m"]
    if subprocess.run([*unshare, "true"], capture_output=True, check=False).returncode:
        raise Unsupported(
            f"{remotes[0].outside} exists, and the recovering server must not touch it; but this system does not let"
            " us hide it (unshare failed)",
            hint="prepare the backup as root, or on another machine",
        )
    mounts = "".join(f"mount --bind {shlex.quote(r.inside)} {shlex.quote(r.outside)} || exit 1\n" for r in remotes)
    # In a user namespace of its own the server believes to be root, and wants to be told that this is meant
    as_root = "" if os.geteuid() == 0 else " --user=root"
    inner = f'{mounts}exec {shlex.quote(binary)} "$@"{as_root}'
    with tempfile.TemporaryDirectory(prefix="goldcopy-") as work:
        program = os.path.join(work, os.path.basename(binary))
        with open(program, "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(f'#!/bin/sh\nexec {" ".join(unshare)} sh -c {shlex.quote(inner)} "$0" "$@"\n')
        os.chmod(program, 0o700)
        yield program
