"""Files that are not InnoDB tablespaces: copied early, and again under the lock if they changed.

Copying everything under the lock would hold it for as long as MyISAM is big. So a first pass copies before the
lock; the pass under it copies only what is not provably the same.
"""

from __future__ import annotations

import time
from array import array
from collections.abc import Callable, Iterable, Sequence

from goldcopy.capture.plain import PlainCopier, looks_same, unchanged
from goldcopy.formats.packed import Lookup, Packed, Table
from goldcopy.image.manifest import Plain
from goldcopy.server.files import FileRef

# File times move in ticks of the kernel (4 ms, 10 ms on old ones): a file written in the tick in which we copied
# it may look the same afterwards.
_TICK_NS = 50_000_000


class PlainSet:
    """Keeps the newest copy of every plain file. ``base``: records of the base backup, None for a full."""

    def __init__(self, copier: PlainCopier, base: Lookup[str, Plain] | None, base_started_ns: int) -> None:
        self._copier, self._base, self._base_started_ns = copier, base, base_started_ns
        self._held = Table(Plain, lambda plain: plain.path)
        self._unsettled: set[str] = set()

    def copy(self, files: Sequence[FileRef], empty_dirs: Iterable[str], cancelled: Callable[[], bool]) -> int:
        """Make the set equal to ``files``. Returns how many had to be copied."""
        copied = 0
        for number in self._missing(files):
            if cancelled():
                break
            record = self._take(files[number])
            if record is not None:
                self._hold(record)
                copied += record.stored == "file"
        self._dirs = tuple(empty_dirs)
        return copied

    def _missing(self, files: Sequence[FileRef]) -> Sequence[int]:
        """Which files are to be taken. What is held and no longer there, or no longer so, is dropped."""
        roll = self._held.roll_call()
        missing = array("L")
        for number, file in enumerate(files):
            held = roll.get(file.path)
            if held is not None:
                if file.path not in self._unsettled and looks_same(file, held):
                    continue
                self._drop(held)
            missing.append(number)
        for held in roll.missing():
            self._drop(held)
        return missing

    def _drop(self, held: Plain) -> None:
        self._copier.remove(held)
        self._held.discard(held.path)
        self._unsettled.discard(held.path)

    def _hold(self, record: Plain) -> None:
        self._held.put(record)
        if record.mtime_ns < time.time_ns() - _TICK_NS:
            self._unsettled.discard(record.path)
        else:
            self._unsettled.add(record.path)

    def _take(self, file: FileRef) -> Plain | None:
        base = self._base.get(file.path) if self._base is not None else None
        if base is not None and unchanged(file, base, self._base_started_ns):
            return self._copier.from_base(file, base)
        return self._copier.copy(file)

    def records(self) -> Packed[Plain]:
        """The manifest's records: files, then directories that would be empty."""
        records = Packed(Plain, self._held)
        records.extend(self._copier.make_dir(directory) for directory in self._dirs)
        return records
