"""``goldcopy restore``: a data directory from a backup, increments included, recovered and ready to start."""

from __future__ import annotations

import os
from dataclasses import dataclass

from goldcopy.commands.recovering import Recovering
from goldcopy.errors import UsageError
from goldcopy.events import Done, Emit, Phase
from goldcopy.image.chain import open_image
from goldcopy.image.manifest import Manifest
from goldcopy.options import opt
from goldcopy.restore.materialise import Placement
from goldcopy.restore.recovery import preflight
from goldcopy.restore.target import Target, owner_ids
from goldcopy.restore.target_config import check_configuration


@dataclass(frozen=True, kw_only=True)
class Restore(Recovering):
    """Make a data directory of a backup: full and increments in one pass, then crash recovery.

    The result is a clean data directory on which the server starts.
    """

    from_: str = opt("directory of the backup: a full or any increment", example="/backup/tue", metavar="DIR")
    datadir: str = opt("data directory to make; must be empty or not there", example="/var/lib/mysql", metavar="DIR")
    move: bool = opt("move the files of a full backup instead of copying them: the backup is used up", False)
    recover: bool = opt("run crash recovery; --no-recover leaves a crashed data directory with its redo log", True)
    force_non_empty: bool = opt("write into a directory that is not empty; existing files are never overwritten", False)
    map: tuple[str, ...] = opt(
        "put files that lay outside the data directory elsewhere (may be repeated)", (), example="/ssd2=/data2",
        metavar="OLD=NEW",
    )
    owner: str = opt("owner of the files (default: mysql when root and it exists, else whoever runs this)", "",
                     metavar="USER[:GROUP]")
    parallel: int = opt("threads that write", 4, metavar="N", minimum=1, maximum=256)
    defaults_file: str = opt(
        "the option file that the restored server will use: refuse when it does not fit the backup", "",
        example="/etc/my.cnf", metavar="FILE",
    )

    def placement(self) -> Placement:
        """Where files go. Raises UsageError on a --map that is not OLD=NEW."""
        pairs = []
        for text in self.map:
            old, eq, new = text.partition("=")
            if not (eq and os.path.isabs(old) and os.path.isabs(new)):
                raise UsageError(f"--map {text}: must be OLD=NEW with absolute paths")
            pairs.append((old, new))
        return Placement(os.path.abspath(self.datadir), tuple(pairs))


def run(command: Restore, emit: Emit) -> Manifest:
    """Restore. On failure the target is left as it was found, and so is the backup."""
    owner = owner_ids(command.owner)
    image = open_image(command.from_)
    if command.defaults_file:
        check_configuration(image.newest, command.defaults_file)
    options = command.recovery_options()
    if command.recover and image.newest.state == "backup":
        options = preflight(image, options)
    with Target(
        image, command.placement(), emit, force_non_empty=command.force_non_empty, move=command.move
    ) as target:
        emit(Phase("restore", f"{len(image.members)} backup(s) laid down into {command.datadir}"))
        if command.move:
            target.move_in()
        else:
            target.fill(threads=command.parallel)
        if image.newest.state == "backup":
            if command.recover:
                target.recover(options)
            else:
                target.write_logs()
        target.bring_logs_home()
        target.give_to(owner)
        target.keep()
    emit(Done(f"restored into {command.datadir}", target.facts()))
    return image.newest
