"""Files change their place without a moment at which one of them is lost: each is whole in one of the two places."""

from __future__ import annotations

import os
from collections.abc import Sequence

from goldcopy.errors import BackupInvalid, TargetRefused
from goldcopy.image import osfile
from goldcopy.restore.durable import copy_whole, second_name
from goldcopy.restore.outfile import make_dirs


class Moving:
    """Moves files in a fixed order. ``pairs``: (source, target), absolute.

    A failure is followed by ``put_back``; after a kill, another ``Moving`` of the same pairs goes on (``resumed``).
    Raises BackupInvalid when a file is in neither place, TargetRefused when a place is taken; nothing was moved then.
    """

    def __init__(self, pairs: Sequence[tuple[str, str]], *, resumed: bool) -> None:
        self._pairs = pairs
        self._begun = 0
        self._copied: list[str] = []
        for source, target in pairs:
            self._check(source, target, resumed)

    def _check(self, source: str, target: str, resumed: bool) -> None:
        here, there = os.path.lexists(source), os.path.lexists(target)
        if not here and not (resumed and there):
            raise BackupInvalid(f"{source} is missing", hint="was the backup moved to a server before?")
        if here and there:
            if not resumed:
                raise TargetRefused(f"{target} is there already; existing files are never overwritten")
            # all places were free when it began: this is a second name, or a copy to another file system
            os.unlink(target)

    def run(self) -> None:
        """Move all; durable when it returns. Copies to another file system leave their sources until ``settle``."""
        for source, target in self._pairs:
            make_dirs(os.path.dirname(target))
            if os.path.lexists(source):
                if second_name(source, target):
                    self._begun += 1
                    os.unlink(source)
                    continue
                copy_whole(source, target)
                self._copied.append(source)
            self._begun += 1
        osfile.sync_filesystems(os.path.dirname(path) for pair in self._pairs for path in pair)

    def settle(self) -> None:
        """It is for good: remove the sources of what was copied."""
        for source in self._copied:
            os.unlink(source)

    def put_back(self) -> None:
        """Leave everything at its source. Raises OSError; the same move goes on then."""
        for source, target in reversed(self._pairs[: self._begun + 1]):
            if not os.path.lexists(target):
                continue
            if not os.path.lexists(source):
                os.rename(target, source)
            elif os.path.samefile(source, target) or source in self._copied:
                os.unlink(target)
