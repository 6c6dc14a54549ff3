"""How a server tells up to which LSN its redo log is written: (flushed to disk, current)."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import msgspec

from goldcopy.errors import ServerRefused
from goldcopy.formats import Lsn

Rows = Sequence[tuple[Any, ...]]


class LsnSource(msgspec.Struct, frozen=True):
    """``sql`` to ask, ``parse`` to read the answer."""

    sql: str
    parse: Callable[[Rows], tuple[Lsn, Lsn]]


def _from_status(flushed: str, current: str) -> Callable[[Rows], tuple[Lsn, Lsn]]:
    def parse(rows: Rows) -> tuple[Lsn, Lsn]:
        found = {str(name).lower(): int(value) for name, value in rows}
        try:
            return Lsn(found[flushed]), Lsn(found[current])
        except KeyError as e:
            raise ServerRefused(f"the server has no status variable {e.args[0]}") from None

    return parse


def _from_engine_status(rows: Rows) -> tuple[Lsn, Lsn]:
    """``SHOW ENGINE INNODB STATUS``, section LOG (srv0srv.cc, log_print)."""
    text = str(rows[0][2]) if rows else ""
    current = re.search(r"^Log sequence number\s+(\d+)", text, re.MULTILINE)
    flushed = re.search(r"^Log flushed up to\s+(\d+)", text, re.MULTILINE)
    if current is None or flushed is None:
        raise ServerRefused("SHOW ENGINE INNODB STATUS does not tell the log sequence number")
    return Lsn(int(flushed[1])), Lsn(int(current[1]))


MARIADB_STATUS = LsnSource(
    "SHOW GLOBAL STATUS LIKE 'Innodb\\_lsn\\_%'", _from_status("innodb_lsn_flushed", "innodb_lsn_current")
)
MYSQL_STATUS = LsnSource(
    # what SHOW GLOBAL STATUS reads, at half its cost (0.13 ms of the server's CPU)
    "SELECT VARIABLE_NAME, VARIABLE_VALUE FROM performance_schema.global_status WHERE VARIABLE_NAME IN "
    "('Innodb_redo_log_flushed_to_disk_lsn', 'Innodb_redo_log_current_lsn')",
    _from_status("innodb_redo_log_flushed_to_disk_lsn", "innodb_redo_log_current_lsn"),
)
ENGINE_STATUS = LsnSource("SHOW ENGINE INNODB STATUS", _from_engine_status)
