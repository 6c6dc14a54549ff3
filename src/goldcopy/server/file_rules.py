"""What a file in a data directory is, by its name and place alone (``formats.md`` 4.3). Pure."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from goldcopy.formats.datafiles import data_files

Kind = Literal["space", "plain", "unknown", "skip"]

# Files of engines and of the server's own that are copied as they are
_OUTSIDE_INNODB = frozenset({".MYD", ".MAD", ".CSV", ".ARZ", ".MRG"})
_KNOWN_SUFFIXES = _OUTSIDE_INNODB | {
    ".MYI", ".MAI", ".CSM", ".ARM", ".ARN", ".TRG", ".TRN", ".TMD", ".BAK", ".frm", ".par", ".opt", ".isl", ".sdi",
    ".cfg", ".cfp",
}  # fmt: skip
_ARIA_LOG = re.compile(r"aria_log(_control|\.\d+)")
_KNOWN_AT_TOP = re.compile(
    rf"{_ARIA_LOG.pattern}|ib_buffer_pool|undo_\d+_trunc\.log|(mysql|mariadb)_upgrade_(info|history)"
    r"|debian-.*\.flag|mysqld\.my|component_.*\.cnf|mysql_upgrade_history|.*\.sdi|.*\.isl|db\.opt"
)
# Never part of a backup: made anew by the server, private to the instance, or copied by other means
_SKIPPED_AT_TOP = re.compile(
    r"ib_logfile.*|ibtmp\d+|#ib_\d+_\d+\.b?dblwr|#ib_archive.*|auto\.cnf|.*\.pem|.*\.pid|.*\.err|.*\.sock(\.lock)?"
    r"|ddl_recovery(-backup)?\.log|ddl\.log|ddl_log\.log|tc\.log|gvwstate\.dat|grastate\.dat|galera\.cache"
    r"|gcache\.page\..*|ring\.buffer.*|multi-(master|source)\.info|(master|relay-log)([-.].*)?\.info|core(\.\d+)?"
    r"|innodb_status\.\d+|\.nfs.*|aria_log\.tmp|.*\.lower-test"
    # what a restore left of the backup that it came from
    r"|(xtrabackup|mariadb_backup)_\w+|backup-my\.cnf|innodb_corrupted_pages|goldcopy\..*"
    # keys, and configuration that holds a password or token; component_keyring_file.cnf holds a path only
    r"|(component_)?keyring((?!\.cnf).)*|component_keyring_(?!file\.cnf).*"
)
_SKIPPED_DIRS = frozenset(
    {"#innodb_redo", "#innodb_temp", "#ib_archive", "#binlog_cache_files", "lost+found", ".snapshot", ".zfs"}
)
# Files that only a backup's directory holds: one that lies in the data directory is no database
_BACKUP_MARKS = (
    "goldcopy.manifest", "goldcopy.redo", "xtrabackup_checkpoints", "mariadb_backup_checkpoints", "xtrabackup_logfile",
)
_ROCKSDB_DIRS = frozenset({"#rocksdb", ".rocksdb"})
_UNDO = re.compile(r"undo_?\d{3}")
_BINLOG = re.compile(r"(?P<base>.+)\.(?:\d{6,}(?:\.idx)?|index|state|index_crash_safe|~rec~)")
# Databases in which the server itself keeps tables outside InnoDB: no reason for a heavier lock
_SYSTEM_DATABASES = frozenset({"mysql", "performance_schema", "sys", "information_schema"})


class Layout(msgspec.Struct, frozen=True, kw_only=True):
    """Where a server keeps what; absolute paths without trailing slash.

    ``system_files``: files of the system tablespace. ``log_bases``: binlog and relay log names without their number.
    ``excluded``: single files that never get into a backup (logs, the pid file, keys). ``excluded_dirs``: whole
    directories. ``aria_dir``: where Aria keeps its log. ``buffer_pool_file``: the list of pages in the buffer pool.
    """

    datadir: str
    system_files: tuple[str, ...]
    undo_dir: str
    log_bases: frozenset[str] = frozenset()
    excluded: frozenset[str] = frozenset()
    excluded_dirs: frozenset[str] = frozenset()
    aria_dir: str = ""
    buffer_pool_file: str = ""

    def kind(self, path: str, name: str, *, at_top: bool) -> Kind:
        """What the file ``name`` at the absolute ``path`` is; ``at_top``: it lies in no database directory."""
        if path in self.excluded:
            return "skip"
        if path in self.system_files or name.endswith((".ibd", ".ibu")):
            return "space"
        if at_top:
            return self._kind_at_top(path, name)
        return "plain" if _suffix(name) in _KNOWN_SUFFIXES or name == "db.opt" else "unknown"

    def _kind_at_top(self, path: str, name: str) -> Kind:
        if _UNDO.fullmatch(name):
            return "space"
        if _SKIPPED_AT_TOP.fullmatch(name) or self._is_log(path) or self._has_moved_out(path, name):
            return "skip"
        return "plain" if _KNOWN_AT_TOP.fullmatch(name) or _suffix(name) in _KNOWN_SUFFIXES else "unknown"

    def _has_moved_out(self, path: str, name: str) -> bool:
        """Left in the data directory by a server whose file of that name, in the backup too, has a home outside now."""
        if _ARIA_LOG.fullmatch(name):
            home = self.aria_dir
        elif name == os.path.basename(self.buffer_pool_file):
            home = os.path.dirname(self.buffer_pool_file)
        else:
            return False
        return bool(home) and not _holds(self.datadir, home) and os.path.dirname(path) == self.datadir

    def _is_log(self, path: str) -> bool:
        found = _BINLOG.fullmatch(path)
        if found is None:
            # --log-bin=a.b.c makes MySQL write one binlog without a number: a.b, while it calls the base name a
            return os.path.splitext(path)[0] in self.log_bases
        # a relay log of a named channel is called BASE-channel.NNNNNN
        return any(found["base"] == base or found["base"].startswith(base + "-") for base in self.log_bases)

    def is_skipped_dir(self, path: str, name: str) -> bool:
        """A directory of which nothing is copied."""
        return name in _SKIPPED_DIRS or path in self.excluded_dirs


def is_backup_dir(path: str) -> bool:
    """Whether a directory is a backup, ours or a peer's, finished or under way."""
    return any(os.path.exists(os.path.join(path, name)) for name in _BACKUP_MARKS)


