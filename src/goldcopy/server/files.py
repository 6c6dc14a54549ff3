"""The files of a live server, as they are now: tablespaces, plain files, and what lies outside the data directory."""

from __future__ import annotations

import contextlib
import itertools
import os
import stat
from collections.abc import Callable, Iterable, Iterator, Sequence

import msgspec
from msgspec.structs import replace

from goldcopy.errors import ServerRefused
from goldcopy.formats.innodb.page import MIN_PAGE_BYTES, page_space_id
from goldcopy.formats.packed import Lookup, Packed
from goldcopy.server import fileid
from goldcopy.server.file_rules import (
    Kind,
    Layout,
    as_listed,
    is_backup_dir,
    is_outside_innodb,
    is_rocksdb_dir,
    layout,
)
from goldcopy.server.instance import Instance

_MAX_DEPTH = 8
_Row = bytes | bytearray | memoryview


class FileRef(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One file. ``path``: its name inside a backup, relative. ``root``: the directory that it is relative to.
    ``external``: its absolute path when it lies outside the data directory, else "". ``identity``: see ``fileid``.
    ``link``: another name of it to read it by, absolute, "" = none. ``linked``: it may have yet other names.
    """

    path: str
    root: str
    external: str
    size: int
    identity: str
    mtime_ns: int
    ctime_ns: int
    mode: int
    link: str = ""
    linked: bool = False

    @property
    def source(self) -> str:
        """Where to read it, absolute."""
        return self.link or self.external or os.path.join(self.root, self.path)


class Stray(msgspec.Struct, frozen=True):
    """A file that says that it is a tablespace which the server has under another name, ``owner``."""

    path: str
    space_id: int
    owner: str


class FileList(Packed[FileRef]):
    """Files in the order in which they were found. Their roots, almost always one, are kept once."""

    def __init__(self, files: Iterable[FileRef] = ()) -> None:
        super().__init__(FileRef)
        self._encode, self._decode = _with_shared_roots(self._encode, self._decode)
        self.extend(files)

    def only(self, wanted: Callable[[str], bool] | None) -> FileList:
        """Those whose ``path`` is wanted; None: all."""
        return self if wanted is None else FileList(file for file in self if wanted(file.path))


def _with_shared_roots(
    encode: Callable[[FileRef], bytes], decode: Callable[[_Row], FileRef]
) -> tuple[Callable[[FileRef], bytes], Callable[[_Row], FileRef]]:
    """Instead of the root, a row has the character of its number."""
    roots: list[str] = []

    def pack(file: FileRef) -> bytes:
        if file.root not in roots:
            roots.append(file.root)
        return encode(replace(file, root=chr(roots.index(file.root))))

    def unpack(row: _Row) -> FileRef:
        file = decode(row)
        return replace(file, root=roots[ord(file.root)])

    return pack, unpack


class Listing(msgspec.Struct, frozen=True):
    """All files. ``unknown``: those of ``plain`` that belong to no engine we know. ``empty_dirs``: relative.

    ``has_user_tables_outside_innodb``: tables whose copy needs writers to stand still. ``rocksdb_dir``: absolute, ""
    without MyRocks; nothing in it is listed. ``dead_links``: paths of ``.isl`` files that point to nothing; not listed,
    since beside one MySQL 5.6 recovers from no crash (fil0fil.cc, fil_load_single_table_tablespace). ``same_files``:
    tablespaces that are listed under several names. ``strays``: names that were left out for such a reason.
    """

    spaces: FileList
    plain: FileList
    empty_dirs: tuple[str, ...]
    unknown: tuple[FileRef, ...]
    has_user_tables_outside_innodb: bool
    rocksdb_dir: str
    dead_links: tuple[str, ...] = ()
    same_files: tuple[tuple[FileRef, ...], ...] = ()
    strays: tuple[Stray, ...] = ()


class _Found(msgspec.Struct):
    spaces: FileList = msgspec.field(default_factory=FileList)
    plain: FileList = msgspec.field(default_factory=FileList)
    unknown: list[FileRef] = []
    empty_dirs: list[str] = []
    links: list[tuple[str, str]] = []
    dead_links: list[str] = []
    linked: set[str] = set()
    walked: set[tuple[int, int]] = set()
    outside_innodb: bool = False
    rocksdb_dir: str = ""

    def listing(self) -> Listing:
        return Listing(
            self.spaces, self.plain, tuple(self.empty_dirs), tuple(self.unknown), self.outside_innodb, self.rocksdb_dir,
            tuple(self.dead_links), tuple(self._same_files()),
        )

    def _same_files(self) -> Iterator[tuple[FileRef, ...]]:
        if self.linked:
            files = sorted((f for f in self.spaces if f.identity in self.linked), key=lambda f: f.identity)
            groups = (tuple(group) for _, group in itertools.groupby(files, lambda f: f.identity))
            yield from (group for group in groups if len(group) > 1)


def list_files(instance: Instance, not_below: Iterable[str] = ()) -> Listing:
    """The files of the server now. Files that vanish meanwhile are left out.

    ``not_below``: directories that may lie in the data directory and are none of the server's.

    Raises ServerRefused when a directory cannot be read, or a file has several names and none is the server's.
    """
    rules = layout(instance.variables, instance.datadir, instance.system_files, instance.key_files)
    foreign = {as_listed(os.path.abspath(directory), instance.datadir) for directory in not_below}
    rules = replace(rules, excluded_dirs=rules.excluded_dirs | foreign)
    sql = instance.dialect.remote_files_sql
    remote = [str(row[0]) for row in instance.session.rows(sql)] if sql else []
    return _under_one_name(scan(rules, remote), instance)


def _under_one_name(listing: Listing, instance: Instance) -> Listing:
    """A tablespace that has several names (hard links, links) is listed under the server's."""
    strays = []
    for refs in listing.same_files:
        space_id = _space_id(refs)
        owner = instance.owners([space_id]).get(space_id, "")
        paths = [ref.path for ref in refs]
        if owner not in paths:
            raise ServerRefused(
                f"{paths[0]} and {paths[1]} are the same file",
                hint="remove the links that belong to no table, or move them out of the data directory",
            )
        strays += [Stray(path, space_id, owner) for path in paths if path != owner]
    left_out = {stray.path for stray in strays}
    spaces = listing.spaces.only((lambda path: path not in left_out) if strays else None)
    return replace(listing, spaces=spaces, strays=tuple(strays))


def _space_id(names: Sequence[FileRef]) -> int:
    """What the file's first page says; 0 where it says nothing yet. DDL may have taken names away."""
    for ref in names:
        with contextlib.suppress(FileNotFoundError), open(ref.source, "rb") as f:
            page = f.read(MIN_PAGE_BYTES)
            return page_space_id(page) if len(page) == MIN_PAGE_BYTES else 0
    return 0


def scan(rules: Layout, remote: Iterable[str] = ()) -> Listing:
    """The same without a server: ``remote`` are absolute paths of tablespaces that only the server knows of."""
    found = _Found()
    _walk(rules, rules.datadir, "", 0, found)
    _outside(rules, found)
    _remote(rules, [*_linked(found), *(("", p) for p in remote)], found)
    return found.listing()


def _walk(rules: Layout, directory: str, prefix: str, depth: int, found: _Found) -> None:
    """List one directory: its files, then the directories below, database directories that are links included.

    A directory that is reached a second time, by a link, is passed over: no file may be in a backup twice.
    """
    if not _first_time(directory, found):
        return
    # undo and system files may have directories of their own below the data directory
    at_top = not depth or directory in (rules.undo_dir, rules.aria_dir)
    below: list[os.DirEntry[str]] = []
    files = 0
    for entry in _entries(directory):
        if _is_directory(entry):
            below.append(entry)
            files += 1
        else:
            files += _file(rules, entry, prefix, found, at_top=at_top)
    if prefix and not files:
        _refuse_odd_name(directory)
        found.empty_dirs.append(prefix.rstrip("/"))
    for entry in below:
        if not depth and is_rocksdb_dir(entry.name):
            found.rocksdb_dir = entry.path
        elif depth < _MAX_DEPTH and not (rules.is_skipped_dir(entry.path, entry.name) or is_backup_dir(entry.path)):
            _walk(rules, entry.path, f"{prefix}{entry.name}/", depth + 1, found)


def _first_time(directory: str, found: _Found) -> bool:
    try:
        here = os.stat(directory)
    except FileNotFoundError:
        return False
    new = (here.st_dev, here.st_ino) not in found.walked
    found.walked.add((here.st_dev, here.st_ino))
    return new


def _entries(directory: str) -> Iterator[os.DirEntry[str]]:
    try:
        with os.scandir(directory) as entries:
            yield from entries
    except FileNotFoundError:
        return
    except OSError as e:
        raise ServerRefused(
            f"{directory} cannot be read: {e.strerror}", hint="run as the server's account (mostly mysql), or as root"
        ) from e


def _is_directory(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        return False


def _file(rules: Layout, entry: os.DirEntry[str], prefix: str, found: _Found, *, at_top: bool) -> bool:
    """Take one file. Returns whether it is in the backup."""
    kind = rules.kind(entry.path, entry.name, at_top=at_top)
    if kind == "skip":
        return False
    ref = file_ref(prefix + entry.name, rules.datadir, linked=entry.is_symlink())
    if ref is None or (entry.name.endswith(".isl") and not _follow(ref, found)):
        return False
    _add(ref, kind, found)
    return True


def _follow(link: FileRef, found: _Found) -> bool:
    """Note where an ``.isl`` file points to. Returns whether anything is there."""
    try:
        with open(link.source, encoding="utf-8", errors="surrogateescape") as f:
            target = f.read().strip()
    except OSError:
        return False
    # relative ones are so to the data directory, in which the server works
    path = os.path.normpath(os.path.join(link.root, target))
    if not target or not os.path.isfile(path):
        found.dead_links.append(link.path)
        return False
    found.links.append((link.path, path))
    return True


def _add(ref: FileRef, kind: Kind, found: _Found) -> None:
    if kind == "space":
        found.spaces.append(ref)
        if ref.linked:
            found.linked.add(ref.identity)
        return
    found.plain.append(ref)
    if kind == "unknown":
        found.unknown.append(ref)
    found.outside_innodb = found.outside_innodb or is_outside_innodb(ref.path, kind)


def file_ref(
    path: str, root: str, external: str = "", *, link: str = "", linked: bool = False
) -> FileRef | None:
    """A file as it is now; None for what is no regular file, or has vanished. ``linked``: a symbolic link."""
    try:
        s = fileid.state(link or external or os.path.join(root, path))
    except OSError:
        return None
    if not stat.S_ISREG(s.mode):
        return None
    _refuse_odd_name(external or os.path.join(root, path))
    return FileRef(
        path, root, external, s.size, s.identity, s.mtime_ns, s.ctime_ns, stat.S_IMODE(s.mode), link,
        linked or s.names > 1,
    )


def _refuse_odd_name(path: str) -> None:
    """Raises ServerRefused for a name that is no UTF-8: no server gives one, and no manifest could keep it."""
    if not path.isascii() and any("\ud800" <= character <= "\udfff" for character in path):
        raise ServerRefused(
            f"the name of the file {os.fsencode(path)!r} is not UTF-8",
            hint="rename it, or move it out of the data directory",
        )


def _is_inside(path: str, directory: str) -> bool:
    return path.startswith(directory.rstrip("/") + "/")


def _outside(rules: Layout, found: _Found) -> None:
    """System, undo and Aria files that have a home outside the data directory.

    Aria's log comes back into the data directory: recovery looks for it there, and needs no option to find it.
    """
    for source in rules.system_files:
        if not _is_inside(source, rules.datadir):
            _take(file_ref(os.path.basename(source), "", source), "space", found)
    for entry in _entries_outside(rules.undo_dir, rules):
        # the system tablespace may have its home there, too
        if rules.kind(entry.path, entry.name, at_top=True) == "space" and entry.path not in rules.system_files:
            _take(file_ref(entry.name, "", entry.path), "space", found)
    for entry in _entries_outside(rules.aria_dir, rules):
        if entry.name.startswith("aria_log"):
            _take(file_ref(entry.name, rules.aria_dir), rules.kind(entry.path, entry.name, at_top=True), found)
    pool = rules.buffer_pool_file
    if pool and not _is_inside(pool, rules.datadir):
        _take(file_ref(os.path.basename(pool), "", pool), "plain", found)


def _entries_outside(directory: str, rules: Layout) -> Iterable[os.DirEntry[str]]:
    outside = directory and directory != rules.datadir and not _is_inside(directory, rules.datadir)
    return _entries(directory) if outside else ()


def _take(ref: FileRef | None, kind: Kind, found: _Found) -> None:
    if ref is not None and kind != "skip":
        _add(ref, kind, found)


def _linked(found: _Found) -> Iterator[tuple[str, str]]:
    """What ``.isl`` files point to: (name in the backup, absolute path). MariaDB, MySQL before 8."""
    for path, target in found.links:
        yield path.removesuffix(".isl") + ".ibd", target


def _remote(rules: Layout, targets: Sequence[tuple[str, str]], found: _Found) -> None:
    """Tablespaces elsewhere, each under a name of its own inside the backup."""
    if not targets:
        return
    by_identity = Lookup(found.spaces, lambda file: file.identity)
    by_path = Lookup(found.spaces, lambda file: file.path)
    known: set[str] = set()
    names: set[str] = set()
    files = itertools.chain(found.plain, found.spaces)
    databases = {f.path.partition("/")[0] for f in files if "/" in f.path} | set(found.empty_dirs)
    for path, source in sorted(targets, key=lambda t: t[1]):
        if _is_inside(as_listed(source, rules.datadir), rules.datadir):
            continue
        name = _unique(path or _remote_name(source, databases), lambda name: name in names or name in by_path)
        ref = file_ref(name, "", source)
        if ref is not None and ref.identity not in known and ref.identity not in by_identity:
            known.add(ref.identity)
            names.add(name)
            found.spaces.append(ref)


def _remote_name(source: str, databases: set[str]) -> str:
    """``db/t.ibd`` for a table of a database, else (a general tablespace) the bare name."""
    directory, name = os.path.split(source)
    database = os.path.basename(directory)
    return f"{database}/{name}" if database in databases else name


def _unique(path: str, is_taken: Callable[[str], bool]) -> str:
    """General tablespaces in different places may share a name."""
    stem, suffix = os.path.splitext(path)
    number, candidate = 1, path
    while is_taken(candidate):
        number += 1
        candidate = f"{stem}~{number}{suffix}"
    return candidate
