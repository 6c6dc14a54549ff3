"""``goldcopy install-names``: the peers' program names, put where the user wants them and nowhere else."""

from __future__ import annotations

import os
import sysconfig
from dataclasses import dataclass

from goldcopy.errors import GoldcopyError, TargetRefused, UsageError
from goldcopy.events import Done, Emit
from goldcopy.options import opt

NAMES = ("xtrabackup", "innobackupex", "mariabackup", "mariadb-backup", "xbstream", "mbstream", "xbcrypt")


@dataclass(frozen=True, kw_only=True)
class InstallNames:
    """Make xtrabackup, mariadb-backup and their kin mean Goldcopy, in one directory of your choice.

    Links are made to this installation's programs. A file that has one of the names is never overwritten.
    """

    directory: str = opt("directory for the names", example="/usr/local/bin", positional=True, metavar="DIR")
    name: tuple[str, ...] = opt("only this name (may be repeated)", (), choices=NAMES)


def run(command: InstallNames, emit: Emit) -> tuple[str, ...]:
    """Make the links; all of them or none. Returns their paths."""
    if not os.path.isdir(command.directory):
        raise UsageError(f"{command.directory} is not a directory", hint="name one that is there, on your PATH")
    programs = sysconfig.get_path("scripts")
    links = {os.path.join(command.directory, n): os.path.join(programs, n) for n in command.name or NAMES}
    wanted = {link: program for link, program in links.items() if not _is_ours(link, program)}
    for link, program in wanted.items():
        if os.path.lexists(link):
            raise TargetRefused(
                f"{link} is there already, and is another program; nothing was changed",
                hint="choose another directory, before that one on the PATH",
            )
        if not os.path.exists(program):
            raise GoldcopyError(f"{program} is missing from this installation", hint="install goldcopy with pip")
    for link, program in wanted.items():
        _link(program, link)
    emit(Done(f"{len(links)} names in {command.directory}", tuple((os.path.basename(n), p) for n, p in links.items())))
    return tuple(links)


def _is_ours(link: str, program: str) -> bool:
    return os.path.exists(link) and os.path.exists(program) and os.path.samefile(link, program)


def _link(program: str, link: str) -> None:
    try:
        os.symlink(program, link)
    except OSError as e:
        raise TargetRefused(f"cannot make {link}: {e.strerror}") from e
