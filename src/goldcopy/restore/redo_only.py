"""Apply redo to a backup directory by the server's own binary, and nothing more: no rollback, no purge.

Under innodb_force_recovery=3 the server neither rolls back nor purges, and changes no page after it has applied the
redo (measured on MariaDB 10.5, 10.11, 11.8: no page carries an LSN beyond the log's end). So transactions stay open,
XA transactions prepared, and pages of a later increment still fit.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from goldcopy.dialect import Dialect, choose
from goldcopy.errors import PageCorrupt, RecoveryFailed
from goldcopy.events import Emit, Note, Phase
from goldcopy.formats import Lsn
from goldcopy.image.manifest import Manifest
from goldcopy.restore.durable import copy_whole
from goldcopy.restore.losses import away, refuse_losses
from goldcopy.restore.materialise import Placement
from goldcopy.restore.missing import is_about_missing_table
from goldcopy.restore.remote import confined
from goldcopy.server.binary import find_server_binary, home_options
from goldcopy.server.process import RecoveryRun

LOG_NAME = "goldcopy-recovery.log"
_REDO = "ib_logfile0"
_SAVED_REDO = "goldcopy.redo_before"
# The log of a clean directory needs no room: whoever starts a server on it has it made anew in its own size
_LOG_BYTES = 8 << 20
_MB = 1 << 20
APPLY_ONLY = ("--innodb-force-recovery=3", "--skip-grant-tables")
"""Redo is applied, nothing is rolled back or purged; and whoever asks over the private socket needs no account."""

_IGNORE_CORRUPT = 1
_MADE_BY_REDO = ("ib_logfile", "undo", "aria_log")
_KEY_SETTINGS = re.compile(r"plugin_|file_key_management|hashicorp_|aws_key|provider_")
_CORRUPT = re.compile(r"corrupt", re.IGNORECASE)
_ENGINE_LINE = re.compile(r"\] (?:InnoDB|Plugin 'InnoDB'|Unknown/unsupported storage engine: InnoDB|Aborting)")
# a log is resized when every page is on disk: what follows needs no redo of before
_UNDECIDED = re.compile(r"InnoDB: Resizing redo log.*Found \d+ prepared transactions!", re.DOTALL)
_STARTED_AT = re.compile(r"log sequence number (?P<lsn>\d+); transaction id")


@dataclass(frozen=True, kw_only=True)
class RedoRequest:
    """``settings``: of backup-my.cnf. ``last_lsn``: where the redo must end, 0 = do not check.

    ``force_recovery``: 1 = go on over corrupt pages. ``memory_bytes``: buffer pool. ``binary``, ``force_binary``: see
    ``find_server_binary``, as is ``home``. ``extra``: further server options. ``manifest``: of a backup of ours.
    """

    directory: str
    version: str
    settings: tuple[tuple[str, str], ...]
    last_lsn: int
    memory_bytes: int
    force_recovery: int = 0
    binary: str = ""
    force_binary: bool = False
    home: str = ""
    extra: tuple[str, ...] = ()
    manifest: Manifest | None = None

    def away(self) -> frozenset[str]:
        """Tablespaces that are not in the directory: somebody wants to do without them."""
        return frozenset(away(self.manifest, self._placement())) if self.manifest is not None else frozenset()

    def refuse_losses(self, before: frozenset[str]) -> None:
        """Raises RecoveryFailed when more tablespaces are away than before."""
        if self.manifest is not None:
            refuse_losses(self.manifest, self._placement(), before=before)

    def _placement(self) -> Placement:
        return Placement(self.directory, inside=True)


@dataclass(frozen=True)
class RedoApplied:
    """``binlog_file``, ``binlog_position``: what InnoDB remembers, ("", 0) when it remembers none."""

    binary: str
    binlog_file: str
    binlog_position: int


def apply_redo(request: RedoRequest, emit: Emit) -> RedoApplied:
    """Run the server once over the directory, without rollback.

    Raises RecoveryFailed with the server's own words, KeyMissing, PageCorrupt: the redo log is back in its place then,
    so that another attempt starts where this one did.
    """
    dialect = choose(request.version, force=True)
    binary = find_server_binary(
        dialect.family, request.version, request.binary, force=request.force_binary, home=request.home
    )
    emit(Phase("recover", f"redo is applied by {binary}"))
    before, away_before = set(os.listdir(request.directory)), request.away()
    _save_redo(request.directory)
    log = os.path.join(request.directory, LOG_NAME)
    try:
        with ExitStack() as stack:
            program = stack.enter_context(confined(request.directory, binary))
            options = [*home_options(binary), *redo_options(dialect, request)]
            run = stack.enter_context(RecoveryRun(program, request.directory, options, log, emit))
            _run(run)
            text = run.log_text()
        _judge(dialect, request, text, emit)
        request.refuse_losses(away_before)
    except BaseException:
        _restore_redo(request.directory)
        raise
    finally:
        _tidy(request.directory, before)
    _forget_redo(request.directory)
    return RedoApplied(binary, *dialect.recovered_binlog(text))


def _run(run: RecoveryRun) -> None:
    """Up and down again. A backup without locks may hold transactions that only its binlog could decide: the server
    does not come up over them, but has applied the redo and written all pages, which is all that is wanted.
    """
    try:
        run.wait_ready()
        run.stop()
    except RecoveryFailed:
        if not _UNDECIDED.search(run.log_text()):
            raise


def redo_options(dialect: Dialect, request: RedoRequest) -> list[str]:
    """The server's options for this run."""
    return [
        *server_options(dialect, request.settings, request.memory_bytes, log_bytes_for(request.directory)),
        *APPLY_ONLY,
        "--loose-innodb-encryption-threads=0",
        *request.extra,
    ]


