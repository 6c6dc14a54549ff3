"""Where the server stands: binlog coordinates, GTIDs, a replica's source, Galera; read under the backup's locks."""

from __future__ import annotations

import os

import msgspec
from msgspec.structs import replace

from goldcopy.dialect.position import ReplicaState, replica_state
from goldcopy.errors import PrivilegeMissing
from goldcopy.formats import Lsn
from goldcopy.server.instance import Instance


class ConsistentPoint(msgspec.Struct, frozen=True, kw_only=True):
    """Coordinates that belong together. ``binlog_file`` empty: no binlog. ``lsn``: InnoDB's LSN at exactly this
    point, where the server tells it in the same answer; None: ask for it while commits are blocked.
    ``galera``: ``uuid:seqno``, "" outside a cluster."""

    binlog_file: str
    binlog_position: int
    gtid: str
    lsn: Lsn | None = None
    replicas: tuple[ReplicaState, ...] = ()
    galera: str = ""


def read_position(instance: Instance) -> ConsistentPoint:
    """The position now; consistent when the locks of ``BackupLocks.block_commit`` are held.

    Raises PrivilegeMissing when the server is a replica and the account may not see its coordinates.
    """
    source = instance.dialect.position
    left_out = source.of_binlog if instance.variables.get("log_bin", "").upper() in ("OFF", "0") else frozenset()
    point = source.parse([[] if sql in left_out else instance.session.records(sql) for sql in source.statements])
    return ConsistentPoint(
        binlog_file=point.file,
        binlog_position=point.position,
        gtid=point.gtid,
        lsn=point.lsn,
        replicas=() if point.channels == () else replica_states(instance),
        galera=_galera(instance),
    )


def is_replica(instance: Instance) -> bool:
    """Whether the server has replication channels, running or not; needs no privilege of its own."""
    source = instance.dialect.position
    if source.names_channels:
        return bool(source.parse([instance.session.records(sql) for sql in source.statements]).channels)
    return _looks_like_replica(instance)


def replica_states(instance: Instance) -> tuple[ReplicaState, ...]:
    """The replication channels of the server, none when it is no replica.

    An account that may not ask is no hindrance on a server that shows no sign of being a replica. Raises
    PrivilegeMissing otherwise.
    """
    try:
        rows = instance.session.records(instance.dialect.replica.status)
    except PrivilegeMissing:
        if _looks_like_replica(instance):
            raise
        return ()
    states = tuple(replica_state(row) for row in rows)
    sql = instance.dialect.replica.gtid_sql
    if not (states and sql):
        return states
    position = str(instance.session.value(sql) or "")
    return tuple(replace(state, gtid=position) for state in states)


def _looks_like_replica(instance: Instance) -> bool:
    """Signs that need no privilege: running SQL threads, files in which a replica keeps its coordinates."""
    rows = instance.session.rows("SHOW GLOBAL STATUS LIKE 'Slave%running'")
    if any(str(value).upper() not in ("OFF", "0", "") for _, value in rows):
        return True
    return any(n.startswith("master") and n.endswith(".info") for n in os.listdir(instance.datadir))


def _galera(instance: Instance) -> str:
    if instance.variables.get("wsrep_on", "").upper() != "ON":
        return ""
    status = {
        str(n).lower(): str(v)
        for n, v in instance.session.rows(
            "SHOW GLOBAL STATUS WHERE Variable_name IN ('wsrep_local_state_uuid', 'wsrep_last_committed')"
        )
    }
    return f"{status.get('wsrep_local_state_uuid', '')}:{status.get('wsrep_last_committed', '')}"
