"""The information files of the peers, written and read: names, keys and values as each series has them.

Reading takes every generation's spelling, and also the known faults (MariaDB 10.5's ``format = tar`` for a stream,
epoch seconds for lock_time); writing makes none of them. ``dialect.peers`` says which series writes what.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import datetime

from goldcopy.dialect.peers import Peer
from goldcopy.errors import BackupInvalid
from goldcopy.image.manifest import Manifest, Position, Replica, Space

CONFIG_NAME = "backup-my.cnf"
BINLOG_POS_INNODB_NAME = "xtrabackup_binlog_pos_innodb"
TABLESPACES_NAME = "xtrabackup_tablespaces"
PREFIXES = ("mariadb_backup", "xtrabackup")
"""Newest first: readers look for both."""


def file_name(peer: Peer, what: str) -> str:
    """Name of one of ``checkpoints``, ``info``, ``binlog_info``, ``slave_info``, ``galera_info``."""
    return f"{peer.prefix}_{what}"


def _pairs(text: str, name: str) -> dict[str, str]:
    lines = [line for line in text.splitlines() if line.strip()]
    if not lines or any("=" not in line for line in lines):
        raise BackupInvalid(f"{name} is damaged", hint="is this the directory of a backup?")
    split = (line.split("=", 1) for line in lines)
    return {key.strip(): value.strip() for key, value in split}


@dataclass(frozen=True, kw_only=True)
class Checkpoints:
    """``*_checkpoints``: the LSNs that chain increments. ``redo_memory`` in bytes, ``redo_frames`` in pages."""

    backup_type: str
    from_lsn: int
    to_lsn: int
    last_lsn: int
    compact: int = 0
    recover_binlog_info: int = 0
    flushed_lsn: int = 0
    redo_memory: int = 0
    redo_frames: int = 0

    @classmethod
    def of(cls, manifest: Manifest) -> Checkpoints:
        """From a backup of ours: its checkpoint is what the next increment starts from."""
        full = manifest.kind == "full"
        return cls(
            backup_type="full-backuped" if full else "incremental",
            from_lsn=0 if full else manifest.since,
            to_lsn=manifest.redo.checkpoint,
            last_lsn=manifest.redo.end,
        )

    @classmethod
    def parse(cls, text: str) -> Checkpoints:
        """Read one; keys that a series does not have are 0. Raises BackupInvalid."""
        pairs = _pairs(text, "the checkpoints file")
        numbers = [f.name for f in dataclasses.fields(cls) if f.name != "backup_type" and f.name in pairs]
        try:
            values = {name: int(pairs[name]) for name in numbers}
            return cls(backup_type=pairs["backup_type"], **values)
        except (KeyError, ValueError, TypeError):
            raise BackupInvalid(
                "the checkpoints file lacks backup_type, from_lsn, to_lsn or last_lsn",
                hint="is this the directory of a backup?",
            ) from None

    def render(self, peer: Peer) -> str:
        """The file as this series writes it."""
        keys = ("backup_type", "from_lsn", "to_lsn", "last_lsn", *peer.checkpoint_keys)
        return "".join(f"{key} = {getattr(self, key)}\n" for key in keys)

    def after_prepare(self, peer: Peer, increment: Checkpoints | None = None, last: bool = True) -> Checkpoints:
        """What --prepare leaves: the increment's end, and whether more increments may follow."""
        end = increment or self
        return replace(
            self,
            backup_type=peer.prepared_type if last else "log-applied",
            to_lsn=end.to_lsn,
            last_lsn=end.last_lsn,
        )

    @property
    def prepared(self) -> bool:
        """Whether some prepare has run, which an increment needs of its base in the originals."""
        return self.backup_type in ("log-applied", "full-prepared")


