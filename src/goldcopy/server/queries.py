"""The queries of others that keep a lock from us: found, waited for, ended."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from goldcopy.dialect.locking import Blocker
from goldcopy.errors import ServerRefused
from goldcopy.events import Emit, Note
from goldcopy.server.session import Session

WaitType = Literal["all", "update"]
KillType = Literal["all", "select"]
_POLL_S = 1.0
_RUNNING = frozenset({"Query", "Execute"})
_COMMENT = re.compile(r"/\*(?![!M]).*?\*/|--[ \t][^\n]*\n?|#[^\n]*\n?", re.DOTALL)
_READS = re.compile(r"[\s(]*(SELECT|TABLE|VALUES|SHOW|DESC|DESCRIBE|EXPLAIN|WITH)\b", re.IGNORECASE)
_WRITES_INSIDE = re.compile(r"\b(UPDATE|DELETE|INSERT|REPLACE)\b", re.IGNORECASE)
_DDL = re.compile(
    r"\s*(CREATE|ALTER|DROP|RENAME|TRUNCATE|OPTIMIZE|REPAIR|ANALYZE|IMPORT|GRANT|REVOKE|INSTALL|UNINSTALL)\b",
    re.IGNORECASE,
)
_OURS = re.compile(r"\s*(BACKUP STAGE|LOCK INSTANCE FOR BACKUP|FLUSH )", re.IGNORECASE)


class RunningQuery(msgspec.Struct, frozen=True):
    """A statement that another connection runs. ``seconds``: for how long."""

    connection_id: int
    user: str
    seconds: float
    state: str
    sql: str

    @property
    def only_reads(self) -> bool:
        """A statement that changes nothing, as far as its words tell."""
        text = _COMMENT.sub(" ", self.sql)
        found = _READS.match(text)
        if found is None:
            return False
        return found[1].upper() != "WITH" or not _WRITES_INSIDE.search(text)

    def can_block(self, lock: Blocker) -> bool:
        """Whether a lock that waits for such statements can be waiting for this one."""
        if lock == "ddl":
            return _DDL.match(_COMMENT.sub(" ", self.sql)) is not None
        return lock == "all" or (lock == "writes" and not self.only_reads)

    @property
    def told(self) -> str:
        """The words of the peers' logs, which people search for."""
        return f"query {self.connection_id} (duration {self.seconds:.0f} sec): {self._shown}"

    def __str__(self) -> str:
        return f"connection {self.connection_id} ({self.user}, {self.seconds:.0f} s): {self._shown}"

    @property
    def _shown(self) -> str:
        return " ".join(self.sql.split())[:100]


def running_queries(session: Session, *, own: Iterable[int] = ()) -> list[RunningQuery]:
    """What other clients run now, longest first; server threads, replication and ``own`` connections left out."""
    mine = {session.connection_id, *own}
    found = [_query(row) for row in session.records("SHOW FULL PROCESSLIST")]
    return sorted(
        (q for q in found if q is not None and q.connection_id not in mine), key=lambda q: q.seconds, reverse=True
    )


def _query(row: dict[str, Any]) -> RunningQuery | None:
    sql = str(row.get("Info") or "")
    user = str(row.get("User") or "")
    if row.get("Command") not in _RUNNING or not sql or user in ("system user", "event_scheduler"):
        return None
    return RunningQuery(int(row["Id"]), user, float(row.get("Time") or 0), str(row.get("State") or ""), sql)


def wait_for_long_queries(
    session: Session, emit: Emit, *, threshold_s: float, timeout_s: float, kind: WaitType
) -> None:
    """Wait until no statement runs for ``threshold_s`` or longer; with ``update``, statements that only read do not
    count. Raises ServerRefused, naming one of them, after ``timeout_s``."""
    started = time.monotonic()
    known: set[int] = set()
    while True:
        long = [
            q
            for q in running_queries(session)
            if q.seconds >= threshold_s and (kind == "all" or not q.only_reads)
        ]
        waited = time.monotonic() - started
        if not long:
            return
        if not known:
            longer = f"queries running longer than {threshold_s:.0f} seconds to finish"
            emit(Note(f"Waiting {timeout_s:.0f} seconds for {longer}"))
        for query in long:
            if query.connection_id not in known:
                emit(Note(f"Waiting for {query.told}"))
            known.add(query.connection_id)
        if waited >= timeout_s:
            raise ServerRefused(
                f"{len(long)} long statement(s) still run after {waited:.0f} s of waiting; {long[0]}",
                hint="take the backup at a quieter time, wait longer (--wait-queries-s), or let them be ended "
                "(--kill-queries-s)",
            )
        time.sleep(_POLL_S)


def may_be_ended(query: RunningQuery, kind: KillType, lock: Blocker, waited_s: float) -> bool:
    """A statement that can be what the lock waits for, is no other backup's, and of the kind that the user gave up.

    What started after us waits for us, not we for it: it runs for less time than we wait.
    """
    if query.seconds + 1 < waited_s or _OURS.match(query.sql) or not query.can_block(lock):
        return False
    return kind == "all" or query.only_reads
