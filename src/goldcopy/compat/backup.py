"""``--backup``: the engine's capture, into a directory or a stream of the peers' form."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from goldcopy import __version__
from goldcopy.capture.base import BackupBase, base_at, base_of, check_server
from goldcopy.capture.engine import Capture, CaptureOptions
from goldcopy.commands.backup import take
from goldcopy.compat import history, infofiles
from goldcopy.compat.dirform import DirectoryForm, Facts
from goldcopy.compat.filters import Filters, NameList, databases_file, expressions, names, tables_file
from goldcopy.compat.infofiles import Checkpoints
from goldcopy.compat.log import Log
from goldcopy.compat.options.backup import BASES
from goldcopy.compat.options.settings import Settings
from goldcopy.compat.peerdir import find_file, parse_settings, read_text
from goldcopy.compat.plugins import missing_algorithms, plugin_settings
from goldcopy.compat.requests import key_options
from goldcopy.compat.sdifiles import table_files
from goldcopy.compat.session import (
    account_of,
    check_binlog_info,
    check_datadir,
    check_privileges,
    check_replica,
    lock_policy,
)
from goldcopy.compat.sinks import open_sink, packing_of, stream_of, tmpdir_of
from goldcopy.compat.transition import TransitionKeys
from goldcopy.compat.unwritten import UnwrittenSpaces
from goldcopy.dialect.peers import Peer, peer_of
from goldcopy.errors import BackupInvalid, GoldcopyError, PageCorrupt, TargetRefused, UsageError, writing
from goldcopy.formats import Lsn
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, load
from goldcopy.server.instance import Instance, instance_of
from goldcopy.server.locks import SafeReplica

TOOL_VERSION = f"goldcopy {__version__}"
_POLL_S = 0.2


@dataclass(frozen=True)
class Call:
    """Who asks, for the info file: ``tool``, the program's name, and where the backup goes."""

    tool: str
    target_dir: str
    environ: Mapping[str, str]


def backup(settings: Settings, call: Call, log: Log) -> Manifest:
    """Take the backup. Raises what the engine raises; nothing half-made is left then, and all locks are given back."""
    check_combinations(settings)
    filters = filters_of(settings)
    for directory in ("" if stream_of(settings) else call.target_dir, settings.text("extra-lsndir")):
        if directory:
            _make_target(directory)
    account = account_of(settings, call.environ)
    shown = account.socket or "not set"
    log.note(
        f"Connecting to {'MariaDB' if settings.face.mariadb else 'MySQL'} server host: {account.host}, user: "
        f"{account.user}, password: {'set' if account.password else 'not set'}, port: {account.port}, socket: {shown}"
    )
    with instance_of(account, force_version=settings.flag("no-server-version-check")) as instance:
        log.note(f"Using server version {instance.version}")
        check_privileges(settings, instance, log)
        check_datadir(settings, instance, log)
        check_replica(settings, instance)
        check_binlog_info(settings, instance)
        peer = peer_of(instance.dialect.family, instance.version)
        base = base_for(settings, instance, peer)
        if base is not None:
            log.note("xtrabackup: using the full scan for incremental backup")
        _before(settings, instance, log)
        if settings.text("innodb-flush-method").startswith("O_DIRECT"):
            log.note("xtrabackup: using O_DIRECT")
        log.note("xtrabackup: Generating a list of tablespaces")
        form, manifest = _capture(settings, call, instance, peer, base, filters, log)
        form.complete()
        if settings.given("history"):
            history.record(instance.session, peer, form.info)
    _tell(settings, call, peer, manifest, log)
    if not settings.face.mariadb:
        _tell_size(form.info, log)
    return manifest


def _transition(settings: Settings, instance: Instance) -> TransitionKeys | None:
    options = key_options(settings)
    return TransitionKeys(instance, options.phrase, options.keyring) if options.phrase else None


def _make_target(directory: str) -> None:
    """The originals make it before anything else, and scripts rely on its being there after a failure, too."""
    try:
        os.makedirs(directory, 0o750, exist_ok=True)
    except OSError as e:
        raise TargetRefused(f"cannot make the directory {directory}: {e.strerror}") from e


