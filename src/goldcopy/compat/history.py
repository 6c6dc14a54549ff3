"""The history tables of the peers: made when missing, one row a backup, and the base of an increment found in them.

Columns and their order are the originals'; times are given as epoch seconds, so that they are right in whatever
time zone the server is.
"""

from __future__ import annotations

from datetime import datetime
from typing import Protocol

from goldcopy.compat.infofiles import Info
from goldcopy.dialect.peers import Peer
from goldcopy.errors import BackupInvalid

_TEXT_255 = "VARCHAR(255) DEFAULT NULL"
_YES_NO = "ENUM('Y', 'N') DEFAULT NULL"
_LSN = "BIGINT UNSIGNED DEFAULT NULL"


class Session(Protocol):
    """What is needed of ``server.session.Session``."""

    def run(self, sql: str) -> object:
        """Run a statement without a result."""

    def value(self, sql: str) -> object:
        """The first column of the first row; None without a row."""


def table(peer: Peer) -> str:
    """The history table with its database."""
    return f"{peer.history_database}.{peer.history_table}"


def columns(peer: Peer) -> tuple[tuple[str, str], ...]:
    """Name and type of every column, in order."""
    own = () if peer.mariadb else (("compact", _YES_NO),)
    last = () if peer.mariadb else (("encrypted", _YES_NO),)
    return (
        ("uuid", "VARCHAR(40) NOT NULL PRIMARY KEY"),
        ("name", _TEXT_255),
        ("tool_name", _TEXT_255),
        ("tool_command", "TEXT DEFAULT NULL"),
        ("tool_version", _TEXT_255),
        ("ibbackup_version", _TEXT_255),
        ("server_version", _TEXT_255),
        ("start_time", "TIMESTAMP NULL DEFAULT NULL"),
        ("end_time", "TIMESTAMP NULL DEFAULT NULL"),
        ("lock_time", _LSN),
        ("binlog_pos", "VARCHAR(128) DEFAULT NULL" if peer.mariadb else "TEXT DEFAULT NULL"),
        ("innodb_from_lsn", _LSN),
        ("innodb_to_lsn", _LSN),
        ("partial", _YES_NO),
        ("incremental", _YES_NO),
        ("format", f"ENUM('file', 'tar', '{peer.stream_format}') DEFAULT NULL"),
        *own,
        ("compressed", _YES_NO),
        *last,
    )


def create(session: Session, peer: Peer) -> None:
    """Make the table, and its database, unless they are there; bring an older table up to date.

    An account that may only INSERT is enough once the table is there and current.
    """
    if not _column_type(session, peer, "uuid"):
        if peer.history_database != "mysql":
            session.run(f"CREATE DATABASE IF NOT EXISTS {peer.history_database}")
        defined = ", ".join(f"{name} {kind}" for name, kind in columns(peer))
        session.run(f"CREATE TABLE IF NOT EXISTS {table(peer)} ({defined}) CHARACTER SET utf8 ENGINE=innodb")
        return
    stale = "format" if peer.mariadb else "binlog_pos"
    kind = dict(columns(peer))[stale]
    wanted = kind.removesuffix(" DEFAULT NULL").replace(", ", ",").lower()
    if _column_type(session, peer, stale).lower() != wanted:
        session.run(f"ALTER TABLE {table(peer)} MODIFY {stale} {kind}")


def _column_type(session: Session, peer: Peer, column: str) -> str:
    there = session.value(
        "SELECT column_type FROM information_schema.columns"
        f" WHERE table_schema = '{peer.history_database}' AND table_name = '{peer.history_table}'"
        f" AND column_name = '{column}'"
    )
    return "" if there is None else _text(there)


def record(session: Session, peer: Peer, info: Info) -> None:
    """Add the row of a backup that is complete; the table is made when it is missing."""
    create(session, peer)
    names = [name for name, _ in columns(peer)]
    values = ", ".join(_literal(info, name, peer) for name in names)
    session.run(f"INSERT INTO {table(peer)} ({', '.join(names)}) VALUES ({values})")


def to_lsn(session: Session, peer: Peer, *, name: str = "", uuid: str = "") -> int:
    """The LSN that an increment starts from: of the newest backup of that name, or of the backup of that uuid.

    Raises BackupInvalid when the history has none.
    """
    column, wanted = ("uuid", uuid) if uuid else ("name", name)
    if not _column_type(session, peer, column):
        raise BackupInvalid(
            f"Error while attempting to find history record for {column} {wanted}: there is no {table(peer)}",
            hint="take the backup that increments are to start from with --history",
        )
    lsn = session.value(
        f"SELECT innodb_to_lsn FROM {table(peer)} WHERE {column} = {quoted(wanted)}"
        " AND innodb_to_lsn IS NOT NULL ORDER BY innodb_to_lsn DESC LIMIT 1"
    )
    if lsn is None:
        raise BackupInvalid(
            f"Error while attempting to find history record for {column} {wanted}",
            hint=f"SELECT uuid, name, innodb_to_lsn FROM {table(peer)} shows what is recorded",
        )
    return int(_text(lsn))


def _literal(info: Info, name: str, peer: Peer) -> str:
    value = getattr(info, name)
    if isinstance(value, bool):
        return "'Y'" if value else "'N'"
    if isinstance(value, int):
        return str(value)
    if name in ("start_time", "end_time"):
        return f"FROM_UNIXTIME({_epoch_s(value)})" if value else "NULL"
    unnamed = name == "name" and not value and not peer.mariadb
    return "NULL" if unnamed else quoted(value)


def _epoch_s(local: str) -> int:
    return int(datetime.fromisoformat(local).timestamp())


def quoted(text: str) -> str:
    """A string literal that means the same whatever sql_mode is: hexadecimal when it needs an escape."""
    if "'" not in text and "\\" not in text:
        return f"'{text}'"
    return f"CONVERT(0x{text.encode().hex()} USING utf8)"


def _text(value: object) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
