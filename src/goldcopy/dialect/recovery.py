"""How each kind of server is told to recover a restored directory, and how its log tells whether it did.

Command lines: ``formats.md`` 4.5. Everything that could change data besides crash recovery is off: network, events,
replication, binlog (but for the tail that decides transactions in doubt), upgrades of the dictionary.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

import msgspec

from goldcopy.formats import Lsn
from goldcopy.formats.datafiles import data_files

Variables = Mapping[str, str]
_MB = 1 << 20
_ON = frozenset({"on", "1", "yes", "true"})


class RecoveryTask(msgspec.Struct, frozen=True, kw_only=True):
    """What a recovery has before it. ``variables``: of the source (``Manifest.server.variables``).

    ``log_bytes``, ``log_files``: the redo log that was written for it. ``binlog``: base name of the binlog tail,
    "" without one. ``system_files``: where the files of innodb_data_file_path lie now, in that order; empty = all
    directly in the data directory. ``undo_directory``: where undo tablespaces lie now, "" = the data directory.
    ``directories``: others that hold tablespaces now.
    """

    variables: Variables
    log_bytes: int
    log_files: int
    memory_bytes: int
    binlog: str = ""
    system_files: Sequence[str] = ()
    undo_directory: str = ""
    directories: Sequence[str] = ()


class RecoveryPlan(msgspec.Struct, frozen=True):
    """``options``: the command line of a task. ``reached``: the LSN at which the scan of the redo ended, in the log.

    ``binlog``: file and position that InnoDB itself remembers, in the log; None where it remembers none.
    ``benign``: errors that recovery on a private directory makes by itself.
    """

    options: Callable[[RecoveryTask], list[str]]
    reached: re.Pattern[str]
    binlog: re.Pattern[str] | None
    benign: tuple[re.Pattern[str], ...] = ()


def _is_on(value: str) -> bool:
    return value.lower() in _ON


def system_file_spec(value: str, files: Sequence[str]) -> str:
    """innodb_data_file_path with its files put where ``files`` says; by default directly in the data directory.

    A size stays as it is: the server checks it against the file, except where ``autoextend`` lets it grow.
    """
    told = data_files(value)
    places = [*files, *(file.name for file in told[len(files) :])]
    return ";".join(f"{place}:{file.sizes}" for place, file in zip(places, told, strict=False))


def _common(task: RecoveryTask) -> list[str]:
    v = task.variables
    options = [
        "--skip-networking",
        "--event-scheduler=OFF",
        "--server-id=99",
        "--innodb-flush-log-at-trx-commit=0",
        f"--innodb-buffer-pool-size={task.memory_bytes}",
        "--innodb-data-home-dir=",
        "--innodb-data-file-path=" + system_file_spec(v.get("innodb_data_file_path", ""), task.system_files),
        "--innodb-buffer-pool-load-at-startup=OFF",
        "--innodb-buffer-pool-dump-at-shutdown=OFF",
    ]
    options += _copied(v, "innodb_page_size", "lower_case_table_names", "innodb_checksum_algorithm")
    if task.undo_directory:
        options.append(f"--innodb-undo-directory={task.undo_directory}")
    return options


def _copied(variables: Variables, *names: str) -> list[str]:
    return [f"--{n.replace('_', '-')}={variables[n]}" for n in names if variables.get(n)]


def _mariadb_keys(v: Variables) -> list[str]:
    """Encryption as the source had it: the plugin, and where its keys are (the keys themselves we never know)."""
    options = []
    for plugin in ("file_key_management", "hashicorp_key_management", "aws_key_management"):
        names = sorted(n for n in v if n.startswith(plugin + "_") and v[n])
        if names:
            options.append(f"--plugin-load-add={plugin}")
            options += _copied(v, *names)
    if _is_on(v.get("innodb_encrypt_log", "")):
        options.append("--innodb-encrypt-log=ON")
    tables = v.get("innodb_encrypt_tables", "").upper()
    if _is_on(tables) or tables == "FORCE":
        # else pages of tables that follow the default would be written in plain text
        options.append(f"--innodb-encrypt-tables={tables}")
    if _is_on(v.get("encrypt_tmp_files", "")):
        options.append("--encrypt-tmp-files=ON")
    if _is_on(v.get("aria_encrypt_tables", "")):
        options.append("--aria-encrypt-tables=ON")
    return options


def mariadb_options(task: RecoveryTask) -> list[str]:
    """MariaDB 10.8 and later."""
    options = [
        *_common(task),
        "--skip-log-bin",
        "--skip-slave-start",
        "--innodb-doublewrite=0",
        f"--innodb-log-file-size={task.log_bytes // task.log_files}",
        *_copied(task.variables, "innodb_undo_tablespaces"),
        *_mariadb_keys(task.variables),
    ]
    if task.log_files > 1:
        options.append(f"--innodb-log-files-in-group={task.log_files}")
    return options


def mariadb_105_options(task: RecoveryTask) -> list[str]:
    """MariaDB 10.2 to 10.7. Which of Aria's logs may go was the restored server's affair then: no log is purged."""
    return [*mariadb_options(task), "--aria-log-purge-type=external"]


def _grouped_logs(task: RecoveryTask) -> list[str]:
    return [
        f"--innodb-log-file-size={task.log_bytes // task.log_files}",
        f"--innodb-log-files-in-group={task.log_files}",
    ]


def mysql56_options(task: RecoveryTask) -> list[str]:
    """MySQL 5.6."""
    return [
        *_common(task),
        "--skip-log-bin",
        "--skip-slave-start",
        "--skip-innodb-doublewrite",
        "--innodb-file-format=Barracuda",
        *_copied(task.variables, "innodb_undo_tablespaces"),
        *_grouped_logs(task),
    ]


def _binlog(task: RecoveryTask) -> list[str]:
    """MySQL decides prepared transactions by the binlog tail; without one there must be no binlog at all."""
    return [f"--log-bin={task.binlog}", "--sync-binlog=0"] if task.binlog else ["--skip-log-bin"]


def _mysql_gtid(task: RecoveryTask) -> list[str]:
    return _copied(task.variables, "gtid_mode", "enforce_gtid_consistency")


def _mysql_keys(v: Variables) -> list[str]:
    """Encryption as the source had it. The keyring is nothing of the dialect's: see ``restore.keys``."""
    options = []
    if _is_on(v.get("innodb_redo_log_encrypt", "")):
        options.append("--innodb-redo-log-encrypt=ON")
    if _is_on(v.get("innodb_undo_log_encrypt", "")):
        options.append("--innodb-undo-log-encrypt=ON")
    return options