@dataclass(frozen=True, kw_only=True)
class Info:
    """``*_info`` and a row of the history table.

    ``start_time``, ``end_time``: local time, ``YYYY-MM-DD HH:MM:SS``. ``lock_time``: seconds that locks were held.
    ``format``: ``file`` or the series' word for a stream. ``backup_size``: bytes that the backup took when this was
    written; ``uncompressed_backup_size``: that its files have unpacked.
    """

    uuid: str = ""
    name: str = ""
    tool_name: str = ""
    tool_command: str = ""
    tool_version: str = ""
    ibbackup_version: str = ""
    server_version: str = ""
    server_flavor: str = ""
    start_time: str = ""
    end_time: str = ""
    lock_time: int = 0
    binlog_pos: str = ""
    innodb_from_lsn: int = 0
    innodb_to_lsn: int = 0
    partial: bool = False
    incremental: bool = False
    format: str = "file"
    compact: bool = False
    compressed: bool = False
    encrypted: bool = False
    lock_ddl_type: str = ""
    backup_size: int = 0
    uncompressed_backup_size: int = 0

    @classmethod
    def of(cls, manifest: Manifest, *, mariadb: bool, **known: str | int | bool) -> Info:
        """From a backup of ours; ``known``: the fields that only the command line knows."""
        checkpoints = Checkpoints.of(manifest)
        facts: dict[str, str | int | bool] = {
            "server_version": manifest.server.version,
            "start_time": local_time(manifest.started),
            "end_time": local_time(manifest.finished),
            "lock_time": round(sum(t.held_s for t in manifest.locks)),
            "binlog_pos": binlog_words(manifest.position, mariadb=mariadb),
            "innodb_from_lsn": checkpoints.from_lsn,
            "innodb_to_lsn": checkpoints.to_lsn,
            "partial": manifest.partial,
            "incremental": manifest.kind == "incremental",
        }
        return cls(**(facts | known))  # type: ignore[arg-type]

    @classmethod
    def parse(cls, text: str) -> Info:
        """Read one of any series. Raises BackupInvalid."""
        pairs = _pairs(text, "the info file")
        values: dict[str, str | int | bool] = {}
        for field in dataclasses.fields(cls):
            if field.name in pairs:
                values[field.name] = _from_text(field.name, field.default, pairs[field.name])
        return cls(**values)  # type: ignore[arg-type]

    def render(self, peer: Peer) -> str:
        """The file as this series writes it: an empty value keeps the blank after ``=``."""
        keys = (key for key in peer.info_keys if self.compressed or key != "uncompressed_backup_size")
        return "".join(f"{key} = {self._shown(key)}\n" for key in keys)

    def _shown(self, key: str) -> str:
        value = getattr(self, key)
        if isinstance(value, bool):
            return "N" if not value else "compressed" if key == "compressed" else "Y"
        return str(value)


def local_time(moment: str) -> str:
    """A moment of the manifest (ISO 8601, UTC) as the info file has it: local, whole seconds."""
    return f"{datetime.fromisoformat(moment).astimezone():%Y-%m-%d %H:%M:%S}"


def _from_text(key: str, default: object, text: str) -> str | int | bool:
    if isinstance(default, bool):
        return text not in ("N", "")
    if not isinstance(default, int):
        return text
    try:
        return int(text or 0)
    except ValueError:
        raise BackupInvalid(f"the info file is damaged: {key} = {text}", hint="it should be a number") from None


def binlog_words(position: Position, *, mariadb: bool) -> str:
    """The position as ``binlog_pos`` and the history have it; "" without binlog."""
    if not position.binlog_file:
        return ""
    gtid = position.gtid if mariadb else _one_line(position.gtid)
    tail = f", GTID of the last change '{gtid}'" if gtid else ""
    return f"filename '{position.binlog_file}', position '{position.binlog_position}'{tail}"


def binlog_info(position: Position) -> str:
    """``*_binlog_info``: file, position, GTID set on one line; "" when there is nothing to write."""
    if not position.binlog_file:
        return ""
    columns = [position.binlog_file, str(position.binlog_position)]
    return "\t".join(columns + [_one_line(position.gtid)] * bool(position.gtid)) + "\n"


def parse_binlog_info(text: str) -> Position:
    """Read one; of several logs the last line is the position. Raises BackupInvalid."""
    lines = [line for line in text.splitlines() if line.strip()]
    columns = lines[-1].split("\t") if lines else []
    if len(columns) < 2 or not columns[1].isdigit():
        raise BackupInvalid("the binlog_info file is damaged", hint="it holds FILE, tab, POSITION")
    gtid = columns[2].strip("[]") if len(columns) > 2 else ""
    return Position(binlog_file=columns[0], binlog_position=int(columns[1]), gtid=gtid)


def binlog_pos_innodb(file: str, position: int) -> str:
    """``xtrabackup_binlog_pos_innodb``: the position that InnoDB itself keeps, after recovery."""
    return f"{file}\t{position}\n"


def _one_line(gtid: str) -> str:
    return gtid.replace("\n", "")


def slave_info(replicas: tuple[Replica, ...], peer: Peer) -> str:
    """``*_slave_info``: the statements that set up another replica of the same source; "" for no replica."""
    return _mariadb_slave_info(replicas) if peer.mariadb else _mysql_slave_info(replicas, peer)


def _mariadb_slave_info(replicas: tuple[Replica, ...]) -> str:
    position = _mariadb_gtid(replicas)
    text = f"SET GLOBAL gtid_slave_pos = '{position}';\n" if position else ""
    for replica in replicas:
        name = f" {_quoted(replica.channel)}" if replica.channel else ""
        text += f"CHANGE MASTER{name} TO {_mariadb_start(replica)};\n"
    return text


def _mariadb_gtid(replicas: tuple[Replica, ...]) -> str:
    return next((r.gtid for r in replicas if _by_gtid(r)), "")


