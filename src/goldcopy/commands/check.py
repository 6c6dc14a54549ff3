"""``goldcopy check``: read a backup whole and find every changed bit."""

from __future__ import annotations

from dataclasses import dataclass

from goldcopy.errors import BackupInvalid
from goldcopy.events import Done, Emit, Phase, Progress, Warn
from goldcopy.image.chain import open_image
from goldcopy.options import opt
from goldcopy.restore.sums import Damage, damages


@dataclass(frozen=True, kw_only=True)
class Check:
    """Verify a backup: the checksum of every file in it, and of the pages inside.

    An increment is checked with the backups that it stands on.
    """

    directory: str = opt("directory of the backup", example="/backup/mon", positional=True, metavar="DIR")
    chain: bool = opt("check the backups that an increment stands on as well", True)


def run(command: Check, emit: Emit) -> int:
    """Check; returns the bytes read. Raises BackupInvalid after telling of every damage found."""
    image = open_image(command.directory)
    members = image.members if command.chain else image.members[:1]
    read, bad = 0, []
    for member in members:
        emit(Phase("check", member.directory))
        total = sum(s.size for s in member.manifest.spaces) + sum(p.size for p in member.manifest.plain)
        done = 0
        for found in damages(member.manifest, member.directory):
            if isinstance(found, Damage):
                bad.append(f"{member.directory}/{found.path}: {found.what}")
                emit(Warn("damage", bad[-1]))
            else:
                done += found
                emit(Progress("check", done, max(done, total)))
        read += done
    if bad:
        raise BackupInvalid(
            f"{len(bad)} damage(s) found in {command.directory}; the first: {bad[0]}",
            hint="do not rely on this backup: take a new full one, and look at the disk it lies on",
        )
    emit(Done(f"sound: {command.directory}", (("backups", str(len(members))), ("bytes read", f"{read:,}"))))
    return read
