"""``goldcopy prepare``: turn a backup directory into a clean data directory, in place."""

from __future__ import annotations

import os
from dataclasses import dataclass

from goldcopy.commands.recovering import Recovering
from goldcopy.errors import BackupInvalid
from goldcopy.events import Done, Emit, Note, Phase
from goldcopy.image.chain import open_image
from goldcopy.image.manifest import Manifest
from goldcopy.options import opt
from goldcopy.restore.exchange import settle, working_copy
from goldcopy.restore.materialise import Placement
from goldcopy.restore.recovery import preflight
from goldcopy.restore.target import Target


@dataclass(frozen=True, kw_only=True)
class Prepare(Recovering):
    """Run crash recovery on a backup, so that its directory becomes a clean data directory.

    The work is done on a copy beside it (blocks are shared where the file system can), and takes its place only
    when recovery succeeded: a failed prepare leaves the backup as it was. ``restore`` does not need this.
    """

    directory: str = opt("directory of the backup", example="/backup/mon", positional=True, metavar="DIR")
    parallel: int = opt("threads that copy", 4, metavar="N", minimum=1, maximum=256)


def run(command: Prepare, emit: Emit) -> Manifest:
    """Prepare in place. Raises BackupInvalid when it was prepared before."""
    home = os.path.abspath(command.directory)
    if settle(home):
        emit(Note("what an earlier prepare left when it was cut off is gone"))
    image = open_image(command.directory)
    if image.newest.state == "prepared":
        raise BackupInvalid(f"{command.directory} is prepared already", hint="restore it, or start a server on it")
    options = preflight(image, command.recovery_options())
    with Target(image, Placement(working_copy(home), inside=True), emit) as target:
        emit(Phase("restore", f"{len(image.members)} backup(s) laid down beside {home}"))
        target.fill(threads=command.parallel)
        target.recover(options)
        emit(Phase("finish", "checksums of the prepared files"))
        manifest = target.write_prepared_manifest()
        target.keep(instead_of=home)
    emit(Note("the backup was recovered on a copy, which has taken its place", detail=True))
    emit(Done(f"prepared: {home} is a clean data directory", target.facts()))
    return manifest
