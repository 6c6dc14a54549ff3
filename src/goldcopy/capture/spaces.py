"""What has been copied of the tablespaces, and what DDL did to them meanwhile.

A tablespace is known by its identity (inode and birth time) and never by its name: names move (RENAME, swaps), and
inode numbers are reused at once.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Set
from itertools import pairwise

import msgspec

from goldcopy.capture.copy_space import UNKNOWN_SPACE, SpaceResult, imported_since
from goldcopy.errors import ServerRefused
from goldcopy.formats.innodb.page import SYSTEM_SPACE
from goldcopy.formats.packed import Packed, Table
from goldcopy.image.manifest import Space
from goldcopy.image.sink import Sink
from goldcopy.server.files import FileRef, Stray

_PARKED = ".goldcopy-parked"
# File times move in ticks of the kernel, so one may be a little older than the write that set it.
_TICK_NS = 50_000_000


class Changes(msgspec.Struct, frozen=True):
    """What a second look at the data directory found."""

    fresh: tuple[FileRef, ...]
    renamed: tuple[tuple[str, str], ...]
    gone: tuple[str, ...]


def table_of(path: str) -> str:
    """``db/table`` of a tablespace or definition file, partitions included."""
    return path.rpartition(".")[0].split("#P#")[0].split("#p#")[0]


def altered_since(definitions: Iterable[FileRef], started_ns: int) -> frozenset[str]:
    """Tables (``db/table``) whose .frm was written since ``started_ns``."""
    return frozenset(
        table_of(f.path) for f in definitions if f.path.endswith(".frm") and f.ctime_ns >= started_ns - _TICK_NS
    )


class CopiedSpaces:
    """The results of the copier, by identity, kept true to the data directory."""

    def __init__(self) -> None:
        self._held = _no_results()
        self._started_ns = 0
        self._again_ns: dict[str, int] = {}

    def add(self, result: SpaceResult, started_ns: int) -> bool:
        """Take a result. Of a file that vanished while it was copied nothing is kept.

        ``started_ns``: when its copy began. False: it must be removed from the sink again. A table that was renamed to
        the name of another one just before that was opened has been copied twice, under both names.
        """
        self._started_ns = self._started_ns or started_ns
        if result.vanished:
            return True
        if not self._held.add(result):
            return False
        if started_ns > self._started_ns:
            self._again_ns[result.identity] = started_ns
        return True

    def compare(
        self, files: Iterable[FileRef], altered: Set[str] = frozenset(), built: Set[int] = frozenset()
    ) -> Changes:
        """Compare with the data directory as it is now (under a lock that keeps DDL out).

        Fresh: created since, or rewritten in place by an IMPORT that was caught half-way (``suspect``), or of a
        table that is ``altered`` (``db/table``) or in a tablespace that is ``built`` (ids): its indexes may have been
        built without redo.
        """
        roll = self._held.roll_call()
        fresh: list[FileRef] = []
        renamed: list[tuple[str, str]] = []
        gone: list[str] = []
        for file in files:
            result = roll.get(file.identity)
            if result is None:
                fresh.append(file)
            elif result.space_id in built or table_of(file.path) in altered or self._rewritten(result, file):
                fresh.append(file)
                gone.append(result.path)
            elif result.path != file.path:
                renamed.append((result.path, file.path))
        gone += (result.path for result in roll.missing())
        return Changes(tuple(fresh), tuple(renamed), tuple(gone))

    def _rewritten(self, result: SpaceResult, file: FileRef) -> bool:
        if file.mtime_ns < self._again_ns.get(file.identity, self._started_ns) - _TICK_NS:
            return False
        return result.suspect or imported_since(result, file.source)

    def mend(self, changes: Changes, sink: Sink) -> None:
        """Make the sink's names those of now: drop what is gone, move what was renamed (swaps included)."""
        for path in changes.gone:
            sink.remove_space(path)
        # numbered: a name may be so long already that nothing fits behind it
        aside = [os.path.join(os.path.dirname(old), f"{n}{_PARKED}") for n, (old, _) in enumerate(changes.renamed)]
        for (old, _new), parked in zip(changes.renamed, aside, strict=True):
            sink.rename_space(old, parked)
        for (_old, new), parked in zip(changes.renamed, aside, strict=True):
            sink.rename_space(parked, new)
        gone, renamed = set(changes.gone), dict(changes.renamed)
        if not gone and not renamed:
            return  # mostly so, and each look at all results costs time under the lock
        for result in [r for r in self._held if r.path in gone or r.path in renamed]:
            if result.path in gone:
                self._held.discard(result.identity)
            else:
                # asked again later, it must not look renamed once more
                self._held.put(msgspec.structs.replace(result, path=renamed[result.path]))

    def records(self, files: Iterable[FileRef]) -> Packed[Space]:
        """The manifest's records, with the names and sizes that the files have now (they may have grown since).

        ``files``: the list of now. The results are used up.
        """
        roll = self._held.roll_call()
        records = Packed(Space)
        for file in files:
            result = roll.get(file.identity)
            if result is None:
                continue
            try:
                size_now = os.stat(file.source).st_size
            except FileNotFoundError:
                size_now = 0
            records.append(
                result.record(path=file.path, external=file.external, size_final=max(result.size, size_now))
            )
        assert not roll.missing(), "compare has sorted out what is gone"
        self._held = _no_results()
        return records

    def leave_strays_out(self, owners: Callable[[Iterable[int]], Mapping[int, str]], sink: Sink) -> list[Stray]:
        """Of several files that say that they are one tablespace, keep the one that the server has under that id.

        Redo names a tablespace by its id alone, so recovery might write a table's changes into another file: one that
        awaits an IMPORT, or a forgotten copy. ``owners``: asks the server. Raises ServerRefused when none is its file.
        """
        # several files by right; not written yet, so not known
        ids = sorted(r.space_id for r in self._held if r.space_id not in (SYSTEM_SPACE, UNKNOWN_SPACE))
        twice = {one for one, other in pairwise(ids) if one == other}
        if not twice:
            return []
        owner = owners(twice)
        files = [r for r in self._held if r.space_id in twice]
        for space_id in twice:
            paths = [r.path for r in files if r.space_id == space_id]
            if owner.get(space_id) not in paths:
                raise ServerRefused(
                    f"{paths[0]} and {paths[1]} both say that they are tablespace {space_id}",
                    hint="one is a stray copy that belongs to no table: move it out of the data directory",
                )
        strays = [r for r in files if r.path != owner[r.space_id]]
        for result in strays:
            sink.remove_space(result.path)
            self._held.discard(result.identity)
        return [Stray(r.path, r.space_id, owner[r.space_id]) for r in strays]

    def __len__(self) -> int:
        return len(self._held)


def _no_results() -> Table[str, SpaceResult]:
    return Table(SpaceResult, lambda result: result.identity)