def _capture(
    settings: Settings, call: Call, instance: Instance, peer: Peer, base: BackupBase | None, filters: Filters, log: Log
) -> tuple[DirectoryForm, Manifest]:
    timeout_s = settings.number("safe-slave-backup-timeout")
    with (
        open_sink(settings, call.target_dir, peer) as sink,
        _spool(settings, call.target_dir, peer) as spool,
        SafeReplica(instance, settings.flag("safe-slave-backup"), timeout_s, log.emit),
        Capture(
            instance, sink, base,
            _capture_options(settings, call.target_dir, _wanted(filters, peer, instance.datadir), peer, spool),
            log.emit,
        ) as capture,
    ):
        unwritten = UnwrittenSpaces(instance) if peer.mariadb and base is not None else None
        form = DirectoryForm(sink, _facts(settings, call, instance, peer, spool), unwritten)
        try:
            return form, take(capture, log.emit, form, unwritten.look if unwritten else None)
        except PageCorrupt as e:
            file = f" File ./{e.path} seems to be corrupted." if e.path else ""
            raise PageCorrupt(f"Database page corruption detected: {e.message}.{file}", hint=e.hint) from e


# -- what was asked for -----------------------------------------------------------------------


def check_combinations(settings: Settings) -> None:
    """Raises UsageError for options that contradict each other."""
    if settings.number("innodb-force-recovery"):
        mode = "--apply-log" if settings.face.positional else "--prepare"
        raise UsageError(f'innodb_force_recovery should only be used with "{mode}"')
    if settings.flag("slave-info") and settings.flag("no-lock") and not settings.flag("safe-slave-backup"):
        raise UsageError(
            "--slave-info is used with --no-lock but without --safe-slave-backup. The binlog position cannot be "
            "consistent with the backup data.",
            hint="leave --no-lock out, or add --safe-slave-backup",
        )
    held = settings.given("lock-ddl") and settings.text("lock-ddl").upper() != "OFF"
    if held and settings.flag("lock-ddl-per-table"):
        raise UsageError("--lock-ddl and --lock-ddl-per-table are mutually exclusive", hint="give one of them")
    given = [n for n in BASES if settings.text(n)]
    if given and settings.face.positional and not settings.flag("incremental"):
        raise UsageError(
            "--incremental-lsn, --incremental-basedir, --incremental-history-name and --incremental-history-uuid"
            " require the --incremental option.",
            hint="add --incremental, or leave the base out for a full backup",
        )
    if len(given) > 1:
        raise UsageError("an increment has one base; given were " + ", ".join(f"--{n}" for n in given))


def filters_of(settings: Settings) -> Filters:
    """The partial backup that was asked for. Raises UsageError for what cannot be a name or an expression."""
    include = names(settings.text("databases")) if not _is_file(settings, "databases") else NameList()
    for option, reader in (("databases-file", databases_file), ("tables-file", tables_file)):
        if settings.text(option):
            include = include | reader(settings.text(option))
    if _is_file(settings, "databases"):
        include = include | databases_file(settings.text("databases"))
    return Filters(
        include=include,
        exclude=names(settings.text("databases-exclude")),
        matching=expressions(settings.text("tables")),
        not_matching=expressions(settings.text("tables-exclude")),
    )


def _is_file(settings: Settings, option: str) -> bool:
    """innobackupex takes a list or, when it begins with a slash, the path of a file."""
    return settings.face.positional and settings.text(option).startswith("/")


def _wanted(filters: Filters, peer: Peer, datadir: str) -> Callable[[str], bool] | None:
    """MySQL's own databases go along: its server, which recovers the backup, does not start without them."""
    if not filters.partial:
        return None
    if peer.mariadb:
        return filters.keeps
    return lambda path: path.startswith(_MYSQL_OWN) or any(map(filters.keeps, table_files(path, datadir)))


_MYSQL_OWN = ("mysql/", "performance_schema/")


def _capture_options(
    settings: Settings, target_dir: str, wanted: Callable[[str], bool] | None, peer: Peer, spool: str
) -> CaptureOptions:
    return CaptureOptions(
        threads=settings.number("parallel"),
        iops=settings.number("throttle"),
        on_corrupt="list" if settings.flag("log-innodb-page-corruption") else "stop",
        extended_validation=settings.flag("extended-validation"),
        consumer=settings.flag("register-redo-log-consumer") or settings.face.mariadb,
        always_delta=True,
        plain_from_base=False,
        redo_spool=spool,
        redo_name=peer.redo_name,
        rocksdb=settings.face.mariadb is False or settings.flag("rocksdb-backup"),
        own_dirs=tuple(d for d in (target_dir, settings.text("extra-lsndir")) if d),
        name=settings.text("history"),
        wanted=wanted,
        policy=lock_policy(settings),
    )


