"""Pages as witnesses of the past: a server that was set back shows pages that are older than they were.

A snapshot of the volume that is rolled back leaves every identity as it was, and once the server has written past the
base's LSN, LSNs of the log tell nothing. But a page's LSN never falls, and one that an increment would leave out as
older than the base's checkpoint has had no change since: its LSN is still the one that the base saw (``formats.md`` 5).
So each backup remembers the LSN of some of its newest pages, and the increment on it looks at them again.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from goldcopy.formats import Family, Lsn
from goldcopy.formats.innodb.page import page_lsn, page_space_id
from goldcopy.image.manifest import Witness
from goldcopy.server.files import FileRef

KEPT = 256
_HEADER_BYTES = 38


class NewestPages:
    """The newest pages of a backup. Thread-safe.

    One of a chunk is enough, what lies together being changed together; and the first pages, where growth is told.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._heap: list[tuple[int, str, int, int, int]] = []

    def offer(self, lsn: Lsn, page_no: int, page_size: int, space_id: int, identity: str) -> None:
        """A page that was copied, or seen, with this LSN."""
        if len(self._heap) == KEPT and lsn <= self._heap[0][0]:
            return
        with self._lock:
            heapq.heappush(self._heap, (lsn, identity, page_no, page_size, space_id))
            if len(self._heap) > KEPT:
                heapq.heappop(self._heap)

    def records(self) -> tuple[Witness, ...]:
        """As the manifest keeps them, newest first."""
        return tuple(
            Witness(identity=identity, space_id=space_id, page_no=page_no, page_size=page_size, lsn=lsn)
            for lsn, identity, page_no, page_size, space_id in sorted(self._heap, reverse=True)
        )


@dataclass(frozen=True)
class Contradiction:
    """A page that has become older: ``then`` and ``now`` are its LSNs."""

    path: str
    page_no: int
    then: Lsn
    now: Lsn


def contradiction(
    witnesses: Sequence[Witness], files: Iterable[FileRef], since: Lsn, checkpoint: Lsn, family: Family
) -> Contradiction | None:
    """The first page that proves that the server was set back since the base; None when none does.

    ``since``: the base's checkpoint. ``checkpoint``: the server's, read before: what happened before that is on disk,
    whereas a server that crashed may have lost, and still owe, a page with a later change.
    """
    by_identity: dict[str, list[Witness]] = {}
    for witness in witnesses:
        if witness.lsn < checkpoint:
            by_identity.setdefault(witness.identity, []).append(witness)
    for file in files:
        for witness in by_identity.get(file.identity, ()):
            now = _lsn_now(file, witness, family)
            if now is not None and (now < witness.lsn or (now < since and now != witness.lsn)):
                return Contradiction(file.path, witness.page_no, Lsn(witness.lsn), now)
    return None


def _lsn_now(file: FileRef, witness: Witness, family: Family) -> Lsn | None:
    """The page's LSN, 0 when it is not written yet; None when it may rightly be gone.

    Undo and system tablespaces shrink, MariaDB overwrites what is freed with zeros (buf0flu.cc), and MySQL 5.7
    truncates a table in place, which has another id then. Else a tablespace never gets smaller, nor a page unwritten.
    """
    try:
        with open(file.source, "rb", buffering=0) as f:
            head = f.read(_HEADER_BYTES)
            f.seek(witness.page_no * witness.page_size)
            header = f.read(_HEADER_BYTES)
    except OSError:
        return None
    if len(head) < _HEADER_BYTES or page_space_id(head) != witness.space_id:
        return None
    if len(header) < _HEADER_BYTES:
        return Lsn(0) if file.path.endswith(".ibd") else None
    lsn = page_lsn(header)
    return None if not lsn and family == "mariadb" else lsn
