"""Lay an increment over a full backup, in place: tablespaces are matched by id, pages written at their numbers.

Every step may be interrupted and done again: files are found by the id in their first page wherever an earlier
attempt left them, pages are written at fixed offsets, other files are replaced in one step, and removal comes last.
Memory is one buffer per thread, and ``formats.packed`` rows for what is told of each file.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Container, Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from goldcopy import signals
from goldcopy.errors import DISK_FULL, BackupInvalid, write_failure
from goldcopy.events import Emit, Note, Progress, Warn
from goldcopy.formats.delta import clusters
from goldcopy.formats.innodb.first_page import INITIAL_PAGES, first_page
from goldcopy.formats.innodb.page import SYSTEM_SPACE, page_space_id, space_pages
from goldcopy.formats.packed import Lookup, Packed, Table
from goldcopy.image import osfile
from goldcopy.image.holes import punch_tails
from goldcopy.restore.durable import replace_copy, working_name
from goldcopy.restore.pooled import each

_NO_ID = 0
_HEAD_BYTES = 64
_PARKED = "goldcopy_parked_"
_RUN_BYTES = 1 << 20


class Piece(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One tablespace of an increment. ``path``: its name from now on, relative. ``source``: the file with its pages.

    ``page_size``: bytes of a page of a delta; 0 = ``source`` is a whole tablespace. ``space_id``: 0 = unknown, or
    the system tablespace: matched by name. ``zip_size``: ``page_size`` of ROW_FORMAT=COMPRESSED, else 0. ``flags``:
    MySQL's, None = not told.
    """

    path: str
    source: str
    page_size: int = 0
    space_id: int = _NO_ID
    zip_size: int = 0
    flags: int | None = None


@dataclass(frozen=True)
class Increment:
    """What is laid over. ``files``: (relative path, absolute source) of everything that is no tablespace.

    ``directories``: all database directories of the increment, empty ones too. ``kept``: files of the base that the
    increment knows to be unchanged. ``partial``: what the increment does not hold stays as it is.
    ``logical_page_size``: innodb_page_size of the source. ``system_files``: of the system tablespace, in their order.
    """

    pieces: Sequence[Piece]
    files: Sequence[tuple[str, str]]
    directories: frozenset[str]
    kept: Container[str] = ()
    partial: bool = False
    logical_page_size: int = 16384
    system_files: tuple[str, ...] = ()