# a recovering server must not leave certificates and keys of its own in somebody's backup
_NO_NEW_KEYS = (
    "--loose-auto-generate-certs=OFF",
    "--loose-sha256-password-auto-generate-rsa-keys=OFF",
    "--loose-caching-sha2-password-auto-generate-rsa-keys=OFF",
)


def mysql57_options(task: RecoveryTask) -> list[str]:
    """MySQL 5.7."""
    return [
        *_common(task), *_binlog(task), *_mysql_gtid(task), *_grouped_logs(task),
        *_copied(task.variables, "innodb_undo_tablespaces"),
        "--skip-slave-start", "--skip-innodb-doublewrite", "--secure-file-priv=NULL", *_NO_NEW_KEYS,
    ]


def _mysql8(task: RecoveryTask, skip_replica: str, no_upgrade: str = "--upgrade=NONE") -> list[str]:
    options = [
        *_common(task), *_binlog(task), *_mysql_gtid(task), *_mysql_keys(task.variables),
        skip_replica, no_upgrade, "--innodb-doublewrite=OFF", "--loose-mysqlx=OFF", "--log-error-verbosity=3",
        "--secure-file-priv=NULL", *_NO_NEW_KEYS,
    ]
    if task.directories:
        options.append("--innodb-directories=" + ";".join(task.directories))
    return options


