"""``--copy-back`` and ``--move-back``: a prepared backup's files go to where a server looks for them.

No file is ever overwritten. What is copied is compared with the sums that our manifest has of it. A copy that fails
takes back what it copied, as does a move to another file system; any other move leaves every file in one of the two
places, and the same call goes on where it stopped.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from goldcopy.compat.binlog_home import binlog_home
from goldcopy.compat.ddlmarks import DEL, NEW, REN, marks
from goldcopy.compat.increments import PACKED, ROCKSDB, entries
from goldcopy.compat.infofiles import CONFIG_NAME, TABLESPACES_NAME, Checkpoints, parse_tablespaces
from goldcopy.compat.peerdir import find_file, parse_settings, read_text
from goldcopy.compat.prepare import PENDING_NAME
from goldcopy.compat.verify import BEGUN_NAME, first_change, sums_of
from goldcopy.errors import BackupInvalid, TargetRefused, UsageError, write_failure
from goldcopy.events import Emit, Note, Warn
from goldcopy.formats.chunksum import RunningSum
from goldcopy.formats.datafiles import data_files
from goldcopy.image import osfile
from goldcopy.restore.durable import copy_data, second_name
from goldcopy.restore.new_key import NewMasterKey, Places
from goldcopy.restore.pooled import each
from goldcopy.restore.unfinished import Mark, was_cut_off
from goldcopy.restore.unfinished import refuse as refuse_unfinished

_NOT_COPIED = (CONFIG_NAME, "xtrabackup_binary", "xtrabackup_logfile", TABLESPACES_NAME, "xtrabackup_keys")
_NOT_COPIED_ENDS = ("_checkpoints", "_binlog_info")
_NEVER = (*PACKED, ".pmap", ".tmp", ".delta", ".meta", ".goldcopy-tmp")
_OURS = ("goldcopy.", "goldcopy-")
_MYSQL_REDO = "#innodb_redo"


@dataclass(frozen=True, kw_only=True)
class CopyBackRequest:
    """Where things go. Relative places are relative to ``datadir``; "" = the data directory itself.

    ``data_file_path``: innodb_data_file_path of the server; its files may be absolute. ``parallel``: files at a time.
    ``force_non_empty``: --force-non-empty-directories. ``go_on``: only warn of a file that was changed.
    ``log_bin``, ``log_bin_index``: of the server, for MySQL.
    """

    target_dir: str
    datadir: str
    move: bool = False
    force_non_empty: bool = False
    go_on: bool = False
    parallel: int = 1
    data_home_dir: str = ""
    data_file_path: str = ""
    undo_dir: str = ""
    log_dir: str = ""
    aria_log_dir: str = ""
    rocksdb_dir: str = ""
    log_bin: str = ""
    log_bin_index: str = ""


@dataclass(frozen=True)
class Errand:
    """One file: from where to where, both absolute. ``text``: what the target becomes instead of a copy."""

    source: str
    target: str
    text: str = ""


def copy_back(request: CopyBackRequest, emit: Emit, new_key: NewMasterKey | None = None) -> int:
    """Bring the files home. Returns how many. ``new_key``: a master key to make for the restored server.

    Raises UsageError without a data directory, BackupInvalid for a backup that cannot be restored as it is,
    TargetRefused when a place is taken, NoSpace.
    """
    if not request.datadir:
        raise UsageError("Error: datadir must be specified.", hint="--datadir=DIR, or in the option file's [mysqld]")
    home = os.path.abspath(request.target_dir)
    _refuse_unprepared(home, emit)
    plan = _plan(home, request)
    resumed = _claim(request)
    _refuse_taken(plan, request.move, resumed)
    with _Carrier(home, request, emit) as carrier:
        for directory in _directories(home, plan, request):
            carrier.make_dir(directory)
        first, rest, links = _in_order(home, plan)
        for errand in first:
            carrier.carry(errand)
        for _done in each(carrier.carry, rest, max(1, request.parallel)):
            pass
        for errand in links:
            carrier.carry(errand)
        if new_key is not None:
            new_key.rotate(_places(home, request), emit)
        carrier.settle()
    return len(plan)


def _places(home: str, request: CopyBackRequest) -> Places:
    remote = {os.path.dirname(path) for path in (*_by_link(home).values(), *_by_map(home, request).values())}
    return Places(
        datadir=os.path.abspath(request.datadir),
        system_files=tuple(_system_files(home, request).values()),
        undo_directory=_under(request.datadir, request.undo_dir, "") if request.undo_dir else "",
        log_directory=_under(request.datadir, request.log_dir, "") if request.log_dir else "",
        directories=tuple(sorted(remote)),
    )


# -- may it be done? ---------------------------------------------------------------------------------------------


def _refuse_unprepared(home: str, emit: Emit) -> None:
    name = find_file(home, "checkpoints")
    if not name:
        raise BackupInvalid(f"Error: failed to read metadata from '{home}/xtrabackup_checkpoints'")
    kind = _kind(home)
    if kind == "incremental":
        raise BackupInvalid(f"{home} is an increment", hint="prepare it onto its full backup, and copy that back")
    if os.path.exists(os.path.join(home, PENDING_NAME)):
        raise BackupInvalid(f"{home} is half way to an increment", hint="run --prepare with the increment again")
    if os.path.exists(os.path.join(home, BEGUN_NAME)):
        raise BackupInvalid(f"{home} is half prepared: a --prepare failed or was cut off", hint="run it again")
    if kind == "full-prepared":
        return
    ours_or_mysql = os.path.exists(os.path.join(home, "xtrabackup_logfile"))
    if ours_or_mysql or any(True for suffix in (DEL, REN, NEW) for _ in marks(home, suffix)):
        raise BackupInvalid(
            "The target is not fully prepared. Please prepare it without option --apply-log-only",
            hint=f"--prepare --target-dir={home}",
        )
    if kind != "log-applied":
        emit(Warn("unprepared", f"{home} is not prepared: the server will have to recover it at its first start"))


def _kind(home: str) -> str:
    return Checkpoints.parse(read_text(os.path.join(home, find_file(home, "checkpoints")))).backup_type


def _claim(request: CopyBackRequest) -> bool:
    """The data directory, there and empty unless the user knows better.

    Returns whether a --move-back of the same backup was cut off there.
    """
    datadir = request.datadir
    try:
        os.makedirs(datadir, mode=0o750, exist_ok=True)
        found = os.listdir(datadir)
    except OSError as e:
        raise TargetRefused(f"Can not create data directory {datadir}: {e.strerror}") from e
    if found and not request.force_non_empty:
        refuse_unfinished(
            datadir, found,
            hint="after a --move-back, --force-non-empty-directories goes on where it stopped; after a --copy-back,"
            " remove what lies there and begin again",
        )
        raise TargetRefused(
            f"Original data directory {datadir} is not empty!",
            hint="copy back into an empty directory; --force-non-empty-directories lets other files lie there",
        )
    home = os.path.abspath(request.target_dir)
    return request.move and was_cut_off(datadir, _words(home, move=True))


def _words(home: str, *, move: bool) -> str:
    return f"--{'move' if move else 'copy'}-back of {home}"


def _refuse_taken(plan: list[Errand], move: bool, resumed: bool) -> None:
    """Nothing is begun when a place is taken, and no two files may want the same one.

    ``resumed``: whatever lies in a place is a copy that was cut off, for all places were free when that began; its
    source is still there, and it is made again.
    """
    seen: set[str] = set()
    for errand in plan:
        taken = os.path.lexists(errand.target) and not (move and _same(errand))
        if errand.target in seen or (taken and not resumed):
            raise TargetRefused(f"Can't create file '{errand.target}' (errno: 17 \"File exists\")")
        if taken:
            os.unlink(errand.target)
        seen.add(errand.target)


def _same(errand: Errand) -> bool:
    """Left by a move that was interrupted between its two steps."""
    return os.path.exists(errand.source) and os.path.samefile(errand.source, errand.target)


# -- what goes where ---------------------------------------------------------------------------------------------


def _plan(home: str, request: CopyBackRequest) -> list[Errand]:
    remote = {**_by_link(home), **_by_map(home, request)}
    system = _system_files(home, request)
    binlog = binlog_home(home, request.datadir, request.log_bin, request.log_bin_index)
    plan = []
    packed = set()
    for path in entries(home):
        plain = _unpacked(path)
        if plain != path:
            packed.add(plain)
        elif binlog and path == binlog.index_name:
            plan.append(Errand(os.path.join(home, path), binlog.index, binlog.entry + "\n"))
        elif binlog and path == binlog.name:
            plan.append(Errand(os.path.join(home, path), binlog.path))
        elif _goes(path):
            plan.append(Errand(os.path.join(home, path), remote.get(path) or _place(path, system, request)))
    missing = packed - {os.path.relpath(errand.source, home) for errand in plan}
    forgotten = [path for path in missing if _goes(path)]
    # a prepared backup was unpacked before: what has no original's name any more, prepare has renamed or used up
    if forgotten and _kind(home) != "full-prepared":
        raise BackupInvalid(
            f"{home}/{min(forgotten)} is there in compressed or encrypted form only",
            hint=f"--decompress --target-dir={home} first, then --prepare",
        )
    return plan + list(_rocksdb(home, request))


def _unpacked(path: str) -> str:
    while path.endswith(PACKED):
        path = path.rpartition(".")[0]
    return path


def _goes(path: str) -> bool:
    name = os.path.basename(path)
    if "/" in path:
        return not name.endswith(_NEVER)
    return not (name.startswith(_OURS) or name in _NOT_COPIED or name.endswith((*_NOT_COPIED_ENDS, *_NEVER)))


def _place(path: str, system: dict[str, str], request: CopyBackRequest) -> str:
    name = os.path.basename(path)
    if path in system:
        return system[path]
    directory = ""
    if "/" not in path:
        if name.startswith("aria_log"):
            directory = request.aria_log_dir
        elif name.startswith("ib_logfile"):
            directory = request.log_dir
        elif name.startswith("undo") or name.endswith(".ibu"):
            directory = request.undo_dir
    elif path.startswith(_MYSQL_REDO + "/"):
        directory = request.log_dir
    return _under(request.datadir, directory, path)


def _under(datadir: str, directory: str, path: str) -> str:
    return os.path.normpath(os.path.join(os.path.abspath(datadir), directory, path))


def _system_files(home: str, request: CopyBackRequest) -> dict[str, str]:
    """The files of the system tablespace by their name in the backup -> where the server has them."""
    spec = request.data_file_path
    if not spec:
        settings = dict(parse_settings(read_text(os.path.join(home, CONFIG_NAME))))
        spec = settings.get("innodb_data_file_path", "")
    return {file.name: _under(request.datadir, request.data_home_dir, file.path) for file in data_files(spec)}


def _by_link(home: str) -> dict[str, str]:
    """Tablespaces that a link file sends elsewhere."""
    found = {}
    for path in entries(home):
        if path.endswith(".isl"):
            outside = read_text(os.path.join(home, path)).strip()
            if os.path.isabs(outside):
                found[path.removesuffix(".isl") + ".ibd"] = outside
    return found


def _by_map(home: str, request: CopyBackRequest) -> dict[str, str]:
    """Tablespaces that MySQL 8.0+ keeps elsewhere, from the map that the backup has of them.

    What lay in the source's directory of undo tablespaces goes into the target's.
    """
    text = read_text(os.path.join(home, TABLESPACES_NAME))
    settings = dict(parse_settings(read_text(os.path.join(home, CONFIG_NAME))))
    undo_then = os.path.normpath(settings.get("innodb_undo_directory", ""))
    found = {}
    for space in parse_tablespaces(text) if text else ():
        place = space.file_name
        if space.undo and os.path.dirname(place) == undo_then:
            place = _under(request.datadir, request.undo_dir, os.path.basename(place))
        found[space.tablespace_name + (".ibu" if space.undo else ".ibd")] = place
    return found


def _rocksdb(home: str, request: CopyBackRequest) -> Iterator[Errand]:
    source = os.path.join(home, ROCKSDB)
    target = _under(request.datadir, request.rocksdb_dir or ROCKSDB, "")
    for root, _dirs, files in os.walk(source):
        for name in sorted(files):
            path = os.path.join(root, name)
            yield Errand(path, os.path.join(target, os.path.relpath(path, source)))


def _in_order(home: str, plan: list[Errand]) -> tuple[list[Errand], list[Errand], list[Errand]]:
    """The originals' order: logs and undo, then the system tablespace, then all the rest.

    Links that say where a tablespace goes come last of all: a move that was cut off must find them when it goes on.
    """

    def rank(errand: Errand) -> int:
        name = os.path.relpath(errand.source, home)
        starts = (("aria_log",), ("undo",), ("ib_logfile",), ("ibdata",))
        return next((i for i, s in enumerate(starts) if name.startswith(s)), len(starts))

    links = [e for e in plan if e.source.endswith(".isl")]
    ordered = sorted((e for e in plan if not e.source.endswith(".isl")), key=rank)
    first = [e for e in ordered if rank(e) < 4]
    return first, ordered[len(first) :], links


def _directories(home: str, plan: list[Errand], request: CopyBackRequest) -> list[str]:
    """Every directory that will be needed, empty databases among them, parents first."""
    found = {os.path.dirname(errand.target) for errand in plan}
    for entry in os.scandir(home):
        if entry.is_dir(follow_symlinks=False) and entry.name != ROCKSDB:
            found.add(_under(request.datadir, "", entry.name))
    return sorted(found)


# -- carrying ----------------------------------------------------------------------------------------------------


def _sums_of(home: str, request: CopyBackRequest, emit: Emit) -> Callable[[str], str | None]:
    try:
        return sums_of(home)
    except BackupInvalid as e:
        if not request.go_on:
            raise
        emit(Warn("damage", e.message))
        return lambda _path: None


class _Carrier(contextlib.AbstractContextManager["_Carrier"]):
    """Carries files; unless ``settle`` was reached, copies (never renamed files) are taken back at the end.

    The data directory is marked while it is not whole.
    """

    def __init__(self, home: str, request: CopyBackRequest, emit: Emit) -> None:
        self._home, self._datadir, self._move, self._emit = home, request.datadir, request.move, emit
        self._go_on, self._sums_of = request.go_on, _sums_of(home, request, emit)
        self._files: list[str] = []
        self._dirs: list[str] = []
        self._used_up: list[str] = []
        self._renamed = False
        self._settled = False

    def __enter__(self) -> _Carrier:
        self._mark = Mark(self._datadir, _words(self._home, move=self._move))
        return self

    def make_dir(self, path: str) -> None:
        missing = []
        while not os.path.isdir(path):
            missing.append(path)
            path = os.path.dirname(path)
        for directory in reversed(missing):
            # known before it is there: a signal may come at any time
            self._dirs.append(directory)
            os.mkdir(directory, 0o750)

    def carry(self, errand: Errand) -> None:
        self._emit(Note(f"{'Moving' if self._move else 'Copying'} {errand.source} to {errand.target}"))
        try:
            if errand.text:
                self._write(errand)
            elif not (self._move and self._rename(errand)):
                self._copy(errand)
        except FileExistsError:
            raise TargetRefused(f"Can't create file '{errand.target}' (errno: 17 \"File exists\")") from None
        except OSError as e:
            raise write_failure(e, errand.target) from e

    def _rename(self, errand: Errand) -> bool:
        """False across file systems."""
        if not second_name(errand.source, errand.target):
            return False
        self._renamed = True
        os.unlink(errand.source)
        return True

    def _copy(self, errand: Errand) -> None:
        source = os.open(errand.source, os.O_RDONLY | os.O_CLOEXEC)
        try:
            target = self._create(errand.target)
            try:
                sums = RunningSum()
                copy_data(source, target, sums)
                self._compare(errand.source, sums.text())
                if self._move:
                    os.fsync(target)
                    self._used_up.append(errand.source)
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _create(self, path: str) -> int:
        self._files.append(path)
        try:
            return os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        except OSError:
            # what may lie there is not ours
            self._files.remove(path)
            raise

    def _compare(self, source: str, sums: str) -> None:
        want = self._sums_of(os.path.relpath(source, self._home))
        if want is None or want == sums:
            return
        text = f"{source} is not what it was when it was prepared: changed from offset {first_change(want, sums)} on"
        if not self._go_on:
            raise BackupInvalid(
                text,
                hint="use another copy of this backup, and look at the disk it lies on; where a server was run on the"
                " directory, or the damage is to be restored, --innodb-force-recovery=1 goes on",
            )
        self._emit(Warn("damage", text))

    def _write(self, errand: Errand) -> None:
        with open(self._create(errand.target), "w", encoding="utf-8", errors="surrogateescape") as out:
            out.write(errand.text)
        if self._move:
            self._used_up.append(errand.source)

    def settle(self) -> None:
        """All is there: make it durable, then let go of what was moved across file systems."""
        osfile.sync_filesystems((self._datadir, *self._dirs, *map(os.path.dirname, self._files)))
        self._settled = True
        for path in self._used_up:
            os.unlink(path)
        self._mark.remove()

    def __exit__(self, *exc: object) -> None:
        if self._settled:
            return
        for path in self._files:
            with contextlib.suppress(OSError):
                os.unlink(path)
        if not self._renamed:
            for directory in reversed(self._dirs):
                with contextlib.suppress(OSError):
                    os.rmdir(directory)
            with contextlib.suppress(OSError):
                self._mark.remove()
