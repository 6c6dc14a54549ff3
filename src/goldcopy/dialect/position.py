"""How a server tells its binlog position, and a replica the coordinates of its source."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from goldcopy.errors import ServerRefused
from goldcopy.formats import Lsn

Rows = Sequence[tuple[Any, ...]]
Record = Mapping[str, Any]


class BinlogPoint(msgspec.Struct, frozen=True):
    """``lsn``: InnoDB's LSN at exactly this point, None where the query does not tell. ``channels``: replication
    channels that the answer names, None where it names none at all."""

    file: str
    position: int
    gtid: str
    lsn: Lsn | None = None
    channels: tuple[str, ...] | None = None


class PositionSource(msgspec.Struct, frozen=True):
    """``statements`` run in order; ``parse`` gets a list of rows for each, every row a record by column name.

    ``names_channels``: the answer tells which replication channels there are. ``of_binlog``: statements that tell
    nothing, and want a privilege, where there is no binlog.
    """

    statements: tuple[str, ...]
    parse: Callable[[Sequence[Sequence[Record]]], BinlogPoint]
    names_channels: bool = False
    of_binlog: frozenset[str] = frozenset()


class ReplicaState(msgspec.Struct, frozen=True, kw_only=True):
    """Where a replication channel stood: what its SQL thread had executed, in the source's coordinates."""

    channel: str = ""
    source_host: str = ""
    source_port: int = 0
    source_log_file: str = ""
    source_log_pos: int = 0
    gtid: str = ""
    auto_position: bool = False
    sql_running: bool = False


class ReplicaWords(msgspec.Struct, frozen=True):
    """The statements about replicas: MySQL 8.4 no longer knows SLAVE.

    ``{channel}`` in ``stop_sql``/``start_sql`` stands for the clause that names one channel. ``gtid_sql``: what the
    replica would go on from by GTID, where the status tells something else once it was set by hand; "" = the status.
    """

    status: str
    stop_sql: str
    start_sql: str
    open_temp_tables: str
    named: Callable[[str], str]
    gtid_sql: str = ""


def _log_status(answers: Sequence[Sequence[Record]]) -> BinlogPoint:
    """``performance_schema.log_status`` (MySQL 8.0+): one atomic answer."""
    if not answers[0]:
        raise ServerRefused("performance_schema.log_status is empty", hint="performance_schema must be ON")
    row = answers[0][0]
    local, engines = json.loads(row["LOCAL"]), json.loads(row["STORAGE_ENGINES"])
    replication = json.loads(row["REPLICATION"] or "{}")
    return BinlogPoint(
        str(local.get("binary_log_file") or ""),
        int(local.get("binary_log_position") or 0),
        _one_line(local.get("gtid_executed") or ""),
        Lsn(int(engines["InnoDB"]["LSN"])),
        tuple(str(c["channel_name"]) for c in replication.get("channels", ())),
    )


def _mysql_status(answers: Sequence[Sequence[Record]]) -> BinlogPoint:
    """``SHOW MASTER STATUS`` of MySQL 5.6 and 5.7, then gtid_mode. No row: no binlog.

    Where GTIDs were switched off the set stands still, and says nothing about this position.
    """
    if not answers[0]:
        return BinlogPoint("", 0, "")
    row, mode = answers[0][0], str(answers[1][0]["gtid_mode"])
    gtid = "" if mode.upper() == "OFF" else _one_line(row.get("Executed_Gtid_Set") or "")
    return BinlogPoint(str(row["File"]), int(row["Position"]), gtid)


def _mariadb_status(answers: Sequence[Sequence[Record]]) -> BinlogPoint:
    """Binlog status, then the GTID variables. Without a binlog only gtid_current_pos says anything."""
    gtids = answers[1][0]
    if not answers[0]:
        return BinlogPoint("", 0, str(gtids["current_pos"] or ""))
    row = answers[0][0]
    return BinlogPoint(str(row["File"]), int(row["Position"]), str(gtids["binlog_pos"] or gtids["current_pos"] or ""))


def _one_line(gtid_set: str) -> str:
    return gtid_set.replace("\n", "").replace(" ", "")


_MARIADB_GTIDS = "SELECT @@GLOBAL.gtid_binlog_pos AS binlog_pos, @@GLOBAL.gtid_current_pos AS current_pos"

LOG_STATUS = PositionSource(
    ("SELECT LOCAL, REPLICATION, STORAGE_ENGINES FROM performance_schema.log_status",), _log_status, True
)
_MASTER_STATUS = "SHOW MASTER STATUS"
MASTER_STATUS = PositionSource(
    (_MASTER_STATUS, "SELECT @@GLOBAL.gtid_mode AS gtid_mode"), _mysql_status, of_binlog=frozenset((_MASTER_STATUS,))
)
MARIADB_STATUS = PositionSource(
    (_MASTER_STATUS, _MARIADB_GTIDS), _mariadb_status, of_binlog=frozenset((_MASTER_STATUS,))
)


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def _for_channel(channel: str) -> str:
    return f" FOR CHANNEL {_text(channel)}" if channel else ""


def _no_channel(_channel: str) -> str:
    return ""


def _mariadb_name(channel: str) -> str:
    return f" {_text(channel)}" if channel else ""


REPLICA = ReplicaWords(
    "SHOW REPLICA STATUS", "STOP REPLICA SQL_THREAD{channel}", "START REPLICA SQL_THREAD{channel}",
    "Replica_open_temp_tables", _for_channel,
)
SLAVE_CHANNELS = ReplicaWords(
    "SHOW SLAVE STATUS", "STOP SLAVE SQL_THREAD{channel}", "START SLAVE SQL_THREAD{channel}",
    "Slave_open_temp_tables", _for_channel,
)
SLAVE_SINGLE = ReplicaWords(
    "SHOW SLAVE STATUS", "STOP SLAVE SQL_THREAD{channel}", "START SLAVE SQL_THREAD{channel}",
    "Slave_open_temp_tables", _no_channel,
)
# MariaDB names the connection in the middle: STOP SLAVE 'name' SQL_THREAD
SLAVE_MARIADB = ReplicaWords(
    "SHOW ALL SLAVES STATUS", "STOP SLAVE{channel} SQL_THREAD", "START SLAVE{channel} SQL_THREAD",
    "Slave_open_temp_tables", _mariadb_name, "SELECT @@GLOBAL.gtid_slave_pos",
)


def replica_state(row: Record) -> ReplicaState:
    """One row of SHOW REPLICA STATUS / SHOW SLAVE STATUS / SHOW ALL SLAVES STATUS, whatever the words in it."""
    get = _Words(row)
    return ReplicaState(
        channel=get("Channel_Name", "Connection_name"),
        source_host=get("Source_Host", "Master_Host"),
        source_port=int(get("Source_Port", "Master_Port") or 0),
        source_log_file=get("Relay_Source_Log_File", "Relay_Master_Log_File"),
        source_log_pos=int(get("Exec_Source_Log_Pos", "Exec_Master_Log_Pos") or 0),
        gtid=_one_line(get("Executed_Gtid_Set", "Gtid_Slave_Pos")),
        auto_position=get("Auto_Position") == "1" or get("Using_Gtid") in ("Slave_Pos", "Current_Pos"),
        sql_running=get("Replica_SQL_Running", "Slave_SQL_Running") == "Yes",
    )


class _Words:
    """The first of several column names that a row has."""

    def __init__(self, row: Record) -> None:
        self._row = row

    def __call__(self, *names: str) -> str:
        for name in names:
            value = self._row.get(name)
            if value is not None:
                return str(value)
        return ""
