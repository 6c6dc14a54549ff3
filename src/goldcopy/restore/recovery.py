"""Recovery: the server's own binary makes a clean data directory of an image's files. We never apply redo."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace

from goldcopy.dialect import Dialect, choose
from goldcopy.errors import RecoveryFailed
from goldcopy.events import Emit, Note, Phase, Warn
from goldcopy.formats import Lsn
from goldcopy.formats.datafiles import data_files
from goldcopy.formats.redo import LogFile, Window
from goldcopy.image.chain import Image
from goldcopy.image.manifest import BINLOG_TAIL_NAME, Manifest, Position, Space
from goldcopy.restore.by_id import apply_by_id
from goldcopy.restore.key_files import KEY_FILE, check_key_files, mariadb_key_ids
from goldcopy.restore.keys import NO_KEYS, KeyOptions, lent, looked_up, named_in
from goldcopy.restore.losses import refuse_losses
from goldcopy.restore.materialise import Placement, check_stored
from goldcopy.restore.missing import is_about_missing_table, missing_before
from goldcopy.restore.redo_files import drop_spare_logs, lay_logs
from goldcopy.restore.redo_only import LOG_NAME
from goldcopy.restore.remote import Remote, confined, shown
from goldcopy.server.binary import find_server_binary, home_options
from goldcopy.server.process import RecoveryRun

_MB = 1 << 20


@dataclass(frozen=True)
class Recovered:
    """What the server said. ``binlog_file``/``position``: what it recovered from InnoDB, "" where it says none."""

    binary: str
    end_lsn: Lsn | None
    binlog_file: str
    binlog_position: int


def window_of(manifest: Manifest) -> Window:
    """The redo window of a backup as the formats layer takes it."""
    r = manifest.redo
    return Window(
        layout=r.layout, start=Lsn(r.start), checkpoint=Lsn(r.checkpoint), checkpoint_end=Lsn(r.checkpoint_end),
        checkpoint_no=r.checkpoint_no, end=Lsn(r.end), header=bytes.fromhex(r.header),
        first_lsn=Lsn(r.first_lsn), capacity=r.capacity, encryption=bytes.fromhex(r.encryption),
    )


def recovery_need(redo_bytes: int) -> int:
    """Bytes of buffer pool with which so much redo is applied in one pass: its records, and the pages they change."""
    return 4 * redo_bytes


def memory_for(redo_bytes: int, asked_bytes: int) -> int:
    """Buffer pool for recovery: what was asked for, else by the redo and the machine (a quarter of it at most)."""
    if asked_bytes:
        return asked_bytes
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return max(128 * _MB, min(recovery_need(redo_bytes), machine // 4))


@dataclass(frozen=True, kw_only=True)
class RecoveryOptions:
    """``binary``: the server to run, "" = find one. ``memory_bytes``: 0 = chosen. ``extra``: server options.

    A keyring that is named among the server options counts as named in ``keys``.
    """

    binary: str = ""
    memory_bytes: int = 0
    extra: tuple[str, ...] = ()
    force: bool = False
    keys: KeyOptions = NO_KEYS

    def settled(self) -> RecoveryOptions:
        """With the keyring in its place: the server is never given the user's own file."""
        keyring, extra = named_in(self.extra)
        return replace(self, extra=extra, keys=replace(self.keys, keyring=self.keys.keyring or keyring))


def server_binary(manifest: Manifest, options: RecoveryOptions) -> str:
    """The binary that may recover a backup. Raises what ``find_server_binary`` raises."""
    server = manifest.server
    return find_server_binary(server.family, server.version, options.binary, force=options.force, home=server.home)


def preflight(image: Image, options: RecoveryOptions) -> RecoveryOptions:
    """Find out before anything is copied what recovery could not do without: the server's binary, and its keys.

    Returns the options for recovery, the keys of MySQL looked up. Raises Unsupported, UsageError, KeyMissing.
    """
    options = options.settled()
    server = image.newest.server
    family = choose(server.version, force=True).family
    binary = server_binary(image.newest, options)
    if family == "mysql":
        return replace(options, keys=looked_up(image, options.keys, binary))
    given = (option.lstrip("-").partition("=") for option in options.extra)
    asked = {name.replace("-", "_").removeprefix("loose_"): value for name, _, value in given}
    settings = {**server.variables, **asked}
    check_key_files(
        settings, mariadb_key_ids(image) if settings.get(KEY_FILE) else frozenset(),
        hint="bring it there, or name its place: --server-option NAME=PATH",
    )
    return options


