"""The base of an incremental backup: checked before a byte is copied."""

from __future__ import annotations

from goldcopy.capture.copier import Base
from goldcopy.errors import BackupInvalid
from goldcopy.formats import Lsn
from goldcopy.image.chain import Image, open_image
from goldcopy.server.instance import Instance


def open_base(directory: str, instance: Instance) -> Image:
    """The image to take an increment against. Raises BackupInvalid when it is not one of this server's."""
    image = open_image(directory)
    manifest = image.newest
    if manifest.state != "backup":
        raise BackupInvalid(
            f"{directory}: this backup has been prepared, so it no longer holds what increments are laid over",
            hint="take increments against backups that were not prepared in place",
        )
    if manifest.server.identity != instance.identity:
        raise BackupInvalid(
            f"{directory}: the base is of another server ({manifest.server.hostname}, {manifest.server.version}), "
            "or the server was initialised anew since",
            hint="take a full backup",
        )
    return image


def check_lsn(image: Image, checkpoint: Lsn) -> None:
    """A server that was set back (restored from older files) has smaller LSNs: an increment would be wrong."""
    if checkpoint < image.newest.redo.checkpoint:
        raise BackupInvalid(
            f"{image.directory}: the server's checkpoint LSN {checkpoint} is below the base's "
            f"{image.newest.redo.checkpoint}: the server was restored or set back since",
            hint="take a full backup",
        )


def page_rule(image: Image) -> Base:
    """What the copier must know: pages from this LSN on, in tablespaces that the base has under this identity."""
    manifest = image.newest
    return Base(
        since=Lsn(manifest.redo.checkpoint),
        identities={(s.space_id, s.identity) for s in manifest.spaces if s.stored != "raw"},
    )
