"""A backup directory as the peers lay it out: what it says of itself, whoever wrote it (``peer-formats.md`` 3, 4)."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass, replace

from goldcopy.compat.infofiles import CONFIG_NAME, PREFIXES, Checkpoints, Info
from goldcopy.dialect.peers import Peer, peer_of
from goldcopy.errors import BackupInvalid, Unsupported, UsageError
from goldcopy.formats import Family
from goldcopy.formats.datafiles import data_files
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, load
from goldcopy.restore.durable import write_file
from goldcopy.server.option_files import read_text as read_option_lines

REDO_NAME = "ib_logfile0"


@dataclass(frozen=True)
class PeerDir:
    """What the directory says of itself.

    ``checkpoints_name``: the file they were read from. ``server_version``: of the source. ``peer``: whose spelling
    it is in. ``settings``: the ``[mysqld]`` group of backup-my.cnf in its order, names with underscores.
    ``manifest``: ours, if there is one.
    """

    directory: str
    checkpoints_name: str
    checkpoints: Checkpoints
    family: Family
    server_version: str
    peer: Peer
    info: Info
    settings: tuple[tuple[str, str], ...]
    manifest: Manifest | None = None

    @property
    def prepared(self) -> bool:
        """Whether redo has been applied to it."""
        return self.checkpoints.prepared

    @property
    def partial(self) -> bool:
        """Whether it holds only the tables that a filter let through."""
        return self.info.partial or (self.manifest is not None and self.manifest.partial)

    def path(self, name: str) -> str:
        """Where a file of the directory lies."""
        return os.path.join(self.directory, name)

    @property
    def system_files(self) -> tuple[str, ...]:
        """The files of the system tablespace by the names that they have here, in order."""
        return tuple(file.name for file in data_files(dict(self.settings).get("innodb_data_file_path", "")))

    def tablespaces(self) -> Iterator[str]:
        """Paths of its InnoDB tablespaces."""
        for root, _, files in os.walk(self.directory):
            yield from (os.path.join(root, f) for f in files if f.endswith(".ibd") or f.startswith(("ibdata", "undo")))

    def with_checkpoints(self, checkpoints: Checkpoints) -> PeerDir:
        """Rewrite the checkpoints file, durably."""
        write_file(self.path(self.checkpoints_name), [checkpoints.render(self.peer).encode()])
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
    # a newer tool leaves the older name beside its own when it has prepared the directory
    names = (f"{prefix}_{kind}" for prefix in PREFIXES)
    return next((name for name in names if os.path.exists(os.path.join(directory, name))), "")


def parse_settings(text: str) -> tuple[tuple[str, str], ...]:
    """The settings of backup-my.cnf's group ``[mysqld]``. Raises UsageError on a line that cannot be read."""
    lines = (line for line in read_option_lines(text, CONFIG_NAME) if line.group == "mysqld")
    return tuple((line.name.replace("-", "_"), "1" if line.value is None else line.value) for line in lines)


def read_peer_dir(directory: str) -> PeerDir:
    """Read a backup directory. Raises BackupInvalid when it is none, Unsupported for another tool's MySQL backup."""
    home = os.path.abspath(directory)
    name = find_file(home, "checkpoints")
    if not name:
        raise BackupInvalid(
            f"Error: failed to read metadata from '{home}/xtrabackup_checkpoints'",
            hint="a backup that did not end with completed OK! cannot be used",
        )
    checkpoints = Checkpoints.parse(read_text(os.path.join(home, name)))
    info_name = find_file(home, "info")
    info = Info.parse(read_text(os.path.join(home, info_name))) if info_name else Info()
    manifest = load(home) if os.path.exists(os.path.join(home, MANIFEST_NAME)) else None
    version = _version(home, info, manifest, name)
    family = _family(home, version, info, manifest)
    settings = parse_settings(read_text(os.path.join(home, CONFIG_NAME)))
    return PeerDir(home, name, checkpoints, family, version, peer_of(family, version), info, settings, manifest)


def _version(home: str, info: Info, manifest: Manifest | None, checkpoints_name: str) -> str:
    """The source's version: our manifest, the info file, or what the tool wrote into the redo log's header."""
    found = manifest.server.version if manifest else info.server_version or _creator_version(home)
    if not found:
        raise BackupInvalid(
            f"{home}: no file tells the version of the server that was backed up",
            hint=f"put xtrabackup_info back beside {checkpoints_name}; the backup wrote it",
        )
    return found


def _creator_version(home: str) -> str:
    try:
        with open(os.path.join(home, REDO_NAME), "rb") as f:
            creator = f.read(48)[16:].split(b"\0")[0].decode("ascii", "replace")
    except OSError:
        return ""
    return creator.removeprefix("Backup ") + "-MariaDB" if creator.startswith("Backup ") else ""


def _family(home: str, version: str, info: Info, manifest: Manifest | None) -> Family:
    """Raises Unsupported for a MySQL backup that is not ours, BackupInvalid for one of ours that is not whole."""
    if manifest is not None:
        return manifest.server.family
    if "mariadb" in version.lower():
        return "mariadb"
    if info.tool_version.startswith("goldcopy"):
        raise BackupInvalid(
            f"{home} is not whole: {MANIFEST_NAME}, the last file of a backup, is missing",
            hint="the stream or the copy that it came by was cut short: copy it again from its source",
        )
    raise Unsupported(
        f"{home} was taken by Percona XtraBackup (of MySQL {version}): its redo log is in a form of its own,"
        " which only that program applies",
        hint="prepare it with the XtraBackup that took it, then --copy-back works here too; or take a new backup",
    )


def refuse_incremental(found: PeerDir) -> None:
    """Raises UsageError when the directory holds an increment: it cannot be prepared by itself."""
    if found.checkpoints.backup_type == "incremental":
        raise UsageError(
            f"{found.directory}: This target does not have correct metadata: it is an increment",
            hint=f"--prepare --target-dir=FULL --incremental-dir={found.directory}",
        )
