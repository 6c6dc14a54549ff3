"""Files that are not InnoDB tablespaces: copied early, and again under the lock if they changed.

Copying everything under the lock would hold it for as long as MyISAM is big. So a first pass copies before the
lock; the pass under it copies only what is not provably the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Set

from goldcopy.capture.plain import PlainCopier, unchanged
from goldcopy.image.manifest import Plain
from goldcopy.server.files import FileRef

# File times move in ticks of the kernel (4 ms, 10 ms on old ones): a file written in the tick in which we copied
# it may look the same afterwards.
_TICK_NS = 50_000_000


class PlainSet:
    """Keeps the newest copy of every plain file. ``base``: records of the base backup, empty for a full."""

    def __init__(self, copier: PlainCopier, base: Mapping[str, Plain], base_started_ns: int) -> None:
        self._copier, self._base, self._base_started_ns = copier, base, base_started_ns
        self._held: dict[str, Plain] = {}
        self._unsettled: set[str] = set()

    def copy(self, files: Iterable[FileRef], empty_dirs: Iterable[str], cancelled: Callable[[], bool]) -> int:
        """Make the set equal to ``files``, gone through twice. Returns how many had to be copied."""
        copied = 0
        self._drop_all_but({f.path for f in files})
        for file in files:
            if cancelled():
                break
            held = self._held.get(file.path)
            if held is not None and file.path not in self._unsettled and _same(held, file):
                continue
            record = self._take(file)
            if record is not None:
                self._hold(record)
                copied += record.stored == "file"
        self._dirs = tuple(empty_dirs)
        return copied

    def _drop_all_but(self, paths: Set[str]) -> None:
        for path in [p for p in self._held if p not in paths]:
            self._copier.remove(self._held.pop(path))
            self._unsettled.discard(path)

    def _hold(self, record: Plain) -> None:
        self._held[record.path] = record
        if record.mtime_ns < time.time_ns() - _TICK_NS:
            self._unsettled.discard(record.path)
        else:
            self._unsettled.add(record.path)

    def _take(self, file: FileRef) -> Plain | None:
        base = self._base.get(file.path)
        if base is not None and unchanged(file, base, self._base_started_ns):
            return self._copier.from_base(file, base)
        return self._copier.copy(file)

    def records(self) -> tuple[Plain, ...]:
        """The manifest's records: files, then directories that would be empty."""
        dirs = [self._copier.make_dir(d) for d in self._dirs]
        return (*sorted(self._held.values(), key=lambda p: p.path), *dirs)


def _same(held: Plain, file: FileRef) -> bool:
    return (held.identity, held.size, held.mtime_ns, held.ctime_ns) == (
        file.identity, file.size, file.mtime_ns, file.ctime_ns,
    )