def is_rocksdb_dir(name: str) -> bool:
    """The directory of MyRocks, which is backed up by a checkpoint of its own."""
    return name in _ROCKSDB_DIRS


def is_outside_innodb(path: str, kind: Kind) -> bool:
    """A table file, or a file of an engine we do not know, in a user's database (``path`` relative)."""
    database, slash, name = path.partition("/")
    if not slash or database in _SYSTEM_DATABASES:
        return False
    return kind == "unknown" or _suffix(name) in _OUTSIDE_INNODB


def _suffix(name: str) -> str:
    return os.path.splitext(name)[1]


def as_listed(path: str, datadir: str) -> str:
    """An absolute path as a walk from ``datadir`` meets it: either may have been given through symbolic links."""
    real, root = os.path.realpath(path), os.path.realpath(datadir)
    if not _holds(root, real):
        return os.path.normpath(path)
    return os.path.normpath(os.path.join(datadir, os.path.relpath(real, root)))


def layout(
    variables: Mapping[str, str], datadir: str, system_files: tuple[str, ...], key_files: frozenset[str]
) -> Layout:
    """The layout that a server's variables describe."""

    def absolute(name: str) -> str:
        value = variables.get(name, "")
        return as_listed(os.path.join(datadir, value), datadir) if value not in ("", "NULL", "stderr") else ""

    files = [absolute(n) for n in _FILE_VARIABLES]
    directories = [absolute(n) for n in _DIRECTORY_VARIABLES]
    directories += [os.path.join(datadir, n) for n in variables.get("ignore_db_dirs", "").split(",") if n]
    if temporary := variables.get("innodb_temp_data_file_path", ""):
        files += [as_listed(os.path.join(datadir, file.path), datadir) for file in data_files(temporary)]
    logs = {absolute("log_bin_basename"), absolute("relay_log_basename")}
    logs |= {os.path.splitext(absolute(n))[0] for n in ("log_bin_index", "relay_log_index")}
    if not variables.get("relay_log_basename"):
        # MariaDB does not tell the default: it is named after the pid file
        logs.add(os.path.join(datadir, os.path.basename(os.path.splitext(absolute("pid_file"))[0]) + "-relay-bin"))
    home = absolute("innodb_data_home_dir") or datadir
    return Layout(
        datadir=datadir,
        system_files=system_files,
        undo_dir=absolute("innodb_undo_directory") or datadir,
        log_bases=frozenset(logs - {""}),
        excluded=frozenset(f for f in files if f) | {as_listed(f, datadir) for f in key_files},
        excluded_dirs=frozenset(d for d in directories if d and not _holds(d, datadir)),
        aria_dir=absolute("aria_log_dir_path") or datadir,
        buffer_pool_file=os.path.join(home, variables.get("innodb_buffer_pool_filename") or "ib_buffer_pool"),
    )


_FILE_VARIABLES = (
    "pid_file", "socket", "mysqlx_socket", "log_error", "general_log_file", "slow_query_log_file",
    "relay_log_info_file", "log_bin_index", "relay_log_index", "master_info_file", "log_tc",
)  # fmt: skip
_DIRECTORY_VARIABLES = ("innodb_temp_tablespaces_dir", "innodb_doublewrite_dir", "tmpdir", "slave_load_tmpdir")


def _holds(directory: str, inside: str) -> bool:
    """``inside`` is ``directory`` or lies below it: to exclude that would exclude everything."""
    return inside == directory or inside.startswith(directory.rstrip("/") + "/")