def recover(
    image: Image, placement: Placement, options: RecoveryOptions, emit: Emit,
    before_start: Callable[[], None] | None = None,
) -> Recovered:
    """Write the redo log into the data directory and let the server recover it; stop the server cleanly again.

    ``before_start``: called when the log is in its place; from now on the server changes the files.
    Raises RecoveryFailed, with the server's own words, unless the server says that it recovered all of it.
    """
    manifest, datadir, options = image.newest, placement.datadir, options.settled()
    dialect = choose(manifest.server.version, force=True)
    binary = server_binary(manifest, options)
    emit(Phase("recover", f"crash recovery by {binary}"))
    logs = lay_logs(manifest.redo, window_of(manifest), image.directory, datadir)
    tail = _place_binlog_tail(image, datadir)
    if before_start is not None:
        before_start()
    applied, log = "", os.path.join(datadir, LOG_NAME)
    with (
        lent(image, options.keys, binary, datadir) as server,
        _own_files_only(manifest, placement, server.program) as program,
    ):

        def told(logs: list[LogFile]) -> list[str]:
            own = _server_options(manifest, placement, logs, tail, options)
            return [*own, *home_options(binary), *server.options]

        if dialect.renames_by_name:
            applied, logs = apply_by_id(manifest, window_of(manifest), placement, program, told(logs), log, emit)
        text = _serve(program, datadir, told(logs), log, emit)
    refuse_errors(dialect, manifest, text, emit)
    result = _judge(dialect, manifest, applied + text, binary, emit)
    refuse_losses(manifest, placement)
    tidy(datadir, tail)
    return result


def _server_options(
    manifest: Manifest, placement: Placement, logs: list[LogFile], tail: str, options: RecoveryOptions
) -> list[str]:
    return [
        *choose(manifest.server.version, force=True).recovery_options(
            manifest.server.variables,
            log_bytes=sum(log.size for log in logs),
            log_files=len(logs),
            memory_bytes=memory_for(manifest.redo.size, options.memory_bytes),
            binlog=tail,
            system_files=_system_files(manifest, placement),
            undo_directory=_undo_directory(manifest, placement),
            directories=_directories(manifest, placement),
        ),
        *options.extra,
    ]


def _serve(program: str, datadir: str, options: list[str], log: str, emit: Emit) -> str:
    """Start the server, and shut it down when it has come up. Returns what it said."""
    with RecoveryRun(program, datadir, options, log, emit) as run:
        run.wait_ready()
        run.stop()
        return run.log_text()


def _own_files_only(
    manifest: Manifest, placement: Placement, binary: str
) -> contextlib.AbstractContextManager[str]:
    """The program to run so that recovery opens the restored files, never those at the places that redo and link
    files name: on the source's own host these may be the live tables."""
    if placement.inside:
        return confined(placement.datadir, binary)
    if choose(manifest.server.version, force=True).remote_files_sql:
        return contextlib.nullcontext(binary)  # MySQL 8 finds tablespaces by their ids in the directories it is told
    moved = [s for s in manifest.spaces if s.external and placement.of(s.path, s.external) != s.external]
    return shown([Remote("", placement.of(s.path, s.external), s.external) for s in moved], binary)


def _is_undo(space: Space) -> bool:
    name = os.path.basename(space.path)
    return name.startswith("undo") or name.endswith(".ibu")


def _system_files(manifest: Manifest, placement: Placement) -> tuple[str, ...]:
    """Where the files of the system tablespace lie now, in the order of innodb_data_file_path; () = at home."""
    system = {os.path.basename(s.path): s for s in manifest.spaces if s.space_id == 0}
    if placement.inside or not any(s.external for s in system.values()):
        return ()
    names = [file.name for file in data_files(manifest.server.variables.get("innodb_data_file_path", ""))]
    return tuple(placement.of(system[n].path, system[n].external) for n in names if n in system)


