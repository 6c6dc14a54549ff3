"""``goldcopy info``: what a backup is."""

from __future__ import annotations

from dataclasses import dataclass

from goldcopy.image.manifest import Manifest, Replica, load
from goldcopy.options import opt


@dataclass(frozen=True, kw_only=True)
class Info:
    """Show what a backup is: sizes, LSNs, times, binlog position, GTID, server, base."""

    directory: str = opt("directory of the backup", example="/backup/mon", positional=True, metavar="DIR")


@dataclass(frozen=True)
class BackupInfo:
    """The facts of one backup, with the names that ``--json`` shows them under."""

    id: str
    name: str
    kind: str
    state: str
    verified: bool
    base: str
    base_id: str
    started: str
    finished: str
    server: str
    server_version: str
    hostname: str
    datadir: str
    tablespaces: int
    pages: int
    stored_bytes: int
    data_bytes: int
    from_lsn: int
    checkpoint_lsn: int
    end_lsn: int
    redo_bytes: int
    binlog_file: str
    binlog_position: int
    gtid: str
    replica_of: tuple[str, ...]
    locked_s: float
    warnings: tuple[str, ...]


def run(command: Info) -> BackupInfo:
    """Read the manifest. ``verified``: every page was verified while it was copied (none was passed over)."""
    return of(load(command.directory))


def of(m: Manifest) -> BackupInfo:
    """The facts of a manifest."""
    sums = _sums(m)
    return BackupInfo(
        id=m.id, name=m.name, kind=m.kind, state=m.state,
        verified=not sums.corrupt_pages,
        base=m.base_path, base_id=m.base_id, started=m.started, finished=m.finished,
        server=m.server.family, server_version=m.server.version, hostname=m.server.hostname,
        datadir=m.server.datadir, tablespaces=len(m.spaces), pages=sums.pages,
        stored_bytes=sums.stored_bytes + m.redo.size, data_bytes=sums.data_bytes,
        from_lsn=m.since, checkpoint_lsn=m.redo.checkpoint, end_lsn=m.redo.end, redo_bytes=m.redo.size,
        binlog_file=m.position.binlog_file, binlog_position=m.position.binlog_position, gtid=m.position.gtid,
        replica_of=tuple(map(_source, m.position.replicas)),
        locked_s=round(max((t.held_s for t in m.locks), default=0.0), 6), warnings=m.warnings,
    )


@dataclass
class _Sums:
    """Over all files of a backup."""

    pages: int = 0
    corrupt_pages: int = 0
    stored_bytes: int = 0
    data_bytes: int = 0


def _sums(m: Manifest) -> _Sums:
    sums = _Sums()
    for space in m.spaces:
        sums.pages += space.pages_stored
        sums.corrupt_pages += len(space.corrupt)
        sums.stored_bytes += space.size if space.stored == "full" else space.pages_stored * space.page_size
        sums.data_bytes += space.size_final
    for plain in m.plain:
        sums.stored_bytes += plain.size if plain.stored == "file" else 0
        sums.data_bytes += plain.size
    return sums


def _source(replica: Replica) -> str:
    """``[channel ]host:port file:position[ gtid]``: where a replica's source stood for this backup."""
    words = (
        replica.channel, f"{replica.source_host}:{replica.source_port}",
        f"{replica.source_log_file}:{replica.source_log_pos}", replica.gtid,
    )
    return " ".join(word for word in words if word)
