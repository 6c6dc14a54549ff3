"""The directory that a restore writes: empty before, whole after, and as it was found if anything fails."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from goldcopy.dialect import choose
from goldcopy.errors import TargetRefused, UsageError, write_failure
from goldcopy.events import Emit, Warn
from goldcopy.image import osfile
from goldcopy.image.chain import Image
from goldcopy.image.manifest import MANIFEST_NAME, Manifest, Plain, Space, dump
from goldcopy.restore.durable import write_file
from goldcopy.restore.exchange import take_place
from goldcopy.restore.materialise import Materialiser, Placement
from goldcopy.restore.moving import Moving
from goldcopy.restore.outfile import make_dirs, remove_empty
from goldcopy.restore.recovery import Recovered, RecoveryOptions, recover, window_of
from goldcopy.restore.redo_files import lay_logs
from goldcopy.restore.redo_home import bring_logs_home, place_of, redo_home, refuse_taken
from goldcopy.restore.sums import prepared_manifest
from goldcopy.restore.unfinished import MARK_NAME, Mark, was_cut_off
from goldcopy.restore.unfinished import refuse as refuse_unfinished

# Their presence means that another server's data lies here, whatever the user says about non-empty directories.
_FOREIGN = ("ibdata1", "ib_logfile0", "#innodb_redo", "mysql.ibd")


@contextlib.contextmanager
def _writing(directory: str) -> Iterator[None]:
    """What the system refuses while the target is written, as an error that says what to do."""
    try:
        yield
    except OSError as e:
        where = os.fsdecode(e.filename) if e.filename else directory
        raise write_failure(
            e, where, full_hint="free space there (or raise its quota), or restore into another place",
            hint="may this account write there, and read all of the backup?",
        ) from e


@dataclass(frozen=True)
class Ids:
    """Numeric owner of restored files."""

    uid: int
    gid: int


class Target(contextlib.AbstractContextManager["Target"]):
    """A data directory in the making, marked as such. Unless ``keep`` was called, leaving the block removes what was
    written, and gives back what was moved. ``move``: files will be moved in, and a move that was cut off goes on.

    All its steps raise NoSpace when a file system is full, TargetRefused when a file cannot be written.
    """

    def __init__(
        self, image: Image, placement: Placement, emit: Emit, *, force_non_empty: bool = False, move: bool = False
    ) -> None:
        self._image, self._placement, self._emit, self._force = image, placement, emit, force_non_empty
        self._move = move
        self._moving: Moving | None = None
        self._dir = placement.datadir
        self._kept = False
        self._instead_of = ""
        self._recovered: Recovered | None = None
        self._written: list[str] = []

    def __enter__(self) -> Target:
        self._existed = os.path.isdir(self._dir)
        what = f"a restore{' by --move' if self._move else ''} of {self._image.directory}"
        self._resumed = self._move and self._existed and was_cut_off(self._dir, what)
        if self._existed and not self._resumed:
            self._refuse_foreign()
        with _writing(self._dir):
            if not self._resumed:
                refuse_taken(self._image.newest, self._placement)
            self._made_outside = self._missing_outside()
            self._before = set(os.listdir(self._dir)) if self._existed else set()
            os.makedirs(self._dir, mode=0o750, exist_ok=True)
            try:
                self._mark = Mark(self._dir, what)
            except OSError:
                if not self._existed:
                    os.rmdir(self._dir)
                raise
        return self

    def _refuse_foreign(self) -> None:
        entries = os.listdir(self._dir)
        refuse_unfinished(
            self._dir, entries,
            hint="after a restore by --move, give the same command again: it goes on; else remove what lies there (and"
            " what was restored elsewhere: remote tablespaces), and restore again",
        )
        if entries and not self._force:
            raise TargetRefused(
                f"{self._dir} is not empty ({len(entries)} entries, among them {sorted(entries)[0]})",
                hint="restore into an empty directory, or say --force-non-empty when you know what lies there",
            )
        for name in _FOREIGN:
            if name in entries:
                raise TargetRefused(f"{self._dir} holds a server's data ({name}): nothing is restored over it")
        there = set(self._tree(entries))
        clash = sorted(s.path for s in self._image.newest.spaces if s.path in there)
        if clash:
            raise TargetRefused(f"{self._dir}/{clash[0]} is there already; existing files are never overwritten")

    def _missing_outside(self) -> list[str]:
        """Directories that will be made for what goes elsewhere, parents first."""
        newest, placement = self._image.newest, self._placement
        needed = {redo_home(newest, placement)}
        needed.update(os.path.dirname(placement.of(f.path, f.external)) for f in newest.spaces if f.external)
        needed.update(os.path.dirname(placement.of(f.path, f.external)) for f in newest.plain if f.external)
        found = set()
        for directory in needed:
            while not (os.path.isdir(directory) or f"{directory}/".startswith(self._dir + "/")):
                found.add(directory)
                directory = os.path.dirname(directory)
        return sorted(found)

    def _tree(self, entries: list[str]) -> list[str]:
        found = []
        for entry in entries:
            path = os.path.join(self._dir, entry)
            found.append(entry)
            if os.path.isdir(path):
                found += [f"{entry}/{name}" for name in os.listdir(path)]
        return found

    def __exit__(self, *exc: object) -> None:
        if self._kept:
            if self._moving is not None:
                self._moving.settle()
            if self._instead_of:
                take_place(self._instead_of)
            self._mark.remove()
            return
        if (self._moving is not None or self._resumed) and not self._put_back():
            return
        self._clear()

    def _put_back(self) -> bool:
        """Give the backup the files back that were moved. False when some stay, and the mark with them."""
        if self._moving is None:
            return False
        try:
            self._moving.put_back()
            if self._resumed:
                # the directories are of the attempt that was cut off
                remove_empty(self._dir)
        except OSError as e:
            self._emit(Warn(
                "move", f"the files that were moved to {self._dir} could not be moved back ({e}); the same command,"
                " given again, goes on",
            ))
            return False
        return True

    def _clear(self) -> None:
        for path in self._written:
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)
        for entry in set(os.listdir(self._dir)) - self._before - {MARK_NAME}:
            path = os.path.join(self._dir, entry)
            shutil.rmtree(path) if os.path.isdir(path) and not os.path.islink(path) else os.unlink(path)
        for directory in reversed(self._made_outside):
            with contextlib.suppress(OSError):
                os.rmdir(directory)
        with contextlib.suppress(OSError):
            # the disk may be what failed, and another error is on its way
            self._mark.remove()
        if not self._existed:
            os.rmdir(self._dir)

    def fill(self, *, threads: int) -> None:
        """Lay the image down; durable when it returns."""
        with _writing(self._dir):
            Materialiser(self._image, self._placement, self._emit, threads=threads, created=self._created).run()
        for directory in {self._dir, *(os.path.dirname(path) for path in self._written)}:
            if not directory.startswith(self._dir + "/"):
                with _writing(directory):
                    osfile.sync_filesystem(directory)

    def _created(self, path: str) -> None:
        """Remember a file that is not in a new entry of the directory: those go as a whole."""
        inside = os.path.relpath(path, self._dir) if path.startswith(self._dir + "/") else ""
        if not inside or inside.partition("/")[0] in self._before:
            self._written.append(path)

    def move_in(self) -> None:
        """Move the files of a prepared full backup in; the backup directory is used up.

        Raises UsageError when the backup is not prepared: a failed recovery could not give the files back.
        """
        manifest = self._image.newest
        if manifest.state != "prepared":
            raise UsageError("--move needs a prepared backup", hint=f"goldcopy prepare {self._image.directory}")
        files: Iterable[Space | Plain] = (*manifest.spaces, *(p for p in manifest.plain if p.stored != "dir"))
        pairs = [
            (os.path.join(self._image.directory, f.path), place_of(f.path, f.external, manifest, self._placement))
            for f in files
        ]
        with _writing(self._dir):
            self._moving = Moving(pairs, resumed=self._resumed)
            for plain in manifest.plain:
                if plain.stored == "dir":
                    make_dirs(self._placement.of(plain.path, plain.external))
            self._moving.run()
        self._written += [place for _, place in pairs if not place.startswith(self._dir + "/")]

    def recover(self, options: RecoveryOptions) -> None:
        """Let the server recover what was laid down."""
        with _writing(self._dir):
            self._recovered = recover(self._image, self._placement, options, self._emit)

    def write_logs(self) -> None:
        """Only write the redo log: what is left is a crashed server, for whoever wants to start it himself."""
        newest = self._image.newest
        if choose(newest.server.version, force=True).renames_by_name:
            self._emit(Warn(
                "renames-by-name",
                f"MySQL {newest.server.version} replays renames of the redo by name: a table that had a name twice"
                " may be lost when it recovers by itself; without --no-recover it is not",
            ))
        with _writing(self._dir):
            lay_logs(newest.redo, window_of(newest), self._image.directory, self._dir)

    def bring_logs_home(self) -> None:
        """Put the redo log into the directory of its own that the source's configuration names, if it names one."""
        with _writing(self._dir):
            bring_logs_home(self._image.newest, self._placement, self._written.append)

    def write_prepared_manifest(self) -> Manifest:
        """The manifest of a directory that is a clean data directory now, its checksums made anew."""
        prepared = prepared_manifest(self._image.newest, self._dir)
        path = os.path.join(self._dir, MANIFEST_NAME)
        with _writing(path):
            write_file(path, dump(prepared))
        return prepared

    def give_to(self, ids: Ids | None) -> None:
        """Set the owner of everything that was restored (only root can give files away). None: leave it."""
        if ids is None:
            return
        for path in filter(os.path.isdir, self._made_outside):
            os.chown(path, ids.uid, ids.gid)
        for path in (self._dir, *self._written):
            if os.path.exists(path):
                os.chown(path, ids.uid, ids.gid)
            for root, dirs, files in os.walk(path):
                for name in [*dirs, *files]:
                    os.chown(os.path.join(root, name), ids.uid, ids.gid, follow_symlinks=False)

    def keep(self, *, instead_of: str = "") -> None:
        """The restore succeeded: what was written stays.

        ``instead_of``: the directory whose working copy it is; it takes its place when the block is left, where no
        signal interrupts it.
        """
        osfile.sync_directory(self._dir)
        self._instead_of = instead_of
        self._kept = True

    def facts(self) -> tuple[tuple[str, str], ...]:
        """What a person wants to know of the result."""
        manifest = self._image.newest
        position = manifest.position
        facts = [
            ("server", f"{manifest.server.family} {manifest.server.version}"),
            ("consistent at", f"{manifest.finished}, LSN {manifest.redo.end}"),
            ("binlog", f"{position.binlog_file} {position.binlog_position}" if position.binlog_file else "none"),
            ("gtid", position.gtid or "none"),
        ]
        if self._recovered is not None:
            facts.append(("recovered by", self._recovered.binary))
        return tuple(facts)


def owner_ids(owner: str) -> Ids | None:
    """Numeric owner for ``USER[:GROUP]``; "" = mysql when we are root and it exists. None: leave as it is.

    Raises UsageError when there is none of that name.
    """
    import grp
    import pwd

    if not owner and os.geteuid() != 0:
        return None
    user, _, group = (owner or "mysql").partition(":")
    try:
        entry = pwd.getpwnam(user)
        return Ids(entry.pw_uid, grp.getgrnam(group).gr_gid if group else entry.pw_gid)
    except KeyError:
        if not owner:
            return None
        raise UsageError(f"--owner {owner}: no such user or group on this machine") from None
