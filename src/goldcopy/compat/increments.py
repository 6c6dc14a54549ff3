"""An increment's directory as what an overlay takes: tablespaces by id, the rest by name. Nothing in it is changed."""

from __future__ import annotations

import os
from collections.abc import Container, Iterable, Iterator

from goldcopy.compat.ddlmarks import DEL, NEW, REN, marks, renamed_to
from goldcopy.compat.infofiles import CONFIG_NAME
from goldcopy.compat.peerdir import PeerDir, read_text
from goldcopy.errors import BackupInvalid
from goldcopy.formats.delta import Meta, parse_meta
from goldcopy.formats.packed import Lookup, Packed, Table
from goldcopy.image.codecs import CODECS
from goldcopy.image.manifest import BINLOG_TAIL_NAME, REDO_NAME, Manifest
from goldcopy.restore.inplace import Increment, Piece, space_id_of

ROCKSDB = "#rocksdb"
PACKED = tuple(CODECS)
_DELTA, _META, _IBD = ".delta", ".meta", ".ibd"
_NOT_PLAIN = (_DELTA, _META, _IBD, DEL, REN, NEW, ".ibu", *PACKED)
_OURS = "goldcopy."
_OURS_TOO = (REDO_NAME, BINLOG_TAIL_NAME)
"""What of ours recovery reads: the increment's counts."""


def entries(directory: str) -> Iterator[str]:
    """Every file, relative: of the directory itself and of the database directories in it."""
    for root, dirs, files in os.walk(directory):
        if ROCKSDB in dirs:
            dirs.remove(ROCKSDB)
        for name in sorted(files):
            yield os.path.relpath(os.path.join(root, name), directory)


def refuse_packed(directory: str) -> None:
    """Raises BackupInvalid when files are still compressed or encrypted; originals may lie beside what they became."""
    for path in entries(directory):
        if path.endswith(PACKED) and not _is_unpacked(os.path.join(directory, path)):
            raise BackupInvalid(
                f"{directory}/{path} is still compressed or encrypted",
                hint=f"--decompress (and --decrypt=ALGORITHM) --target-dir={directory} first",
            )


def _is_unpacked(path: str) -> bool:
    """Whether what a packed file holds lies beside it, perhaps still with another layer around it."""
    while path.endswith(PACKED):
        path = os.path.splitext(path)[0]
        if os.path.exists(path):
            return True
    return False


def read_increment(increment: PeerDir, *, partial: bool) -> Increment:
    """What to lay over. Raises BackupInvalid for damaged marks and metadata."""
    home = increment.directory
    found = Packed(str, entries(home))
    pieces = _pieces(home, found)
    manifest = increment.manifest
    return Increment(
        Packed(Piece, pieces),
        Packed(tuple[str, str], ((path, os.path.join(home, path)) for path in found if _is_plain(path, increment))),
        frozenset(_directories(home)),
        _unchanged(manifest) if manifest else (),
        partial,
        _page_size(increment),
        increment.system_files,
    )


def _page_size(backup: PeerDir) -> int:
    text = dict(backup.settings).get("innodb_page_size") or "16384"
    if not text.isdecimal():
        raise BackupInvalid(f"{backup.path(CONFIG_NAME)}: innodb_page_size is {text}", hint="it is a number of bytes")
    return int(text)


def _pieces(home: str, found: Iterable[str]) -> Table[str, Piece]:
    dropped = {name + _IBD for name in marks(home, DEL)}
    renamed = {name + _IBD: renamed_to(home, name) + _IBD for name in marks(home, REN)}
    pieces = Table(Piece, lambda piece: piece.path)
    for path in found:
        name = path.removesuffix(_DELTA)
        if name != path and name not in dropped:
            piece = _delta(home, path, renamed.get(name, name))
        elif _is_whole(path) and path not in dropped:
            piece = _whole(home, path, renamed.get(path, path))
        else:
            continue
        pieces.put(piece)
    # made anew under the lock: the truth, whatever was copied before
    for name in marks(home, NEW):
        pieces.put(_whole(home, name + NEW, name + _IBD))
    return pieces


def _is_whole(path: str) -> bool:
    return path.endswith((_IBD, ".ibu")) or (
        "/" not in path and path.startswith(("ibdata", "undo")) and "." not in path
    )


def _whole(home: str, stored: str, path: str) -> Piece:
    source = os.path.join(home, stored)
    return Piece(path, source, 0, space_id_of(source))


def _delta(home: str, stored: str, path: str) -> Piece:
    source = os.path.join(home, stored)
    place = source.removesuffix(_DELTA) + _META
    meta = _meta(place)
    # MariaDB tells none; MySQL may well tell 0
    flags = meta.space_flags if "space_flags" in read_text(place) else None
    return Piece(path, source, meta.zip_size or meta.page_size, meta.space_id, meta.zip_size, flags)


def _meta(path: str) -> Meta:
    text = read_text(path)
    try:
        return parse_meta(text)
    except ValueError as e:
        raise BackupInvalid(f"{path} is missing or damaged: {e}") from e


def _is_plain(path: str, increment: PeerDir) -> bool:
    """Whether a file replaces that of the base: everything but tablespaces, checkpoints and what is ours."""
    if "/" in path:
        return not path.endswith(_NOT_PLAIN)
    return not (
        path.endswith((*_NOT_PLAIN, "_checkpoints"))
        or (path.startswith(_OURS) and path not in _OURS_TOO)
        or _is_whole(path)
        or (path == CONFIG_NAME and not increment.settings)
    )


def _directories(home: str) -> Iterator[str]:
    for entry in os.scandir(home):
        if entry.is_dir(follow_symlinks=False) and entry.name != ROCKSDB:
            yield entry.name


def _unchanged(manifest: Manifest) -> Container[str]:
    """What our own increments leave to the base because it has not changed."""
    return Lookup(Packed(str, (p.path for p in manifest.plain if p.stored == "base")), str)