def _undo_directory(manifest: Manifest, placement: Placement) -> str:
    for space in manifest.spaces:
        if space.external and not placement.inside and _is_undo(space) and space.path.startswith("undo"):
            return os.path.dirname(placement.of(space.path, space.external))
    return ""


def _directories(manifest: Manifest, placement: Placement) -> tuple[str, ...]:
    """Directories outside the data directory that hold tablespaces now."""
    if placement.inside:
        return ()
    found = {os.path.dirname(placement.of(s.path, s.external)) for s in manifest.spaces if s.external}
    return tuple(sorted(found))


def _place_binlog_tail(image: Image, datadir: str) -> str:
    """Put MySQL's binlog tail where recovery finds it. Returns its base name for --log-bin, "" without one."""
    manifest = image.newest
    if not manifest.binlog_tail:
        return ""
    name = os.path.basename(manifest.position.binlog_file)
    stored = os.path.join(image.directory, BINLOG_TAIL_NAME)
    check_stored(stored, manifest.binlog_tail_sums)
    shutil.copyfile(stored, os.path.join(datadir, name))
    base = name.rpartition(".")[0]
    with open(os.path.join(datadir, base + ".index"), "w", encoding="utf-8") as f:
        f.write(f"./{name}\n")
    return base


def tidy(datadir: str, tail: str = "") -> None:
    """Take away what only recovery needed: the binlog ``tail`` and what the run wrote after it, spare redo files."""
    drop_spare_logs(datadir)
    if tail:
        for entry in os.listdir(datadir):
            if entry == tail + ".index" or (entry.startswith(tail + ".") and entry.rpartition(".")[2].isdigit()):
                os.unlink(os.path.join(datadir, entry))
    for name in (LOG_NAME, "auto.cnf"):
        path = os.path.join(datadir, name)
        if os.path.exists(path):
            os.unlink(path)


def refuse_errors(dialect: Dialect, manifest: Manifest, text: str, emit: Emit) -> None:
    """Raises RecoveryFailed when a recovering server reported errors; a partial backup may miss tables, and what the
    source had lost is only told."""
    errors = [e for e in dialect.log_errors(text) if not (manifest.partial and is_about_missing_table(e))]
    backed_up = {s.space_id for s in manifest.spaces} if errors else set()
    for table in filter(None, (missing_before(e, backed_up) for e in errors)):
        emit(Warn("table-missing", f"table {table}: the source had lost its tablespace when the backup was taken"))
    errors = [e for e in errors if not missing_before(e, backed_up)]
    if errors:
        raise RecoveryFailed("the server reported errors while it recovered:\n  " + "\n  ".join(errors[:10]))


def _judge(dialect: Dialect, manifest: Manifest, text: str, binary: str, emit: Emit) -> Recovered:
    """Success is what the server's log says: a scan that reached the window's end."""
    reached = dialect.recovered_lsn(text)
    if reached is not None and reached < manifest.redo.end:
        raise RecoveryFailed(
            f"recovery ended at LSN {reached}, before the backup's end at {manifest.redo.end}: the redo window is cut"
        )
    file, position = dialect.recovered_binlog(text)
    if file and dialect.binlog_in_innodb:
        _compare_positions(file, position, manifest.position, emit)
    return Recovered(binary, reached, file, position)


def _compare_positions(file: str, position: int, recorded: Position, emit: Emit) -> None:
    """InnoDB remembers the position of its own last commit: it may be before the recorded one (DDL, other engines
    came after), never beyond it."""
    emit(Note(f"the server recovered binlog position {file} {position}", detail=True))
    remembered = (os.path.basename(file), position)
    if recorded.binlog_file and remembered > (os.path.basename(recorded.binlog_file), recorded.binlog_position):
        emit(Warn(
            "binlog-position",
            f"the server recovered {file} {position}, which is beyond what the backup recorded: "
            f"{recorded.binlog_file} {recorded.binlog_position}",
        ))
