"""The manifest: what one backup holds, written last and once.

On disk it is ``goldcopy.manifest``: a first line ``goldcopy-manifest 1 <sha256 of the rest, hex>`` and the JSON of
``Manifest``. A directory without it, or with one whose sum is wrong, is no backup.
"""

from __future__ import annotations

import hashlib
import os
from typing import Literal

import msgspec

from goldcopy.errors import BackupInvalid

MANIFEST_NAME = "goldcopy.manifest"
REDO_NAME = "goldcopy.redo"
KEYS_NAME = "goldcopy.keys"
BINLOG_TAIL_NAME = "goldcopy.binlog_tail"
_MAGIC = "goldcopy-manifest 1 "


class Space(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """One InnoDB tablespace file of a backup.

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


class Plain(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, gc=False):
    """A file that is not an InnoDB tablespace, copied under the lock (or before it, when provably unchanged).

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


class Manifest(msgspec.Struct, frozen=True, kw_only=True):
    """One backup, whole.

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
    spaces: tuple[Space, ...]
    plain: tuple[Plain, ...]
    binlog_tail: int = 0
    binlog_tail_sums: str = ""
    locks: tuple[LockTime, ...] = ()
    torn_rereads: int = 0
    warnings: tuple[str, ...] = ()
    name: str = ""
    master_key: str = ""
    witnesses: tuple[Witness, ...] = ()


def dump(manifest: Manifest) -> bytearray:
    """The bytes of a manifest file, made in one buffer: with 100,000 tables a copy of it counts."""
    head = len(_MAGIC) + 2 * hashlib.sha256().digest_size + 1
    out = bytearray(head)
    msgspec.json.Encoder().encode_into(manifest, out, head)
    out += b"\n"
    with memoryview(out) as view:
        out_sum = hashlib.sha256(view[head:]).hexdigest()
    out[:head] = f"{_MAGIC}{out_sum}\n".encode()
    return out


def parse(data: bytes, where: str) -> Manifest:
    """Read a manifest file's bytes. Raises BackupInvalid, naming ``where``, when it is damaged or unknown."""
    end = data.find(b"\n") + 1
    # no copy of it: with 100,000 tables it has 50 MB
    head, body = data[: max(0, end - 1)], memoryview(data)[end:]
    if not head.startswith(_MAGIC.encode()):
        raise BackupInvalid(f"{where}: not a Goldcopy manifest of a version that this program knows")
    if hashlib.sha256(body).hexdigest().encode() != head[len(_MAGIC) :]:
        raise BackupInvalid(f"{where}: the manifest is damaged (its checksum is wrong)")
    try:
        return msgspec.json.decode(body, type=Manifest)
    except msgspec.DecodeError as e:
        raise BackupInvalid(f"{where}: the manifest cannot be read: {e}") from e


def load(directory: str) -> Manifest:
    """The manifest of the backup in ``directory``. Raises BackupInvalid when there is none or it is damaged."""
    path = os.path.join(directory, MANIFEST_NAME)
    try:
        with open(path, "rb") as f:
            data = f.read()
    except (FileNotFoundError, NotADirectoryError):
        raise BackupInvalid(
            f"{directory}: no complete backup here ({MANIFEST_NAME} is missing)",
            hint="a backup that was interrupted has no manifest and cannot be used: take it again",
        ) from None
    return parse(data, path)
