"""The manifest: what one backup holds, written last and once.

On disk it is ``goldcopy.manifest``: the line ``goldcopy-manifest 2``; a line of JSON, ``_Head``; a line for each
``Space`` and then for each ``Plain``; and the sha256, in hex, of all these lines. A directory without it, or with one
whose sum is wrong, is no backup. Version 1, one JSON object that had to be in memory as a whole, is refused.
"""

from __future__ import annotations

import functools
import hashlib
import os
import re
import weakref
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain, islice
from typing import Literal, TypeVar

import msgspec

from goldcopy.errors import BackupInvalid
from goldcopy.formats.packed import BLOCK, Rows

MANIFEST_NAME = "goldcopy.manifest"
REDO_NAME = "goldcopy.redo"
KEYS_NAME = "goldcopy.keys"
BINLOG_TAIL_NAME = "goldcopy.binlog_tail"
_FIRST_LINE = b"goldcopy-manifest 2\n"
_SUM_LINE_BYTES = 2 * hashlib.sha256().digest_size + 1
_PIECE_BYTES = 1 << 20

M = TypeVar("M", bound=msgspec.Struct)


class Space(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """One InnoDB tablespace file of a backup. In a manifest it is an array of these fields: add some only at the end.

    ``path``: name inside the backup, relative, as in the data directory (a delta lies at ``path + ".delta"``).
    ``external``: absolute path on the source when the file lies outside the data directory, else "".
    ``identity``: inode and birth time on the source (``formats.md`` 5): another identity is another tablespace.
    ``page_size``: bytes of a page on disk. ``size``: bytes when copied; ``size_final``: at the consistent point.
    ``stored``: ``full``, ``delta`` (pages changed since the base), or ``raw``: copied as it came because page 0
    was not written yet (all of it is in the redo). ``complete``: a delta that holds every page, so that nothing older
    is needed.
    ``sums``: ``formats.chunksum`` text of the stored file (the delta file, for a delta). ``pages_stored``: pages in
    it. ``unverifiable``: pages that carry no checksum on disk (encrypted or compressed by MySQL).
    ``corrupt``: page numbers that stayed bad, when the user asked to go on.
    """

    path: str
    external: str = ""
    space_id: int
    identity: str
    page_size: int
    zip_size: int = 0
    flags: int = 0
    size: int
    size_final: int
    stored: Literal["full", "delta", "raw"]
    complete: bool = False
    pages_stored: int = 0
    unverifiable: int = 0
    corrupt: tuple[int, ...] = ()
    sums: str = ""


class Plain(msgspec.Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A file that is not an InnoDB tablespace, copied under the lock (or before it, when provably unchanged).
    Written like a ``Space``.

    ``stored``: ``file``, ``dir`` (an empty database directory), or ``base`` (unchanged since the base backup and
    taken from there). ``identity``, ``mtime_ns``, ``ctime_ns`` decide that next time.
    """

    path: str
    external: str = ""
    size: int = 0
    mode: int = 0o640
    identity: str = ""
    mtime_ns: int = 0
    ctime_ns: int = 0
    stored: Literal["file", "dir", "base"] = "file"
    sums: str = ""


class Redo(msgspec.Struct, frozen=True, kw_only=True):
    """The redo window: raw bytes from ``start`` to ``end``, in ``goldcopy.redo``.

    ``layout``: a key of ``formats.redo.LAYOUTS``. ``start``: LSN of the first stored byte (block aligned where the
    layout has blocks). ``checkpoint``: C0. ``checkpoint_end``: LSN of the checkpoint's own record (MariaDB).
    ``header``: first 512 bytes of the source's log, hex. ``first_lsn``, ``capacity``: geometry of the source's
    log. ``encryption``: MySQL's encryption block, hex, or "". ``sums``: chunk sums of the stored file.
    ``stored_as``: the file that holds it: the raw window, or (``rebuilt``) a log file of the server's own form.
    """

    layout: str
    start: int
    checkpoint: int
    checkpoint_end: int = 0
    checkpoint_no: int = 0
    end: int
    header: str = ""
    first_lsn: int = 0
    capacity: int = 0
    encryption: str = ""
    size: int = 0
    sums: str = ""
    stored_as: str = REDO_NAME
    rebuilt: bool = False


class Replica(msgspec.Struct, frozen=True, kw_only=True):
    """Where one replication channel of the source stood: what its SQL thread had executed."""

    channel: str = ""
    source_host: str = ""
    source_port: int = 0
    source_log_file: str = ""
    source_log_pos: int = 0
    gtid: str = ""
    auto_position: bool = False


class Position(msgspec.Struct, frozen=True, kw_only=True):
    """Binlog coordinates consistent with the redo's ``end``. Empty file = the server writes no binlog."""

    binlog_file: str = ""
    binlog_position: int = 0
    gtid: str = ""
    replicas: tuple[Replica, ...] = ()
    galera: str = ""


class Server(msgspec.Struct, frozen=True, kw_only=True):
    """The source, as far as recovery and later backups must know it."""

    family: Literal["mariadb", "mysql"]
    version: str
    dialect: str
    identity: str
    hostname: str = ""
    datadir: str = ""
    variables: dict[str, str] = {}
    plugins: tuple[str, ...] = ()

    @property
    def home(self) -> str:
        """Where its software was installed (basedir), "" = not told."""
        return self.variables.get("basedir", "")


class Witness(msgspec.Struct, frozen=True, kw_only=True):
    """A page that a later backup looks at: its LSN tells whether the server was set back since.

    ``identity``, ``space_id``: of its tablespace file. ``page_size``: bytes on disk. ``lsn``: FIL_PAGE_LSN then.
    """

    identity: str
    space_id: int
    page_no: int
    page_size: int
    lsn: int


class LockTime(msgspec.Struct, frozen=True, kw_only=True):
    """How long a lock on the live server was waited for and held."""

    lock: str
    waited_s: float
    held_s: float


class Backup(msgspec.Struct, frozen=True, kw_only=True):
    """All about one backup but its files.

    ``base_id``, ``base_path``: the backup an increment was taken against, and where it lay (relative to this
    backup's directory when both have a common parent). ``since``: the base's C0: pages with LSN >= since are here.
    ``master_key``: name of the newest master key that the source had (MySQL), "" = not told.
    ``witnesses``: some of its newest pages.
    ``state``: ``backup`` until recovery made the directory a clean data directory (``prepared``).
    """

    id: str
    kind: Literal["full", "incremental"]
    base_id: str = ""
    base_path: str = ""
    since: int = 0
    state: Literal["backup", "prepared"] = "backup"
    partial: bool = False
    tool: str
    started: str
    finished: str
    server: Server
    redo: Redo
    position: Position
    binlog_tail: int = 0
    binlog_tail_sums: str = ""
    locks: tuple[LockTime, ...] = ()
    torn_rereads: int = 0
    warnings: tuple[str, ...] = ()
    name: str = ""
    master_key: str = ""
    witnesses: tuple[Witness, ...] = ()


class Manifest(Backup, frozen=True, kw_only=True):
    """One backup, whole. Go through ``spaces`` and ``plain`` rather than copy them: there may be 100,000 of each."""

    spaces: Sequence[Space]
    plain: Sequence[Plain]


class _Head(msgspec.Struct, frozen=True, kw_only=True):
    """``spaces``, ``plain``: how many lines of each follow."""

    spaces: int
    plain: int
    backup: Backup


class _File:
    """A manifest that is read as long as somebody has its records, even when another one has taken its place."""

    def __init__(self, path: str) -> None:
        self.path = path
        self._fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)
        self.size = os.fstat(self._fd).st_size

    def read(self, start: int, end: int) -> bytes:
        """The bytes of a range. Raises BackupInvalid when they are not there any more."""
        data = os.pread(self._fd, end - start, start)
        if len(data) < end - start:
            raise BackupInvalid(f"{self.path}: the manifest was cut short while it was in use")
        return data

    def pieces(self, start: int, end: int) -> Iterator[bytes]:
        """A range of any length, bit by bit."""
        for at in range(start, end, _PIECE_BYTES):
            yield self.read(at, min(at + _PIECE_BYTES, end))


class _Lines(Rows[M]):
    """Records that lie in a manifest, a line each. ``ends``: offsets of the end of each, and of the line before."""

    def __init__(self, file: _File, kind: type[M], ends: array[int]) -> None:
        super().__init__(functools.partial(_decode, file.path, msgspec.json.Decoder(kind)))
        self._file, self._ends = file, ends

    def _bytes(self, first: int, last: int) -> bytes:
        return self._file.read(self._ends[first], self._ends[last])


def _decode(where: str, decoder: msgspec.json.Decoder[M], data: bytes | memoryview) -> M:
    try:
        return decoder.decode(data)
    except msgspec.DecodeError as e:
        raise BackupInvalid(f"{where}: the manifest cannot be read: {e}") from e


def dump(manifest: Manifest) -> Iterator[bytes]:
    """A manifest's file, bit by bit: with 100,000 tables all of it would be 23 MB."""
    out_sum = hashlib.sha256()
    for piece in _body(manifest):
        out_sum.update(piece)
        yield piece
    yield _sum_line(out_sum)


def _body(manifest: Manifest) -> Iterator[bytes]:
    encoder = msgspec.json.Encoder()
    backup = Backup(**{name: getattr(manifest, name) for name in Backup.__struct_fields__})
    yield _FIRST_LINE
    yield encoder.encode_lines([_Head(spaces=len(manifest.spaces), plain=len(manifest.plain), backup=backup)])
    records = chain(manifest.spaces, manifest.plain)
    while block := [*islice(records, BLOCK)]:
        yield encoder.encode_lines(block)


def _sum_line(of: hashlib._Hash) -> bytes:
    return of.hexdigest().encode() + b"\n"


def load(directory: str) -> Manifest:
    """The manifest of the backup in ``directory``; its records stay on disk until they are asked for.

    Raises BackupInvalid when there is none, when it is damaged, or of a version that is not known.
    """
    if not os.path.isdir(directory):
        raise BackupInvalid(f"there is no directory {directory}", hint="name the directory of a backup")
    try:
        file = _File(os.path.join(directory, MANIFEST_NAME))
    except FileNotFoundError:
        raise BackupInvalid(
            f"{directory}: no complete backup here ({MANIFEST_NAME} is missing)",
            hint="a backup that was interrupted has no manifest and cannot be used: take it again; that of another"
            " program is for its commands' names: xtrabackup, mariabackup",
        ) from None
    if file.read(0, min(len(_FIRST_LINE), file.size)) != _FIRST_LINE:
        raise BackupInvalid(
            f"{file.path}: not a Goldcopy manifest of a version that this program knows",
            hint="use the Goldcopy that took this backup",
        )
    return _load(file)


def _load(file: _File) -> Manifest:
    end = max(0, file.size - _SUM_LINE_BYTES)
    found_sum, ends, at = hashlib.sha256(), array("Q"), 0
    for piece in file.pieces(0, end):
        found_sum.update(piece)
        ends.extend(at + line.end() for line in re.finditer(b"\n", piece))
        at += len(piece)
    if file.read(end, file.size) != _sum_line(found_sum):
        raise _damaged(file)
    if len(ends) < 2:
        raise BackupInvalid(f"{file.path}: the manifest holds nothing but its first line")
    head = _decode(file.path, msgspec.json.Decoder(_Head), file.read(ends[0], ends[1]))
    spaces = _Lines(file, Space, ends[1 : 2 + head.spaces])
    plain = _Lines(file, Plain, ends[1 + head.spaces :])
    if (len(spaces), len(plain)) != (head.spaces, head.plain):
        raise _damaged(file)
    return Manifest(**msgspec.structs.asdict(head.backup), spaces=spaces, plain=plain)


def _damaged(file: _File) -> BackupInvalid:
    return BackupInvalid(f"{file.path}: the manifest is damaged (its checksum is wrong)")
