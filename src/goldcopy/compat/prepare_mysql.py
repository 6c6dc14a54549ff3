"""What ``--prepare`` does otherwise for MySQL: increments need no replay there, so only the last pass recovers."""

from __future__ import annotations

from goldcopy.compat.peerdir import PeerDir
from goldcopy.errors import BackupInvalid
from goldcopy.events import Emit
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import Manifest
from goldcopy.restore.inplace_mysql import recover_in_place, take_over
from goldcopy.restore.recovery import RecoveryOptions, preflight


def take_over_manifest(target: PeerDir, newest: Manifest) -> None:
    """The target is what the increment's manifest describes now."""
    take_over(target.directory, newest)


def check_base(target: PeerDir, increment: PeerDir) -> None:
    """Raises BackupInvalid unless the increment was taken against what the target holds."""
    if target.manifest is None or increment.manifest is None:
        return
    if increment.manifest.base_id and increment.manifest.base_id != target.manifest.id:
        raise BackupInvalid(
            f"{increment.directory} was taken against another backup than {target.directory} holds",
            hint="increments are applied in the order in which they were taken, each once",
        )


def check_recovery(target: PeerDir, increment: PeerDir | None, options: RecoveryOptions) -> None:
    """Raises Unsupported, UsageError, KeyMissing for what recovery could not do without, before anything is changed."""
    chain = [d for d in (increment, target) if d is not None]
    members = [Member(d.directory, d.manifest) for d in chain if d.manifest is not None]
    if members and members[-1].manifest.state != "prepared":
        preflight(Image(tuple(members)), options)


def finish_mysql(target: PeerDir, options: RecoveryOptions, emit: Emit, *, decide_xa: bool) -> None:
    """Recover the directory: what is open is rolled back, XA PREPARED transactions too if ``decide_xa``."""
    recover_in_place(target.directory, options, emit, decide_xa=decide_xa)