def log_bytes_for(directory: str) -> int:
    """The log size to tell the server, in bytes: MariaDB before 10.8 gives up when the redo fills most of it."""
    path = os.path.join(directory, _REDO)
    size = os.path.getsize(path) if os.path.exists(path) else 0
    if size % _MB == 0:
        # not a backup's window but a log that a server has made: it fits itself
        return max(_LOG_BYTES, size)
    return max(_LOG_BYTES, -(-size * 3 // 2 // _MB) * _MB)


def server_options(
    dialect: Dialect, settings: tuple[tuple[str, str], ...], memory_bytes: int, log_bytes: int = _LOG_BYTES
) -> list[str]:
    """Options for any run on such a directory: geometry and keys as the settings tell, everything local."""
    of_plugins = _plugin_prefixes(settings)
    keys = [(n, v) for n, v in settings if _KEY_SETTINGS.match(n) or n.startswith(of_plugins)]
    variables: Mapping[str, str] = {n: v for n, v in settings if (n, v) not in keys}
    options = dialect.recovery_options(variables, log_bytes=log_bytes, log_files=1, memory_bytes=memory_bytes)
    options += [f"--{_key_option(name)}={value}" for name, value in keys]
    if of_plugins:
        # the source's server had accepted them
        options.append("--plugin-maturity=unknown")
    if variables.get("innodb_compression_level"):
        options.append(f"--innodb-compression-level={variables['innodb_compression_level']}")
    return options


def _plugin_prefixes(settings: tuple[tuple[str, str], ...]) -> tuple[str, ...]:
    """What the variables of the plugins that are to be loaded begin with."""
    loads = [part for name, value in settings if name.startswith("plugin_load") for part in value.split(";")]
    return tuple(part.partition("=")[0].strip().lower() + "_" for part in loads if part)


def _key_option(name: str) -> str:
    if name in ("plugin_load", "plugin_load_add"):
        return "plugin-load-add"
    return name if name == "plugin_dir" else "loose-" + name


def _save_redo(directory: str) -> None:
    """Keep the redo until the run has succeeded: a server that passes over a fault would throw it away."""
    saved = os.path.join(directory, _SAVED_REDO)
    redo = os.path.join(directory, _REDO)
    _restore_redo(directory)
    if os.path.exists(redo):
        copy_whole(redo, saved + ".tmp")
        os.rename(saved + ".tmp", saved)


def _restore_redo(directory: str) -> None:
    saved = os.path.join(directory, _SAVED_REDO)
    if os.path.exists(saved):
        os.rename(saved, os.path.join(directory, _REDO))


def _forget_redo(directory: str) -> None:
    saved = os.path.join(directory, _SAVED_REDO)
    if os.path.exists(saved):
        os.unlink(saved)


def _tidy(directory: str, before: set[str]) -> None:
    """Take away what only the run needed: its log, sockets, empty state files of replication."""
    for name in set(os.listdir(directory)) - before - {_SAVED_REDO}:
        path = os.path.join(directory, name)
        if name.startswith(_MADE_BY_REDO):
            continue
        if os.path.isdir(path) and not os.path.islink(path):
            # a database that the redo created has its directory made by the server
            continue
        os.unlink(path)


def _judge(dialect: Dialect, request: RedoRequest, text: str, emit: Emit) -> None:
    """The run succeeded when the redo was read to its end and no page was passed over."""
    if request.force_recovery < _IGNORE_CORRUPT:
        refuse_corrupt(text)
    errors = [line for line in dialect.log_errors(text) if not is_about_missing_table(line)]
    ours = _ENGINE_LINE.search if not _UNDECIDED.search(text) else re.compile("InnoDB: ").search
    fatal = [line for line in errors if ours(line) and not _CORRUPT.search(line)]
    if fatal:
        raise RecoveryFailed("the server reported errors while it applied redo:\n  " + "\n  ".join(fatal[:10]))
    for line in errors:
        emit(Note(f"server: {line}", detail=True))
    reached = _reached(dialect, text)
    if reached is not None and reached < request.last_lsn:
        raise RecoveryFailed(
            f"the redo log ends at LSN {reached}, before the backup's end at {request.last_lsn}: it is cut or damaged",
        )


def refuse_corrupt(text: str) -> None:
    """Raises PageCorrupt when a server that goes on over corrupt pages says that it found some."""
    lines = [line.strip() for line in text.splitlines() if _CORRUPT.search(line) and "[Note]" not in line]
    if lines:
        raise PageCorrupt(
            "the server found corrupt pages while it applied redo:\n  " + "\n  ".join(lines[:10]),
            hint="restore another backup, or go on over them with --innodb-force-recovery=1: their tables are damaged",
        )


def _reached(dialect: Dialect, text: str) -> Lsn | None:
    found = dialect.recovered_lsn(text)
    started = _STARTED_AT.search(text)
    # MariaDB 10.5 says 0 when it had to make a log, the one of a prepared backup being empty
    reached = max(found or 0, int(started["lsn"])) if started else found
    return Lsn(reached) if reached else None


def discard_saved(directory: str) -> None:
    """Forget a redo log that an interrupted run kept: an increment has brought a newer one."""
    _forget_redo(directory)
    for leftover in (LOG_NAME, _SAVED_REDO + ".tmp"):
        path = os.path.join(directory, leftover)
        if os.path.exists(path):
            os.unlink(path)
