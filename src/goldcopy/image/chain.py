"""An image: a backup with the chain of bases it stands on, as one set of files at the newest backup's state.

By the rule of ``formats.md`` 5 (pages with LSN >= the START checkpoint of the base) the newest copy of every page
in the chain, together with the newest redo window, is a crashed server as of the newest backup. Nothing is
prepared in between.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Iterator
from dataclasses import dataclass

from goldcopy.errors import BackupInvalid
from goldcopy.formats.packed import Lookup
from goldcopy.image import osfile
from goldcopy.image.manifest import Manifest, Plain, Space, load

_DELTA = ".delta"

SpaceKey = tuple[int, str]
"""Space id and identity: what makes a tablespace the same one in two backups."""


def key_of(space: Space) -> SpaceKey:
    """The key of a tablespace."""
    return space.space_id, space.identity


@dataclass(frozen=True)
class Member:
    """One backup of a chain: where it lies and what it holds."""

    directory: str
    manifest: Manifest

    @functools.cached_property
    def spaces_by_identity(self) -> Lookup[SpaceKey, Space]:
        """Its tablespaces by what they are, whatever their names."""
        return Lookup(self.manifest.spaces, key_of)

    @functools.cached_property
    def plain_by_path(self) -> Lookup[str, Plain]:
        """Its other files by name."""
        return Lookup(self.manifest.plain, lambda plain: plain.path)


@dataclass(frozen=True)
class SpaceSource:
    """Where the pages of one tablespace come from: ``whole`` first, then ``deltas`` laid over it, oldest first.

    ``whole`` is None when the oldest delta is complete.
    """

    space: Space
    whole: tuple[Member, Space] | None
    deltas: tuple[tuple[Member, Space], ...]


@dataclass(frozen=True)
class Image:
    """A chain, newest first; the last member is a full backup."""

    members: tuple[Member, ...]

    @property
    def newest(self) -> Manifest:
        """The manifest of the restore point."""
        return self.members[0].manifest

    @property
    def directory(self) -> str:
        """The directory of the restore point."""
        return self.members[0].directory

    def spaces(self) -> Iterator[SpaceSource]:
        """Every tablespace of the restore point with the files that make it up: see ``source``."""
        return map(self.source, self.newest.spaces)

    def source(self, space: Space) -> SpaceSource:
        """The files that make up a tablespace of the restore point.

        Raises BackupInvalid when the chain has no whole copy of it.
        """
        deltas: list[tuple[Member, Space]] = []
        for member in self.members:
            found = space if member is self.members[0] else member.spaces_by_identity.get(key_of(space))
            if found is None:
                break
            if found.stored != "delta":
                return SpaceSource(space, (member, found), tuple(reversed(deltas)))
            deltas.append((member, found))
            if found.complete:
                return SpaceSource(space, None, tuple(reversed(deltas)))
        raise BackupInvalid(
            f"{self.directory}: the chain has no whole copy of {space.path} (tablespace {space.space_id})"
        )

    def plain(self) -> Iterator[tuple[Member, Plain]]:
        """Every plain file of the restore point with the member that holds its bytes.

        Raises BackupInvalid when the chain does not hold one.
        """
        return map(self._holder, self.newest.plain)

    def _holder(self, plain: Plain) -> tuple[Member, Plain]:
        for member in self.members:
            found = plain if member is self.members[0] else member.plain_by_path.get(plain.path)
            if found is None:
                break
            if found.stored != "base":
                return member, found
        raise BackupInvalid(f"{self.directory}: the chain does not hold {plain.path}")


def stored_name(space: Space) -> str:
    """The name under which a tablespace's bytes lie in its backup's directory."""
    return space.path + _DELTA if space.stored == "delta" else space.path


def has_room_for_delta(path: str) -> bool:
    """Whether a delta of the tablespace of this name may have one: behind fifty CJK characters nothing fits."""
    return osfile.fits(os.path.basename(path) + _DELTA)


def open_image(directory: str) -> Image:
    """The image of the backup in ``directory``, its bases found by the paths that the manifests keep.

    Raises BackupInvalid when a base is missing, is another backup than the one recorded, or is damaged.
    """
    members = [Member(os.path.abspath(directory), load(directory))]
    while members[-1].manifest.kind == "incremental" and members[-1].manifest.state == "backup":
        below = members[-1]
        where = os.path.normpath(os.path.join(below.directory, below.manifest.base_path))
        try:
            base = load(where)
        except BackupInvalid as e:
            raise BackupInvalid(
                f"{below.directory}: its base cannot be used: {e.message}",
                hint="put the base back where it was, or restore another backup",
            ) from e
        if base.id != below.manifest.base_id:
            raise BackupInvalid(
                f"{below.directory}: its base at {where} is another backup ({base.id}) than the one it was taken "
                f"against ({below.manifest.base_id})",
                hint="put the original base back in its place",
            )
        if base.state != "backup":
            raise BackupInvalid(
                f"{below.directory}: its base at {where} has been prepared in place, so increments no longer fit it",
                hint="restore without preparing: `goldcopy restore` needs no prepare",
            )
        members.append(Member(where, base))
    return Image(tuple(members))