def mysql80_old_options(task: RecoveryTask) -> list[str]:
    """MySQL 8.0 before 8.0.30: redo files of a fixed size. ``--upgrade`` is known from 8.0.16 on."""
    return [*_mysql8(task, "--skip-slave-start", "--loose-upgrade=NONE"), *_grouped_logs(task)]


def mysql80_options(task: RecoveryTask) -> list[str]:
    """MySQL 8.0.30 and later: the server makes a log of any size its own, and leaves a 32nd of its capacity in use.

    Measured with logs of 690 and 880 MB: 256 MiB cost no time, 8 MiB did when much had to be rolled back.
    """
    return [*_mysql8(task, "--skip-replica-start"), f"--innodb-redo-log-capacity={256 * _MB}"]


_LAST_BINLOG = re.compile(r"InnoDB: Last (?:MySQL )?binlog file '(?P<file>[^']*)', position (?P<position>\d+)")
_LAST_BINLOG_OLD = re.compile(
    r"InnoDB: Last MySQL binlog file position 0 (?P<position>\d+), file name (?P<file>\S+)"
)
_SCANNED = re.compile(r"Doing recovery: scanned up to log sequence number (?P<lsn>\d+)")

# Without a line of its own for the end of the scan: InnoDB starts to write where the scan ended
# A log of another size than the server's own is read to its end and replaced; "started" may tell an earlier LSN then
_STARTED = re.compile(r"InnoDB: (?:.*started; log sequence number |Resizing redo log from .*; LSN=)(?P<lsn>\d+)")

# Relay logs are no part of a backup: the server misses them and says so, whatever --skip-replica-start says
_NO_RELAY_LOG = (
    re.compile(r"\[Repl\]"), re.compile(r"relay log", re.IGNORECASE), re.compile(r"master info structure"),
)

MARIADB_108 = RecoveryPlan(mariadb_options, re.compile(r"InnoDB: End of log at LSN=(?P<lsn>\d+)"), _LAST_BINLOG)
MARIADB_105 = RecoveryPlan(mariadb_105_options, _STARTED, _LAST_BINLOG)
MARIADB_102 = RecoveryPlan(mariadb_105_options, _STARTED, _LAST_BINLOG_OLD)
MYSQL_56 = RecoveryPlan(mysql56_options, _SCANNED, _LAST_BINLOG_OLD, _NO_RELAY_LOG)
MYSQL_57 = RecoveryPlan(mysql57_options, _SCANNED, _LAST_BINLOG_OLD, _NO_RELAY_LOG)
MYSQL_80_OLD = RecoveryPlan(mysql80_old_options, _SCANNED, None, _NO_RELAY_LOG)
MYSQL_80 = RecoveryPlan(mysql80_options, _SCANNED, None, _NO_RELAY_LOG)

_ERROR_LINE = re.compile(r"\[(?:ERROR|FATAL)\]|InnoDB: Error: |mysqld got signal|mariadbd got signal|Assertion failure")


def error_lines(text: str) -> list[str]:
    """The lines of any server's log that report an error."""
    return [line.strip() for line in text.splitlines() if _ERROR_LINE.search(line)]


def log_errors(plan: RecoveryPlan, text: str) -> list[str]:
    """The lines of a recovering server's log that report an error worth a failure."""
    return [line for line in error_lines(text) if not any(b.search(line) for b in plan.benign)]


def recovered_lsn(plan: RecoveryPlan, text: str) -> Lsn | None:
    """The LSN at which the server's scan of the redo log ended; None when its log does not tell."""
    found = [int(m["lsn"]) for m in plan.reached.finditer(text)]
    return Lsn(max(found)) if found else None


def recovered_binlog(plan: RecoveryPlan, text: str) -> tuple[str, int]:
    """The binlog file and position that InnoDB remembers, ("", 0) when the log tells none."""
    found = list(plan.binlog.finditer(text)) if plan.binlog is not None else []
    return (found[-1]["file"], int(found[-1]["position"])) if found else ("", 0)
