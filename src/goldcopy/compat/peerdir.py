"""A backup directory as the peers lay it out: which files say what, read and rewritten (``peer-formats.md`` 3, 4).

Whoever wrote the directory, mariadb-backup, XtraBackup or we ourselves, it is read the same way.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from goldcopy.errors import BackupInvalid, Unsupported, UsageError
from goldcopy.formats import Family
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, load
from goldcopy.restore.durable import write_file

CONFIG_NAME = "backup-my.cnf"
BINLOG_POS_NAME = "xtrabackup_binlog_pos_innodb"
REDO_NAME = "ib_logfile0"
MYSQL_REDO_NAME = "xtrabackup_logfile"
# The older name stays behind in directories that a newer tool has prepared: the newer one is the truth then
PREFIXES = ("mariadb_backup_", "xtrabackup_")
INFO_KINDS = ("checkpoints", "info", "binlog_info", "slave_info", "galera_info")
PREPARED = ("log-applied", "full-prepared")


@dataclass(frozen=True)
class Checkpoints:
    """The checkpoints file. ``more``: the lines after the four that every family has, in their order."""

    backup_type: str
    from_lsn: int
    to_lsn: int
    last_lsn: int
    more: tuple[tuple[str, str], ...] = ()

    def render(self) -> str:
        """The text as every family writes it."""
        lines = [
            ("backup_type", self.backup_type),
            ("from_lsn", str(self.from_lsn)),
            ("to_lsn", str(self.to_lsn)),
            ("last_lsn", str(self.last_lsn)),
            *self.more,
        ]
        return "".join(f"{key} = {value}\n" for key, value in lines)


def parse_checkpoints(text: str, where: str) -> Checkpoints:
    """Read the file's text. Raises BackupInvalid, naming ``where``, without type and LSNs."""
    pairs = [(k.strip(), v.strip()) for k, sep, v in (line.partition("=") for line in text.splitlines()) if sep]
    try:
        (_, kind), (_, start), (_, to), (_, last) = pairs[:4]
        return Checkpoints(kind, int(start), int(to), int(last), tuple(pairs[4:]))
    except ValueError:
        raise BackupInvalid(f"Error: failed to read metadata from '{where}'") from None


@dataclass(frozen=True)
class PeerDir:
    """What the directory says of itself.

    ``checkpoints_name``: the file they were read from. ``server_version``: of the source, "" when no file tells.
    ``settings``: ``[mysqld]`` of backup-my.cnf in its order, names with underscores. ``manifest``: ours, if any.
    """

    directory: str
    checkpoints_name: str
    checkpoints: Checkpoints
    family: Family
    server_version: str
    uuid: str
    partial: bool
    settings: tuple[tuple[str, str], ...]
    manifest: Manifest | None = None

    @property
    def prepared(self) -> bool:
        """Whether redo has been applied to it."""
        return self.checkpoints.backup_type in PREPARED

    def path(self, name: str) -> str:
        """Where a file of the directory lies."""
        return os.path.join(self.directory, name)

    def setting(self, name: str, default: str = "") -> str:
        """The last value of a setting of backup-my.cnf."""
        return dict(self.settings).get(name, default)

    def with_checkpoints(self, checkpoints: Checkpoints) -> PeerDir:
        """Rewrite the checkpoints file, durably."""
        write_file(self.path(self.checkpoints_name), checkpoints.render().encode())
        return replace(self, checkpoints=checkpoints)


def read_text(path: str) -> str:
    """A small text file's content, "" when there is none."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as f:
            return f.read()
    except FileNotFoundError:
        return ""


def find_file(directory: str, kind: str) -> str:
    """The name of an information file (``checkpoints``, ``info``...) as it is called there, "" without one."""
    names = (prefix + kind for prefix in PREFIXES)
    return next((name for name in names if os.path.exists(os.path.join(directory, name))), "")


def parse_settings(text: str) -> tuple[tuple[str, str], ...]:
    """The settings of an option file's ``[mysqld]`` group; quotes around values are taken off."""
    found: list[tuple[str, str]] = []
    group = ""
    for raw in text.splitlines():
        line = raw.strip()
        if line.startswith("[") and line.endswith("]"):
            group = line[1:-1].strip()
        elif line and line[0] not in "#;" and group == "mysqld":
            key, separator, value = line.partition("=")
            found.append((key.strip().replace("-", "_"), _unquoted(value.strip()) if separator else "1"))
    return tuple(found)


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value[1:-1]
    return value


def read_peer_dir(directory: str) -> PeerDir:
    """Read a backup directory. Raises BackupInvalid when it is none, Unsupported for another tool's MySQL backup."""
    home = os.path.abspath(directory)
    config = read_text(os.path.join(home, CONFIG_NAME))
    name = find_file(home, "checkpoints")
    if not name:
        raise BackupInvalid(
            f"Error: failed to read metadata from '{home}/xtrabackup_checkpoints'",
            hint="a backup that did not end with completed OK! cannot be used",
        )
    info_name = find_file(home, "info")
    info = _pairs(read_text(os.path.join(home, info_name))) if info_name else {}
    manifest = load(home) if os.path.exists(os.path.join(home, MANIFEST_NAME)) else None
    version = manifest.server.version if manifest else info.get("server_version", "") or _creator_version(home)
    found = PeerDir(
        home,
        name,
        parse_checkpoints(read_text(os.path.join(home, name)), os.path.join(home, name)),
        manifest.server.family if manifest else _family(version, name),
        version,
        info.get("uuid", ""),
        info.get("partial") == "Y",
        parse_settings(config),
        manifest,
    )
    _refuse_foreign(found)
    return found


def _pairs(text: str) -> dict[str, str]:
    return {k.strip(): v.strip() for k, _, v in (line.partition("=") for line in text.splitlines())}


def _family(version: str, checkpoints_name: str) -> Family:
    if "mariadb" in version.lower() or checkpoints_name.startswith("mariadb"):
        return "mariadb"
    return "mysql" if version else "mariadb"


def _creator_version(home: str) -> str:
    """The version that the tool wrote into the redo log's header: ``Backup 10.11.19-MariaDB``."""
    try:
        with open(os.path.join(home, REDO_NAME), "rb") as f:
            creator = f.read(48)[16:].split(b"\0")[0].decode("ascii", "replace")
    except OSError:
        return ""
    return creator.removeprefix("Backup ") + "-MariaDB" if creator.startswith("Backup ") else ""


def _refuse_foreign(found: PeerDir) -> None:
    if found.family == "mysql" and found.manifest is None:
        raise Unsupported(
            f"{found.directory} was taken by Percona XtraBackup ({found.server_version}): its redo log is in a form"
            " of its own, which only that program applies",
            hint="prepare it with the XtraBackup that took it and restore the result with --copy-back here or there;"
            " or take a new backup with Goldcopy",
        )


def refuse_incremental(peer: PeerDir) -> None:
    """Raises UsageError when the directory holds an increment: it cannot be prepared by itself."""
    if peer.checkpoints.backup_type == "incremental":
        raise UsageError(
            f"{peer.directory}: This target does not have correct metadata. It is an increment",
            hint=f"--prepare --target-dir=FULL --incremental-dir={peer.directory}",
        )