@contextlib.contextmanager
def _spool(settings: Settings, target_dir: str, peer: Peer) -> Iterator[str]:
    """A local file for MariaDB's redo until it can be rebuilt; "" where the window goes into the backup as it is.

    It lies in the target, where room was made for a backup; what is above it may be another file system.
    """
    if not peer.mariadb:
        yield ""
        return
    directory = tmpdir_of(settings) if stream_of(settings) else target_dir
    with writing(f"the redo log's temporary file in {directory or tempfile.gettempdir()}"):
        fd, path = tempfile.mkstemp(prefix=".goldcopy-redo-", dir=directory or None)
    os.close(fd)
    try:
        yield path
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)


def _facts(settings: Settings, call: Call, instance: Instance, peer: Peer, spool: str) -> Facts:
    packing = packing_of(settings)
    info: dict[str, str | int | bool] = {
        "uuid": str(instance.session.value("SELECT UUID()")),
        "name": settings.text("history"),
        "tool_name": call.tool,
        "tool_command": settings.command,
        "tool_version": TOOL_VERSION,
        "ibbackup_version": TOOL_VERSION,
        "server_version": instance.version,
        "format": _format(settings, peer),
        "compressed": packing.compressed,
        "encrypted": packing.encrypted,
        "lock_ddl_type": settings.text("lock-ddl").upper(),
    }
    return Facts(
        peer=peer,
        variables=instance.variables,
        plugin_settings=plugin_settings(instance) if peer.mariadb else (),
        missing_algorithms=missing_algorithms(instance) if peer.mariadb else frozenset(),
        info=info,
        spool=spool,
        binlog_path=instance.binlog_path,
        extra_lsndir=settings.text("extra-lsndir"),
        slave_info=settings.flag("slave-info"),
        galera_info=settings.flag("galera-info"),
        binlog_info=settings.text("binlog-info").lower() != "off",
        estimate_memory=settings.flag("estimate-memory"),
        transition=_transition(settings, instance),
    )


def _format(settings: Settings, peer: Peer) -> str:
    stream = stream_of(settings)
    return "file" if not stream else "tar" if stream == "tar" else peer.stream_format


# -- the base of an increment -----------------------------------------------------------------------


def base_for(settings: Settings, instance: Instance, peer: Peer) -> BackupBase | None:
    """The base that was asked for, None for a full backup. Raises BackupInvalid, UsageError."""
    if settings.text("incremental-lsn"):
        text = settings.text("incremental-lsn")
        if not text.isdigit():
            raise UsageError(f"value '{text}' may be wrong format for incremental option.", hint="a decimal LSN")
        return base_at(Lsn(int(text)))
    name, uuid = settings.text("incremental-history-name"), settings.text("incremental-history-uuid")
    if name or uuid:
        return base_at(Lsn(history.to_lsn(instance.session, peer, name=name, uuid=uuid)))
    directory = settings.text("incremental-basedir")
    return _base_in(directory, instance) if directory else None


def _base_in(directory: str, instance: Instance) -> BackupBase:
    """A directory of ours, of the peers, or one that holds just the checkpoints file."""
    found = find_file(directory, "checkpoints")
    if not found:
        raise BackupInvalid(
            f"Error: failed to read metadata from '{directory}/xtrabackup_checkpoints'",
            hint="--incremental-basedir is the directory of an earlier backup, or its --extra-lsndir",
        )
    _check_undo(directory, instance)
    checkpoints = Checkpoints.parse(read_text(os.path.join(directory, found)))
    manifest = load(directory) if os.path.exists(os.path.join(directory, MANIFEST_NAME)) else None
    if manifest is None or manifest.state != "backup" or checkpoints.prepared:
        return base_at(Lsn(checkpoints.to_lsn))
    check_server(directory, manifest, instance)
    # what an increment stands on may be used up already: nothing is read from it
    return base_of(Image((Member(os.path.abspath(directory), manifest),)))


