"""What an account must be allowed to do, per kind of server (``formats.md`` 4.2)."""

from __future__ import annotations

from typing import Literal

import msgspec

Feature = Literal["backup", "replica", "replica-position", "binlog", "kill", "history", "locks-of-others"]


class Need(msgspec.Struct, frozen=True):
    """One privilege: any of ``any_of`` serves, the first is what a GRANT should say. ``scope``: as in GRANT ... ON.

    ``feature``: who needs it. ``replica-position``: every backup of a replica; ``replica``: who stops its SQL thread.
    """

    any_of: tuple[str, ...]
    why: str
    feature: Feature = "backup"
    scope: str = "*.*"


def _history(table: str) -> tuple[Need, ...]:
    schema = table.partition(".")[0]
    return tuple(
        Need((privilege,), f"the history table {table}", "history", f"{schema}.*")
        for privilege in ("CREATE", "INSERT", "SELECT")
    )


OLD_HISTORY = "PERCONA_SCHEMA.xtrabackup_history"
MARIADB_HISTORY = "mysql.mariadb_backup_history"

_RELOAD = Need(("RELOAD",), "FLUSH and the backup locks")
_PROCESS_LOCKS = Need(("PROCESS",), "seeing what stands in the way of the locks", "locks-of-others")
_PROCESS_KILL = Need(("PROCESS",), "seeing the queries of others", "kill")
_PROCESS = Need(("PROCESS",), "tablespaces outside the data directory, InnoDB's status")

MARIADB_105 = (
    _RELOAD,
    Need(("BINLOG MONITOR", "REPLICATION CLIENT", "SUPER"), "the binlog position", "binlog"),
    Need(("SLAVE MONITOR", "SUPER"), "the position of a replica", "replica-position"),
    Need(("REPLICATION SLAVE ADMIN", "SUPER"), "stopping and starting the SQL thread", "replica"),
    _PROCESS_KILL,
    _PROCESS_LOCKS,
    Need(("CONNECTION ADMIN", "SUPER"), "ending the queries of others", "kill"),
)
OLD_REPLICATION = (
    _RELOAD,
    _PROCESS,
    Need(("REPLICATION CLIENT", "SUPER"), "the binlog position", "binlog"),
    Need(("SUPER",), "stopping and starting the SQL thread", "replica"),
    Need(("SUPER",), "ending the queries of others", "kill"),
)
MYSQL_80 = (
    Need(("BACKUP_ADMIN",), "the backup lock, the log position"),
    _RELOAD,
    _PROCESS,
    Need(("SELECT",), "the log position", scope="performance_schema.log_status"),
    Need(("REPLICATION CLIENT", "SUPER"), "the position of a replica", "replica-position"),
    Need(("REPLICATION_SLAVE_ADMIN", "SUPER"), "stopping and starting the SQL thread", "replica"),
    Need(("CONNECTION_ADMIN", "SUPER"), "ending the queries of others", "kill"),
)


def with_history(needs: tuple[Need, ...], table: str) -> tuple[Need, ...]:
    """The same needs, and those for writing the peers' history table."""
    return needs + _history(table)