class _Place(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A tablespace file of the base. ``space_id``: 0 where the first page was never written."""

    path: str
    space_id: int


class Overlay:
    """Lays one increment over the backup in ``base``.

    Raises BackupInvalid when a delta is damaged or its tablespace cannot be found, NoSpace. What was begun is
    finished by running it again with the same increment; until then the base is neither the old nor the new state.
    """

    def __init__(self, base: str, increment: Increment, emit: Emit, *, threads: int = 1) -> None:
        self._base, self._increment, self._emit, self._threads = base, increment, emit, threads

    def run(self) -> None:
        """Do it; durable when it returns."""
        try:
            self._tablespaces()
            self._plain_files()
        except OSError as e:
            if e.errno in DISK_FULL:
                hint = "make room there and run it again: it goes on where it stopped"
                raise write_failure(e, self._base, full_hint=hint) from e
            raise
        osfile.sync_filesystem(self._base)

    def _path(self, relative: str) -> str:
        return os.path.join(self._base, relative)

    # -- tablespaces ------------------------------------------------------------------------------------------

    def _tablespaces(self) -> None:
        places = self._places()
        pieces = Packed(Piece, (self._identified(piece, places) for piece in self._increment.pieces))
        self._move(pieces, places)
        for piece in pieces:
            os.makedirs(os.path.dirname(self._path(piece.path)), mode=0o750, exist_ok=True)
        for done, (piece, size) in enumerate(each(self._apply, pieces, self._threads), 1):
            self._emit(Note(f"{piece.path}: {size} bytes", detail=True))
            self._emit(Progress("overlay", done, len(pieces), "files"))
        self._extend_system()

    def _extend_system(self) -> None:
        """Its header counts the pages of all its files, and only the last one grows."""
        paths = [self._path(name) for name in self._increment.system_files]
        if not paths or not all(map(os.path.exists, paths)):
            return
        with open(paths[0], "rb") as f:
            head = f.read(_HEAD_BYTES)
        pages = space_pages(head) if len(head) == _HEAD_BYTES else 0
        last = pages * self._increment.logical_page_size - sum(map(os.path.getsize, paths[:-1]))
        if last > os.path.getsize(paths[-1]):
            os.truncate(paths[-1], last)

    def _places(self) -> Table[str, _Place]:
        """Tablespace files of the base by name."""
        places = Table(_Place, lambda place: place.path)
        for path in _ibd_files(self._base):
            places.put(_Place(path, space_id_of(self._path(path))))
        return places

    def _identified(self, piece: Piece, places: Table[str, _Place]) -> Piece:
        """XtraBackup before 2.0.2 told no ids: such a delta can only be of the file that has its name."""
        if piece.space_id or not piece.page_size or not piece.path.endswith(".ibd"):
            return piece
        place = places.get(piece.path)
        if place is None:
            raise BackupInvalid(
                f"{piece.source} does not tell its tablespace's id, and {self._base} has no {piece.path}",
                hint="Cannot handle DDL operation: the table was made or renamed after the base; take a new full"
                " backup",
            )
        self._emit(
            Warn(
                "no-space-id",
                f"{piece.source} tells no tablespace id and is laid over the file of its name: This backup was taken"
                " with XtraBackup 2.0.1 or earlier, some DDL operations between full and incremental backups may be"
                " handled incorrectly",
            )
        )
        return msgspec.structs.replace(piece, space_id=place.space_id)

    def _move(self, pieces: Sequence[Piece], places: Table[str, _Place]) -> None:
        """Give every file its new name, by way of a parked one; remove what the increment does not know."""
        wanted = Lookup(pieces, lambda piece: (piece.space_id, piece.path.endswith(".ibd")))
        named = Lookup(pieces, lambda piece: piece.path)
        parked: dict[str, str] = {}
        for place in places:
            piece = wanted.get((place.space_id, True)) if place.space_id else named.get(place.path)
            if piece is None:
                self._drop(place.path, place.path in named)
            elif piece.path != place.path:
                aside = os.path.join(os.path.dirname(place.path), f"{_PARKED}{place.space_id}.ibd")
                parked[piece.path] = aside
                os.rename(self._path(place.path), self._path(aside))
        for target, aside in parked.items():
            os.makedirs(os.path.dirname(self._path(target)), mode=0o750, exist_ok=True)
            self._emit(Note(f"Renaming {aside} to {target}", detail=True))
            os.rename(self._path(aside), self._path(target))

    def _drop(self, path: str, name_taken: bool) -> None:
        """A tablespace that the increment does not hold was dropped, unless it is just not part of a partial one."""
        if name_taken or not self._increment.partial:
            self._emit(Note(f"Removing {path}", detail=True))
            os.unlink(self._path(path))

    def _apply(self, piece: Piece) -> tuple[Piece, int]:
        target = self._path(piece.path)
        if not piece.page_size:
            replace_copy(piece.source, target)
            return piece, os.stat(target).st_size
        self._emit(Note(f"Applying {piece.source} to {target}..."))
        if piece.space_id and not os.path.exists(target):
            self._create(piece, target)
        return piece, apply_delta(piece.source, target, piece.page_size)

    def _create(self, piece: Piece, target: str) -> None:
        """A tablespace that the base does not know; its delta may hold nothing, when all of it is in the redo."""
        logical = self._increment.logical_page_size
        temporary = working_name(target)
        with open(temporary, "wb") as f:
            f.write(first_page(piece.space_id, piece.page_size, piece.zip_size, logical, piece.flags))
            f.truncate(INITIAL_PAGES * logical)
        os.rename(temporary, target)

    # -- the rest ---------------------------------------------------------------------------------------------

    def _plain_files(self) -> None:
        for path, source in self._increment.files:
            os.makedirs(os.path.dirname(self._path(path)), mode=0o750, exist_ok=True)
            replace_copy(source, self._path(path))
        if not self._increment.partial:
            self._remove_gone()
        for directory in sorted(self._increment.directories):
            os.makedirs(self._path(directory), mode=0o750, exist_ok=True)

    def _remove_gone(self) -> None:
        """Files of databases that the increment does not hold, and databases that are empty by that."""
        increment = self._increment
        files = Lookup(increment.files, lambda file: file[0])
        pieces = Lookup(increment.pieces, lambda piece: piece.path)
        for root, _dirs, names in os.walk(self._base, topdown=False):
            directory = os.path.relpath(root, self._base)
            if directory == ".":
                continue
            for name in names:
                path = os.path.join(directory, name)
                if not (path in pieces or path in files or path in increment.kept):
                    os.unlink(os.path.join(root, name))
            if directory not in increment.directories and not os.listdir(root):
                os.rmdir(root)


def _ibd_files(base: str) -> Iterator[str]:
    for root, _dirs, files in os.walk(base):
        for name in files:
            if name.endswith(".ibd"):
                yield os.path.relpath(os.path.join(root, name), base)


def space_id_of(path: str) -> int:
    """The tablespace id in a file's first page; 0 where that was never written. Raises OSError."""
    with open(path, "rb") as f:
        head = f.read(_HEAD_BYTES)
    return page_space_id(head) if len(head) == _HEAD_BYTES else _NO_ID


def apply_delta(delta: str, target: str, page_size: int) -> int:
    """Write every page of a delta file at its number into ``target``, which is made if it is not there.

    Returns the file's size. Raises BackupInvalid when the delta is cut short or is none.
    """
    out = os.open(target, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        sparse = osfile.has_holes(os.fstat(out))
        with open(delta, "rb", buffering=0) as source:
            for numbers in _clusters(source.fileno(), delta, page_size):
                for first, count, offset in numbers:
                    _copy_run(source.fileno(), delta, out, (first, count, offset), page_size, sparse=sparse)
        return _extend(out, page_size)
    finally:
        os.close(out)


Run = tuple[int, int, int]


def _clusters(fd: int, path: str, page_size: int) -> Iterator[list[Run]]:
    """Runs of neighbouring pages in each cluster: (first page number, count, offset in the delta)."""
    try:
        for numbers, offset in clusters(lambda at, length: os.pread(fd, length, at), page_size):
            yield list(_runs(numbers, offset, page_size))
    except ValueError as e:
        raise BackupInvalid(f"{path} is not valid .delta file: {e}") from e


def _runs(numbers: Iterable[int], offset: int, page_size: int) -> Iterator[Run]:
    first = count = -1
    for number in numbers:
        if number == first + count and count * page_size < _RUN_BYTES:
            count += 1
        else:
            if count > 0:
                yield first, count, offset
                offset += count * page_size
            first, count = number, 1
    if count > 0:
        yield first, count, offset


def _copy_run(fd: int, path: str, out: int, run: Run, page_size: int, *, sparse: bool) -> None:
    signals.check()
    first, count, offset = run
    data = os.pread(fd, count * page_size, offset)
    if len(data) < count * page_size:
        raise BackupInvalid(f"{path} is cut short: it ends at byte {offset + len(data)}")
    osfile.write_at(out, memoryview(data), first * page_size)
    if sparse:
        punch_tails(out, memoryview(data), first * page_size, page_size)


def _extend(fd: int, page_size: int) -> int:
    """A file may have grown by pages that were never written: give it the size that its header tells."""
    head, size = os.pread(fd, _HEAD_BYTES, 0), os.fstat(fd).st_size
    told = space_pages(head) * page_size if len(head) == _HEAD_BYTES else 0
    # The header of the system tablespace counts the pages of all its files
    if told > size and page_space_id(head) != SYSTEM_SPACE:
        os.ftruncate(fd, told)
        size = told
    return size


def replace_directory(source: str, target: str) -> None:
    """Put a copy of a whole directory (RocksDB's) in the place of another."""
    aside = target + ".goldcopy-tmp"
    if os.path.isdir(aside):
        shutil.rmtree(aside)
    shutil.copytree(source, aside)
    if os.path.isdir(target):
        shutil.rmtree(target)
    os.rename(aside, target)
