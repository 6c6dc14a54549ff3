"""Keep a recovering server away from tablespaces that lie where the backup was taken.

A table with DATA DIRECTORY has its file elsewhere; link files, the dictionary and the redo log all name that place.
In a backup the file lies inside the directory. A server started there would open the named place instead: on the
source's own machine the live table. So link files are set aside, and each directory that holds such places is covered
by an empty one that only the recovering server sees, in which the backup's files are linked. Nothing is written where
a live server may be at work: a file that is not there now may be there in a moment.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shlex
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
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
    if not remotes:
        yield binary
        return
    parents = sorted({os.path.dirname(r.outside) for r in remotes})
    _refuse_hiding(parents, remotes, binary)
    with contextlib.ExitStack() as stack:
        found = [p for p in parents if os.path.isdir(p)]
        for parent in parents:
            stack.enter_context(_made(parent))
        unshare = _unshare()
        if unshare:
            yield stack.enter_context(_covered(parents, remotes, binary, unshare))
        elif not found:
            for remote in remotes:
                stack.enter_context(_linked(remote))
            yield binary
        else:
            raise Unsupported(
                f"tables of the backup belong to {found[0]}, which the recovering server must not touch; but this "
                "system does not let us hide it (unshare failed)",
                hint="prepare the backup as root, or on another machine",
            )


def _refuse_hiding(parents: Sequence[str], remotes: Sequence[Remote], binary: str) -> None:
    """What recovery needs must not lie below a directory that is covered."""
    needed = [os.path.realpath(binary), *(os.path.realpath(r.inside) for r in remotes)]
    for parent in parents:
        below = os.path.realpath(parent).rstrip("/") + "/"
        hidden = next((path for path in needed if path.startswith(below)), None)
        if hidden is not None:
            raise Unsupported(
                f"{hidden} lies below {parent}, which the recovering server must not see",
                hint="recover in a directory elsewhere",
            )


def _put_back(directory: str) -> None:
    for root, _dirs, files in os.walk(directory):
        for name in files:
            if name.endswith(_ASIDE):
                os.rename(os.path.join(root, name), os.path.join(root, name.removesuffix(_ASIDE)))


@contextlib.contextmanager
def _made(parent: str) -> Iterator[None]:
    """The directory exists; those that had to be made for it go again, if nobody has put anything there."""
    missing = []
    above = parent
    while not os.path.isdir(above):
        missing.append(above)
        above = os.path.dirname(above)
    made: list[str] = []
    try:
        for directory in reversed(missing):
            os.mkdir(directory)
            made.append(directory)
    except OSError as e:
        _remove_dirs(made)
        raise Unsupported(
            f"tables of the backup belong to {parent}, which cannot be made for the recovering server: {e.strerror}",
            hint="prepare it as a user who may write there",
        ) from e
    with _shared(parent) as is_last:
        try:
            yield
        finally:
            if is_last():
                _remove_dirs(made)


@contextlib.contextmanager
def _shared(directory: str) -> Iterator[Callable[[], bool]]:
    """Other recoveries may need the same directory at the same time, and with it the kernel would take away what they
    have mounted there. Yields a question: is nobody else at it any more?"""
    try:
        fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except PermissionError:
        yield lambda: True  # not made by us
        return

    def is_last() -> bool:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    try:
        fcntl.flock(fd, fcntl.LOCK_SH)
        yield is_last
    finally:
        os.close(fd)


def _remove_dirs(made: list[str]) -> None:
    for directory in reversed(made):
        with contextlib.suppress(OSError):
            os.rmdir(directory)


@contextlib.contextmanager
def _linked(remote: Remote) -> Iterator[None]:
    """A link in a directory that we made ourselves, and where therefore no server is at work."""
    os.symlink(remote.inside, remote.outside)
    try:
        yield
    finally:
        if os.path.islink(remote.outside):
            os.unlink(remote.outside)


def _unshare() -> list[str]:
    """The command that gives a program mounts of its own; empty where the system does not allow it."""
    command = ["unshare", "-m"] if os.geteuid() == 0 else ["unshare", "-U", "-r", "-m"]
    probe = [*command, "mount", "-t", "tmpfs", "tmpfs", "/mnt"]
    try:
        return [] if subprocess.run(probe, capture_output=True, check=False).returncode else command
    except FileNotFoundError:
        return []


@contextlib.contextmanager
def _covered(parents: Sequence[str], remotes: Sequence[Remote], binary: str, unshare: list[str]) -> Iterator[str]:
    """A program that covers the directories, for itself alone, links the backup's files there, becomes the server."""
    lines = [f"mount -t tmpfs -o mode=0777 tmpfs {shlex.quote(parent)} || exit 1\n" for parent in parents]
    lines += [f"ln -s {shlex.quote(r.inside)} {shlex.quote(r.outside)} || exit 1\n" for r in remotes]
    # In a user namespace of its own the server believes to be root, and wants to be told that this is meant
    as_root = "" if os.geteuid() == 0 else " --user=root"
    inner = "".join(lines) + f'exec {shlex.quote(binary)} "$@"{as_root}'
    with tempfile.TemporaryDirectory(prefix="goldcopy-") as work:
        program = os.path.join(work, os.path.basename(binary))
        with open(program, "w", encoding="utf-8", errors="surrogateescape") as f:
            f.write(f'#!/bin/sh\nexec {" ".join(unshare)} sh -c {shlex.quote(inner)} "$0" "$@"\n')
        os.chmod(program, 0o700)
        yield program