def _check_undo(directory: str, instance: Instance) -> None:
    then = dict(parse_settings(read_text(os.path.join(directory, infofiles.CONFIG_NAME)))).get(_UNDO, "")
    now = instance.variables.get(_UNDO, "")
    if then and now and then != now and instance.dialect.family == "mariadb":
        raise BackupInvalid(
            "--incremental backup is impossible if the server had been restarted with different "
            "innodb_undo_tablespaces.",
            hint=f"the base was taken with {then}, the server has {now} now: take a full backup",
        )


_UNDO = "innodb_undo_tablespaces"


# -- before and after -----------------------------------------------------------------------


def _before(settings: Settings, instance: Instance, log: Log) -> None:
    """What the server is asked to do before anything is copied."""
    if settings.flag("innodb-log-checkpoint-now"):
        _try(instance, "SET GLOBAL innodb_log_checkpoint_now = ON", log)
    if settings.flag("dump-innodb-buffer-pool"):
        _dump_buffer_pool(settings, instance, log)


def _try(instance: Instance, sql: str, log: Log) -> bool:
    try:
        instance.session.run(sql)
    except GoldcopyError as e:
        log.warning(f"{sql}: {e.message}")
        return False
    return True


def _dump_buffer_pool(settings: Settings, instance: Instance, log: Log) -> None:
    """Have the list of pages dumped, and wait for it as long as the user would."""
    share, before = settings.number("dump-innodb-buffer-pool-pct"), instance.variables.get(_DUMP_PCT, "")
    if share and before:
        _try(instance, f"SET GLOBAL {_DUMP_PCT} = {share}", log)
    try:
        log.note("Executing SET GLOBAL innodb_buffer_pool_dump_now=ON...")
        earlier = _dump_status(instance)
        if not _try(instance, "SET GLOBAL innodb_buffer_pool_dump_now = ON", log):
            return
        deadline = time.monotonic() + settings.number("dump-innodb-buffer-pool-timeout")
        while (status := _dump_status(instance)) == earlier or "completed" not in status:
            if time.monotonic() > deadline:
                log.warning("innodb buffer pool is not dumped yet; the backup goes on without waiting for it")
                return
            time.sleep(_POLL_S)
    finally:
        if share and before:
            _try(instance, f"SET GLOBAL {_DUMP_PCT} = {before}", log)


_DUMP_PCT = "innodb_buffer_pool_dump_pct"


def _dump_status(instance: Instance) -> str:
    """It tells of the last dump, with its time, until the next one begins."""
    rows = instance.session.rows("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_dump_status'")
    return str(rows[0][1]) if rows else ""


def _tell(settings: Settings, call: Call, peer: Peer, manifest: Manifest, log: Log) -> None:
    """The facts that people and tools look for at the end of the log."""
    program = "mariabackup" if settings.face.mariadb else "xtrabackup"
    if settings.flag("slave-info"):
        _tell_replica(peer, manifest, log)
    if settings.flag("galera-info") and not manifest.position.galera:
        log.warning("failed to get master wsrep state from SHOW STATUS.")
    log.note(f"{program}: The latest check point (for incremental): '{manifest.redo.checkpoint}'")
    if not stream_of(settings):
        log.note(f"Backup created in directory '{os.path.abspath(call.target_dir)}/'")
    words = infofiles.binlog_words(manifest.position, mariadb=peer.mariadb)
    if words:
        log.note(f"MySQL binlog position: {words}")
    noun = "Redo log (from LSN {} to {})" if settings.face.mariadb else "Transaction log of lsn ({}) to ({})"
    log.note(noun.format(manifest.redo.checkpoint, manifest.redo.end) + " was copied.")


def _tell_size(info: infofiles.Info, log: Log) -> None:
    log.note(f"Backup size: {_mebibytes(info.backup_size)}")
    if info.compressed and info.backup_size:
        log.note(f"Uncompressed backup size: {_mebibytes(info.uncompressed_backup_size)}")
        log.note(f"Compression ratio: {info.uncompressed_backup_size / info.backup_size:.2f}x")


def _mebibytes(size: int) -> str:
    return f"{size / (1 << 20):.2f} MiB ({size} bytes)"


def _tell_replica(peer: Peer, manifest: Manifest, log: Log) -> None:
    words = infofiles.slave_words(manifest.position.replicas, peer)
    if words:
        log.note(f"MySQL slave binlog position: {words}")
    else:
        log.note(
            "Failed to get master binlog coordinates from SHOW SLAVE STATUS."
            "This means that the server is not a replication slave. Ignoring the --slave-info option"
        )
