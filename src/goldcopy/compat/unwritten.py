"""Tables of which nothing but redo exists, in an increment that mariadb-backup is to prepare.

Their first page is not on disk yet, so the engine takes the file as it is. mariadb-backup removes every tablespace
for which an increment has no delta; an empty delta, with the id that the server tells, has it make the file, which the
redo then fills.
"""

from __future__ import annotations

from goldcopy.errors import GoldcopyError
from goldcopy.formats import SpaceId
from goldcopy.formats.innodb.page import geometry_of
from goldcopy.image.chain import has_room_for_delta
from goldcopy.image.manifest import Manifest
from goldcopy.image.sink import Sink
from goldcopy.server.instance import Instance

_QUERY = "SELECT NAME, SPACE, FLAG FROM information_schema.INNODB_SYS_TABLESPACES"
_ON_DISK = (1 << 25) - 1
"""The flags that stand in the file; those above are the server's notes (fsp0types.h, FSP_FLAGS_MEM_MASK)."""


class UnwrittenSpaces:
    """Asks for ids under the lock by ``look``, and writes the deltas by ``write``."""

    def __init__(self, instance: Instance) -> None:
        self._instance = instance
        self._known: dict[str, tuple[int, int]] = {}

    def look(self) -> None:
        """Learn the id and flags of every tablespace; nothing where the account or the server has no such table."""
        try:
            rows = self._instance.session.rows(_QUERY)
        except GoldcopyError:
            return
        self._known = {f"{name}.ibd": (int(space), int(flags) & _ON_DISK) for name, space, flags in rows}

    def write(self, manifest: Manifest, sink: Sink) -> None:
        """Put an empty delta beside each tablespace that was taken as it is."""
        for space in manifest.spaces:
            known = space.stored == "raw" and space.path in self._known
            if known and has_room_for_delta(space.path):
                space_id, flags = self._known[space.path]
                sink.open_delta(space.path, geometry=geometry_of(SpaceId(space_id), flags, "mariadb")).finish()
