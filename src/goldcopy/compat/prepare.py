"""``--prepare`` on a directory in the peers' format, whoever wrote it: increments overlaid, redo applied, exported."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace

from goldcopy.compat.ddlmarks import apply_marks
from goldcopy.compat.increments import ROCKSDB, read_increment, refuse_packed
from goldcopy.compat.infofiles import BINLOG_POS_INNODB_NAME, Checkpoints, binlog_pos_innodb
from goldcopy.compat.peerdir import REDO_NAME, PeerDir, read_peer_dir, read_text, refuse_incremental
from goldcopy.compat.verify import BEGUN_NAME, refuse_damaged
from goldcopy.errors import BackupInvalid, RecoveryFailed, UsageError
from goldcopy.events import Emit, Note, Phase, Warn
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import KEYS_NAME
from goldcopy.restore.check_tables import check_tables
from goldcopy.restore.durable import replace_copy, write_file
from goldcopy.restore.export import export_tables
from goldcopy.restore.inplace import Increment, Overlay, replace_directory
from goldcopy.restore.inplace_mysql import recover_in_place, recovery_has_begun, take_over
from goldcopy.restore.key_files import KEY_FILE, check_key_files, key_ids_in
from goldcopy.restore.keys import NO_KEYS, KeyOptions
from goldcopy.restore.log_header import empty_when_spent, mark_restored
from goldcopy.restore.preconditions import wait_for_other_server
from goldcopy.restore.recovery import RecoveryOptions, preflight
from goldcopy.restore.redo_only import RedoRequest, apply_redo, discard_saved
from goldcopy.restore.served import Served

PENDING_NAME = "goldcopy.increment"
DEFAULT_MEMORY_BYTES = 100 << 20
_HIGHEST_FORCE = 1
_PASS_OVER_MISSING = 1
_ROLLED_BACK = "full-prepared"
_HALF_WAY = (
    "the directory is half prepared now: see what the server says, then give the same command again; --mysqld names"
    " another binary"
)


@dataclass(frozen=True, kw_only=True)
class PrepareRequest:
    """``--prepare``. ``memory_bytes``: --use-memory. ``apply_log_only``: MySQL only: more increments follow.

    ``force_recovery``: --innodb-force-recovery as given. ``rollback_prepared``: --rollback-prepared-trx.
    ``check_tables``: --check-tables. ``ignore_chain``: overlay the increment although the LSNs do not meet.
    ``mysqld``: the server binary, "" = found by version; ``force_binary``: one of another version may do.
    ``server_options``: for the recovering server.
    """

    target_dir: str
    incremental_dir: str = ""
    export: bool = False
    apply_log_only: bool = False
    memory_bytes: int = DEFAULT_MEMORY_BYTES
    force_recovery: int = 0
    rollback_prepared: bool = False
    check_tables: bool = False
    ignore_chain: bool = False
    parallel: int = 1
    mysqld: str = ""
    force_binary: bool = False
    server_options: tuple[str, ...] = ()
    keys: KeyOptions = NO_KEYS


def prepare(request: PrepareRequest, emit: Emit) -> PeerDir:
    """Make the directory consistent. Returns what it says of itself afterwards.

    Raises BackupInvalid, UsageError, RecoveryFailed, KeyMissing, PageCorrupt, Unsupported. After any of them, and after
    a kill, the same call may be made again.
    """
    target = read_peer_dir(request.target_dir)
    if request.export and request.apply_log_only:
        raise UsageError("--export and --apply-log-only are mutually exclusive", hint="--export the last pass only")
    refuse_incremental(target)
    refuse_packed(target.directory)
    increment = read_peer_dir(request.incremental_dir) if request.incremental_dir else None
    _tell_state(target, emit)
    _check_pending(target, increment)
    if increment is not None:
        _check_chain(target, increment, request, emit)
        refuse_packed(increment.directory)
    request = _with_keys(target, increment, request)
    wait_for_other_server(target.directory)
    partial = target.partial or (increment is not None and increment.partial)
    contents = read_increment(increment, partial=partial) if increment is not None else None
    refuse_damaged(target, increment, contents, emit, go_on=request.force_recovery > 0)
    write_file(target.path(BEGUN_NAME), ())
    apply_marks(target.directory)
    if increment is not None and contents is not None:
        _overlay(target, increment, contents, request, emit)
    try:
        target = _recover(target, increment, request, emit)
    except RecoveryFailed as e:
        # recovery elsewhere leaves the backup alone, but not here
        raise RecoveryFailed(e.message, hint=_HALF_WAY if e.hint == e.usual_hint else e.hint) from e
    _forget(target, PENDING_NAME)
    if request.check_tables:
        _check_tables(target, request, emit)
    if request.export:
        # the server rolls back what was open: no increment fits any more
        target = target.with_checkpoints(replace(target.checkpoints, backup_type=_ROLLED_BACK))
        export_tables(_served(target, request), emit)
    _end_log(target)
    _forget(target, BEGUN_NAME)
    return target


def _with_keys(target: PeerDir, increment: PeerDir | None, request: PrepareRequest) -> PrepareRequest:
    """The request, the keys of MySQL looked up. Raises KeyMissing, Unsupported, UsageError."""
    if target.family == "mysql":
        if request.apply_log_only:
            return request
        return replace(request, keys=_look_up_keys(target, increment, _mysql_options(target, request)))
    settings = dict((increment or target).settings)
    ids = key_ids_in(target.tablespaces()) if settings.get(KEY_FILE) else frozenset()
    check_key_files(settings, ids)
    return request


def _look_up_keys(target: PeerDir, increment: PeerDir | None, options: RecoveryOptions) -> KeyOptions:
    """Where the keys are, and the keys themselves where there is something to recover."""
    chain = [d for d in (increment, target) if d is not None]
    members = [Member(d.directory, d.manifest) for d in chain if d.manifest is not None]
    if members and members[-1].manifest.state != "prepared":
        return preflight(Image(tuple(members)), options).keys
    return options.keys


def _tell_state(target: PeerDir, emit: Emit) -> None:
    emit(Note(f"This target seems to be {'already prepared' if target.prepared else 'not prepared yet'}."))


# -- increments --------------------------------------------------------------------------------------------------


def _lsns(checkpoints: Checkpoints) -> str:
    return f"{checkpoints.from_lsn} {checkpoints.to_lsn} {checkpoints.last_lsn}"


def _check_pending(target: PeerDir, increment: PeerDir | None) -> None:
    """An increment that was laid over in part must be finished first."""
    pending = read_text(target.path(PENDING_NAME)).split("\n")
    if pending[0] and (increment is None or _lsns(increment.checkpoints) != pending[0]):
        raise BackupInvalid(
            f"{target.directory} is half way to an increment (LSNs {pending[0]}): laying it over was interrupted",
            hint=f"run --prepare with --incremental-dir={pending[1]} again; it goes on where it stopped",
        )


def _check_chain(target: PeerDir, increment: PeerDir, request: PrepareRequest, emit: Emit) -> None:
    if increment.checkpoints.backup_type != "incremental":
        raise UsageError(f"{increment.directory} is no increment (backup_type {increment.checkpoints.backup_type})")
    emit(Note(f"incremental backup from {increment.checkpoints.from_lsn} is enabled."))
    if not target.prepared:
        raise BackupInvalid(
            "error: applying incremental backup needs a prepared target.",
            hint=f"--prepare --target-dir={target.directory} first, without an increment",
        )
    if target.checkpoints.backup_type == _ROLLED_BACK and not read_text(target.path(PENDING_NAME)):
        raise BackupInvalid(
            f"{target.directory} is fully prepared: open transactions were rolled back, so increments no longer fit",
            hint="start again from the full backup; --export and the last prepare come after all increments",
        )
    if target.family != increment.family:
        raise BackupInvalid(f"{increment.directory} is of {increment.family}, {target.directory} of {target.family}")
    if read_text(target.path(PENDING_NAME)):
        return
    if _applied(target, increment):
        # a run that was killed at its very end looks like this; doing it again changes nothing
        emit(Note(f"{increment.directory} has been applied before; it is applied again"))
        return
    _check_base(target, increment)
    if target.checkpoints.to_lsn != increment.checkpoints.from_lsn:
        if not request.ignore_chain:
            raise BackupInvalid(
                "This incremental backup seems not to be proper for the target. Check 'to_lsn' of the target and"
                " 'from_lsn' of the incremental.",
                hint=f"to_lsn is {target.checkpoints.to_lsn}, from_lsn {increment.checkpoints.from_lsn}: increments are"
                " applied in the order in which they were taken, each once",
            )
        emit(Warn("chain", "the increment does not continue the target: tables may be damaged"))


def _check_base(target: PeerDir, increment: PeerDir) -> None:
    """Raises BackupInvalid unless the increment was taken against what the target holds."""
    if target.manifest is None or increment.manifest is None:
        return
    if increment.manifest.base_id and increment.manifest.base_id != target.manifest.id:
        raise BackupInvalid(
            f"{increment.directory} was taken against another backup than {target.directory} holds",
            hint="increments are applied in the order in which they were taken, each once",
        )


def _applied(target: PeerDir, increment: PeerDir) -> bool:
    have, want = target.checkpoints, increment.checkpoints
    if target.manifest is not None and increment.manifest is not None:
        # of an idle server all backups have the same LSNs
        return target.manifest.id == increment.manifest.id
    return (have.to_lsn, have.last_lsn) == (want.to_lsn, want.last_lsn)


def _overlay(
    target: PeerDir, increment: PeerDir, contents: Increment, request: PrepareRequest, emit: Emit
) -> None:
    ours = increment.manifest if target.manifest is not None and target.family == "mysql" else None
    if ours is not None and recovery_has_begun(target.directory, ours):
        emit(Note(f"{increment.directory} has been laid over before"))
        return
    emit(Phase("overlay", f"{increment.directory} is laid over {target.directory}"))
    mark = f"{_lsns(increment.checkpoints)}\n{increment.directory}\n"
    write_file(target.path(PENDING_NAME), [mark.encode("utf-8", "surrogateescape")])
    discard_saved(target.directory)
    Overlay(target.directory, contents, emit, threads=request.parallel).run()
    _replace_engine_files(target, increment)
    if increment.manifest is not None and target.manifest is not None:
        take_over(target.directory, increment.manifest)


def _replace_engine_files(target: PeerDir, increment: PeerDir) -> None:
    """What belongs together as a set: Aria's logs, RocksDB's directory; and the keys that travel along."""
    for name in os.listdir(target.directory):
        if name.startswith("aria_log") and not os.path.exists(increment.path(name)):
            os.unlink(target.path(name))
    if os.path.exists(increment.path(KEYS_NAME)):
        replace_copy(increment.path(KEYS_NAME), target.path(KEYS_NAME))
    if os.path.isdir(increment.path(ROCKSDB)):
        replace_directory(increment.path(ROCKSDB), target.path(ROCKSDB))


def _forget(target: PeerDir, mark: str) -> None:
    if os.path.exists(target.path(mark)):
        os.unlink(target.path(mark))


# -- recovery ----------------------------------------------------------------------------------------------------


def _force_recovery(request: PrepareRequest, emit: Emit) -> int:
    value = min(request.force_recovery, _HIGHEST_FORCE)
    if value != request.force_recovery:
        emit(
            Warn(
                "force-recovery",
                f"option 'innodb_force_recovery': unsigned value {request.force_recovery} adjusted to {value}",
            )
        )
    if value:
        emit(Note(f"innodb_force_recovery = {value}"))
    return value


def _mysql_options(target: PeerDir, request: PrepareRequest) -> RecoveryOptions:
    # tables that a filter left out are missing on purpose: recovery must pass over their redo
    level = max(request.force_recovery, _PASS_OVER_MISSING if target.partial else 0)
    return RecoveryOptions(
        binary=request.mysqld, memory_bytes=request.memory_bytes, force=request.force_binary, keys=request.keys,
        extra=(*request.server_options, *([f"--innodb-force-recovery={level}"] if level else [])),
    )  # fmt: skip


def _recover(target: PeerDir, increment: PeerDir | None, request: PrepareRequest, emit: Emit) -> PeerDir:
    if target.family == "mysql":
        if not request.apply_log_only:
            options = _mysql_options(target, request)
            _remember(target, *recover_in_place(target.directory, options, emit, decide_xa=request.rollback_prepared))
        return _write_checkpoints(target, increment, last=not request.apply_log_only)
    force = _force_recovery(request, emit)
    newest = increment or target
    emit(Note("Starting InnoDB instance for recovery."))
    emit(Note(f"Using {request.memory_bytes} bytes for buffer pool (set by --use-memory parameter)"))
    applied = apply_redo(
        RedoRequest(
            directory=target.directory,
            version=newest.server_version,
            settings=newest.settings or target.settings,
            last_lsn=newest.checkpoints.last_lsn,
            memory_bytes=request.memory_bytes,
            force_recovery=force,
            binary=request.mysqld,
            force_binary=request.force_binary,
            home=_home(newest),
            extra=request.server_options,
            manifest=newest.manifest,
        ),
        emit,
    )
    emit(Note(f"Last binlog file {applied.binlog_file}, position {applied.binlog_position}"))
    _remember(target, applied.binlog_file, applied.binlog_position)
    return _write_checkpoints(target, increment, last=True)


def _remember(target: PeerDir, binlog_file: str, binlog_position: int) -> None:
    if binlog_file:
        write_file(target.path(BINLOG_POS_INNODB_NAME), [binlog_pos_innodb(binlog_file, binlog_position).encode()])


def _end_log(target: PeerDir) -> None:
    """After the last server has run: what it wrote of the log is what the restored one finds."""
    head = target.system_files[0]
    if target.family == "mariadb" and all(os.path.exists(target.path(name)) for name in (REDO_NAME, head)):
        mark_restored(target.path(REDO_NAME))
        empty_when_spent(target.path(REDO_NAME), target.path(head))


def _write_checkpoints(target: PeerDir, increment: PeerDir | None, *, last: bool) -> PeerDir:
    end = increment.checkpoints if increment else None
    return target.with_checkpoints(target.checkpoints.after_prepare(target.peer, end, last))


def _check_tables(target: PeerDir, request: PrepareRequest, emit: Emit) -> None:
    if target.family == "mysql" and request.apply_log_only:
        emit(
            Warn(
                "check-tables",
                "--check-tables: with --apply-log-only increments are only laid over, so tables are not checked now;"
                " give it to the last --prepare, which recovers",
            )
        )
        return
    check_tables(_served(target, request), read_peer_dir(target.directory).manifest, emit)


def _served(target: PeerDir, request: PrepareRequest) -> Served:
    now = read_peer_dir(target.directory)
    return Served(
        directory=now.directory,
        version=now.server_version,
        settings=_settings(now),
        memory_bytes=request.memory_bytes,
        binary=request.mysqld,
        force_binary=request.force_binary,
        home=_home(now),
        extra=request.server_options,
        keys=request.keys,
    )


def _home(now: PeerDir) -> str:
    """Where the source's server was installed; the peers' own files do not tell."""
    return now.manifest.server.home if now.manifest is not None else ""


def _settings(now: PeerDir) -> tuple[tuple[str, str], ...]:
    """What a server must know of the source: our manifest has all its variables, backup-my.cnf a few."""
    if now.manifest is not None and now.family == "mysql":
        return tuple(now.manifest.server.variables.items())
    return now.settings