def _by_gtid(replica: Replica) -> bool:
    """A replica that was told to go by GTID but knows none yet has only its source's coordinates."""
    return replica.auto_position and bool(replica.gtid)


def slave_words(replicas: tuple[Replica, ...], peer: Peer) -> str:
    """The same for the log, on one line; "" for no replica."""
    if not peer.mariadb:
        return "; ".join(map(_mysql_words, replicas))
    position = _mariadb_gtid(replicas)
    words = [f"gtid_slave_pos '{position}'"] if position else []
    for replica in replicas:
        at = f"filename '{replica.source_log_file}' position '{replica.source_log_pos}'"
        start = "master_use_gtid = slave_pos" if _by_gtid(replica) else at
        words.append(f"master '{replica.channel}' {start}")
    return "; ".join(words)


def _mysql_words(replica: Replica) -> str:
    head, tail = f"master host '{replica.source_host}'", f"channel name: '{replica.channel}'"
    if replica.auto_position:
        return f"{head}, purge list '{_one_line(replica.gtid)}', {tail}"
    return f"{head}, filename '{replica.source_log_file}', position '{replica.source_log_pos}', {tail}"


def _mariadb_start(replica: Replica) -> str:
    if _by_gtid(replica):
        return "master_use_gtid = slave_pos"
    return f"MASTER_LOG_FILE='{replica.source_log_file}', MASTER_LOG_POS={replica.source_log_pos}"


def _mysql_slave_info(replicas: tuple[Replica, ...], peer: Peer) -> str:
    ours = [r for r in replicas if not r.channel.startswith("group_replication_")]
    positions = [r.gtid for r in ours if r.auto_position]
    text = f"SET GLOBAL gtid_purged='{_one_line(positions[0])}';\n" if positions else ""
    word, verb = peer.source_word, "CHANGE MASTER" if peer.source_word == "MASTER" else "CHANGE REPLICATION SOURCE"
    for replica in ours:
        start = (
            f"{word}_AUTO_POSITION=1"
            if replica.auto_position
            else f"{word}_LOG_FILE='{replica.source_log_file}', {word}_LOG_POS={replica.source_log_pos}"
        )
        channel = f" FOR CHANNEL {_quoted(replica.channel)}" if replica.channel else ""
        text += f"{verb} TO {start}{channel}{peer.statement_end}\n"
    return text


def _quoted(channel: str) -> str:
    return "'" + channel.replace("\\", "\\\\").replace("'", "''") + "'"


def galera_info(state: str) -> str:
    """``*_galera_info`` as a backup writes it: ``UUID:SEQNO``."""
    return f"{state}\n" if state else ""


def config(variables: dict[str, str], peer: Peer) -> str:
    """``backup-my.cnf``, from the server's variables: what the originals' own recovery needs to know.

    A setting that the server does not have is left out.
    """
    lines = [peer.config_title, "", peer.config_subject, "[mysqld]"]
    for key, fixed in peer.config_keys:
        value = fixed if fixed is not None else variables.get(key, "")
        lines += [f"{key}={value}"] * bool(value)
    if peer.config_blank_end:
        pool = variables.get("innodb_buffer_pool_filename", "")
        lines += [f"innodb_buffer_pool_filename={pool}" if pool else "", ""]
    return "\n".join(lines) + "\n"


@dataclass(frozen=True)
class ExternalSpace:
    """A tablespace whose file lay outside the data directory: where, its name, and whether it holds undo."""

    file_name: str
    tablespace_name: str
    undo: bool = False


def external_spaces(spaces: Iterable[Space]) -> tuple[ExternalSpace, ...]:
    """The tablespaces of a backup that go back to a place of their own."""
    return tuple(
        ExternalSpace(s.external, s.path.removesuffix(".ibd").removesuffix(".ibu"), s.path.endswith(".ibu"))
        for s in spaces
        if s.external
    )


def tablespaces(spaces: tuple[ExternalSpace, ...]) -> str:
    """``xtrabackup_tablespaces``, XtraBackup 8.0 and newer (space_map.cc)."""
    rows = [
        {
            "file_name": s.file_name,
            "tablespace_name": s.tablespace_name,
            "tablespace_type": "UNDO_LOG" if s.undo else "TABLESPACE",
        }
        for s in spaces
    ]
    return json.dumps({"version": 2, "external_tablespaces": rows}, separators=(",", ":"), ensure_ascii=False)


def parse_tablespaces(text: str) -> tuple[ExternalSpace, ...]:
    """Read one, of version 1 (no types) or 2. Raises BackupInvalid."""
    try:
        rows = json.loads(text)["external_tablespaces"]
        return tuple(
            ExternalSpace(r["file_name"], r["tablespace_name"], r.get("tablespace_type") == "UNDO_LOG") for r in rows
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        raise BackupInvalid(
            f"{TABLESPACES_NAME} is damaged", hint="the backup's files outside the data directory are not known"
        ) from None
