"""The base of an incremental backup: checked before a byte is copied."""

from __future__ import annotations

import calendar
import time
from collections.abc import Container, Iterable
from dataclasses import dataclass, field
from typing import cast

from goldcopy.capture.copy_space import Base
from goldcopy.capture.witness import contradiction
from goldcopy.errors import BackupInvalid
from goldcopy.formats import Family, Lsn
from goldcopy.formats.packed import Lookup
from goldcopy.image.chain import Image, Member, SpaceKey, open_image
from goldcopy.image.manifest import Manifest, Plain, Witness
from goldcopy.server import binlogs
from goldcopy.server.files import FileRef
from goldcopy.server.instance import Instance


@dataclass(frozen=True, kw_only=True)
class BackupBase:
    """What an increment is taken against.

    ``since``: pages with this LSN or a greater one are taken. ``checkpoint``, ``end``: a server whose checkpoint, or
    log, is below that was set back since. ``identities``: the tablespaces that the base holds. ``plain``: its other
    files, by path, and ``started_ns``, when it began. ``id``, ``directory``: its own. When only its LSN is known, the
    rest is None or "", and every tablespace is trusted to be in it.
    """

    since: Lsn
    checkpoint: Lsn
    end: Lsn = field(default=Lsn(0))
    witnesses: tuple[Witness, ...] = ()
    identities: Container[SpaceKey] | None = None
    plain: Lookup[str, Plain] | None = None
    started_ns: int = 0
    id: str = ""
    directory: str = ""

    def page_rule(self, *, always_delta: bool = False) -> Base:
        """What the copier must know."""
        return Base(since=self.since, identities=self.identities, always_delta=always_delta)

    def check_lsns(self, checkpoint: Lsn, current: Lsn) -> None:
        """A server that was set back (restored from older files) has smaller LSNs: an increment would be wrong."""
        for what, now, then in (("checkpoint", checkpoint, self.checkpoint), ("log", current, self.end)):
            if now < then:
                raise _set_back(f"the server's {what} LSN {now} is below the base's {then}")

    def check_pages(self, spaces: Iterable[FileRef], checkpoint: Lsn, family: Family) -> None:
        """One that was set back and has since written past the base has pages that became older."""
        found = contradiction(self.witnesses, spaces, self.since, checkpoint, family)
        if found is not None:
            raise _set_back(
                f"page {found.page_no} of {found.path} had LSN {found.then} in the base's time, and has {found.now}"
            )


def _set_back(why: str) -> BackupInvalid:
    return BackupInvalid(f"{why}: the server was restored or set back since", hint="take a full backup")


def open_base(directory: str, instance: Instance) -> BackupBase:
    """The backup to take an increment against. Raises BackupInvalid when it is not one of this server's."""
    image = open_image(directory)
    manifest = image.newest
    if manifest.state != "backup":
        raise BackupInvalid(
            f"{directory}: this backup has been prepared, so it no longer holds what increments are laid over",
            hint="take increments against backups that were not prepared in place",
        )
    check_server(directory, manifest, instance)
    return base_of(image)


def check_server(directory: str, manifest: Manifest, instance: Instance) -> None:
    """Raises BackupInvalid when a backup is not one of this server's, or not one of its past as it is now."""
    if manifest.server.identity != instance.identity:
        raise BackupInvalid(
            f"{directory}: the base is of another server ({manifest.server.hostname}, {manifest.server.version}), "
            "or the server was initialised anew since",
            hint="take a full backup",
        )
    stood = manifest.position
    why = binlogs.contradiction(instance, stood.binlog_file, stood.binlog_position, _epoch_ns(manifest.finished) / 1e9)
    if why:
        raise BackupInvalid(
            f"{directory}: the server was set back to an older state since: the base saw it at {stood.binlog_file} "
            f"{stood.binlog_position}, but {why}",
            hint="take a full backup",
        )


class _Held(Container[SpaceKey]):
    """The tablespaces that a backup holds pages of; of one that is ``raw`` it has nothing but redo."""

    def __init__(self, member: Member) -> None:
        self._spaces = member.spaces_by_identity

    def __contains__(self, key: object) -> bool:
        space = self._spaces.get(cast(SpaceKey, key))
        return space is not None and space.stored != "raw"


def base_of(image: Image) -> BackupBase:
    """The facts of an image as a base."""
    manifest = image.newest
    return BackupBase(
        since=Lsn(manifest.redo.checkpoint),
        checkpoint=Lsn(manifest.redo.checkpoint),
        end=Lsn(manifest.redo.end),
        witnesses=manifest.witnesses,
        identities=_Held(image.members[0]),
        plain=image.members[0].plain_by_path,
        started_ns=_epoch_ns(manifest.started),
        id=manifest.id,
        directory=image.directory,
    )


def base_at(lsn: Lsn) -> BackupBase:
    """A base of which only the LSN is known: what was imported since it cannot be told from what it holds."""
    return BackupBase(since=lsn, checkpoint=lsn)


def _epoch_ns(text: str) -> int:
    whole, _, ms = text.rstrip("Z").partition(".")
    return (calendar.timegm(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) * 1000 + int(ms or 0)) * 1_000_000
