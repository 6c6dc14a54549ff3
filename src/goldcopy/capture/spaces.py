"""What has been copied of the tablespaces, and what DDL did to them meanwhile.

A tablespace is known by its identity (inode and birth time) and never by its name: names move (RENAME, swaps), and
inode numbers are reused at once.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Set
from dataclasses import dataclass, replace

from goldcopy.capture.copier import UNKNOWN_SPACE, SpaceResult, imported_since
from goldcopy.errors import ServerRefused
from goldcopy.formats.innodb.page import SYSTEM_SPACE
from goldcopy.image.manifest import Space
from goldcopy.image.sink import Sink
from goldcopy.server.files import FileRef

_PARKED = ".goldcopy-parked"
# File times move in ticks of the kernel, so one may be a little older than the write that set it.
_TICK_NS = 50_000_000


@dataclass(frozen=True)
class Changes:
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
        # with 100,000 tables each further object per table costs megabytes: there is one, the copier's result
        self._by_identity: dict[str, SpaceResult] = {}
        self._started_ns = 0
        self._again_ns: dict[str, int] = {}

    def add(self, results: Iterable[SpaceResult], started_ns: int) -> list[str]:
        """Take results. A file that vanished while it was copied is left out: nothing of it is kept.

        ``started_ns``: when their copy began. Returns paths to remove from the sink: a table that was renamed to the
        name of another one just before that was opened has been copied twice, under both names.
        """
        self._started_ns = self._started_ns or started_ns
        twice = []
        for r in results:
            if r.vanished:
                continue
            if r.identity in self._by_identity:
                twice.append(r.path)
                continue
            self._by_identity[r.identity] = r
            if started_ns > self._started_ns:
                self._again_ns[r.identity] = started_ns
        return twice

    def compare(self, files: Iterable[FileRef], altered: Set[str] = frozenset()) -> Changes:
        """Compare with the data directory as it is now (under a lock that keeps DDL out).

        Fresh: created since, or rewritten in place by an IMPORT that was caught half-way (``suspect``), or of a
        table that is ``altered`` (``db/table``): its indexes may have been built without redo.
        """
        fresh: list[FileRef] = []
        renamed: list[tuple[str, str]] = []
        alive = set()
        for file in files:
            result = self._by_identity.get(file.identity)
            if result is None or table_of(file.path) in altered or self._rewritten(result, file):
                fresh.append(file)
                continue
            alive.add(file.identity)
            if result.path != file.path:
                renamed.append((result.path, file.path))
        gone = tuple(r.path for i, r in self._by_identity.items() if i not in alive)
        return Changes(tuple(fresh), tuple(renamed), gone)

    def _rewritten(self, result: SpaceResult, file: FileRef) -> bool:
        if file.mtime_ns < self._again_ns.get(file.identity, self._started_ns) - _TICK_NS:
            return False
        return result.suspect or imported_since(result, file.source)

    def mend(self, changes: Changes, sink: Sink) -> None:
        """Make the sink's names those of now: drop what is gone, move what was renamed (swaps included)."""
        for path in changes.gone:
            sink.remove_space(path)
        for old, _new in changes.renamed:
            sink.rename_space(old, old + _PARKED)
        for old, new in changes.renamed:
            sink.rename_space(old + _PARKED, new)
        gone, renamed = set(changes.gone), dict(changes.renamed)
        for identity, result in list(self._by_identity.items()):
            if result.path in gone:
                del self._by_identity[identity]
            elif result.path in renamed:
                # asked again later, it must not look renamed once more
                self._by_identity[identity] = replace(result, path=renamed[result.path])

    def records(self, files: Iterable[FileRef]) -> tuple[Space, ...]:
        """The manifest's records, with the names and sizes that the files have now (they may have grown since).

        ``files``: the list of now. The results are used up. Raises ServerRefused when two files are one tablespace.
        """
        out = []
        for file in files:
            r = self._by_identity.pop(file.identity, None)
            if r is None:
                continue
            try:
                size_now = os.stat(file.source).st_size
            except FileNotFoundError:
                size_now = 0
            out.append(r.record(path=file.path, external=file.external, size_final=max(r.size, size_now)))
        assert not self._by_identity, "compare has sorted out what is gone"
        _refuse_same_id(out)
        return tuple(sorted(out, key=lambda s: s.path))

    def __len__(self) -> int:
        return len(self._by_identity)


def _refuse_same_id(spaces: Iterable[Space]) -> None:
    """Redo names a tablespace by its id alone, so recovery might write a table's changes into the other file."""
    by_id: dict[int, str] = {}
    for space in spaces:
        if space.space_id in (SYSTEM_SPACE, UNKNOWN_SPACE):
            continue  # several files by right; not written yet, so not known
        other = by_id.setdefault(space.space_id, space.path)
        if other != space.path:
            raise ServerRefused(
                f"{other} and {space.path} both say that they are tablespace {space.space_id}",
                hint="one is a stray copy that belongs to no table: move it out of the data directory",
            )
