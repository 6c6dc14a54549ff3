"""Is what lies there what was backed up? Looked at before ``--prepare`` changes anything, the backup read once; and
what was prepared is looked at while it is copied back.

Backups of ours have sums of every byte. Those of the real mariadb-backup have none: there the checksums inside the
pages are what can be compared, and that an increment hangs together.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import pairwise, zip_longest

from goldcopy.compat.ddlmarks import DEL
from goldcopy.compat.definitions import defined_tablespaces
from goldcopy.compat.increments import entries
from goldcopy.compat.infofiles import Checkpoints
from goldcopy.compat.peerdir import PeerDir, read_peer_dir, read_text
from goldcopy.errors import BackupInvalid
from goldcopy.events import Emit, Phase, Warn
from goldcopy.formats import Family
from goldcopy.formats.chunksum import CHUNK, decode
from goldcopy.formats.delta import clusters, read_header
from goldcopy.formats.innodb.page import MAX_PAGE_BYTES, ChunkVerifier, Geometry, geometry, page_no
from goldcopy.formats.packed import Lookup
from goldcopy.image.manifest import MANIFEST_NAME, Manifest
from goldcopy.restore.inplace import Increment, Piece
from goldcopy.restore.sums import Damage, damages, doublewrite_of, tablespace_damages

BEGUN_NAME = "goldcopy.preparing"
"""Lies in a backup while it is changed: cut off, it is neither what was taken nor prepared."""
_CORRUPT_NAME = "innodb_corrupted_pages"
_OPTIONAL = "db.opt"
"""A database that has none has the server's default character set: worth a word, no reason to give up a backup."""
_SHOWN = 10
_WHOLE = ("full", "file")
"""How a space or another file is stored when the file itself lies there."""


def refuse_damaged(
    target: PeerDir, increment: PeerDir | None, contents: Increment | None, emit: Emit, *, go_on: bool
) -> None:
    """Compare what is to be used. ``contents``: what ``read_increment`` found in the increment. ``go_on``: only warn.

    Raises BackupInvalid after telling of the damages; nothing was changed then. What an attempt that was cut off has
    begun to change is not looked at; nor is what an earlier prepare has read and changed, but for files that are gone.
    """
    found: list[str] = []
    emit(Phase("check", "the backup's files are compared with what was taken"))
    for home, damage in _all(target, increment, contents):
        text = f"{home}/{damage.path}: {damage.what}"
        if len(found) < _SHOWN:
            emit(Warn("damage", text))
        if os.path.basename(damage.path) != _OPTIONAL or os.path.exists(os.path.join(home, damage.path)):
            found.append(text)
    if found and not go_on:
        raise BackupInvalid(
            f"the backup is damaged in {len(found)} place(s); nothing was changed. The first: {found[0]}",
            hint="use another copy of this backup, or another backup, and look at the disk it lies on; where there is"
            " none, --innodb-force-recovery=1 goes on: whatever is damaged may be lost",
        )


def sums_of(home: str) -> Callable[[str], str | None]:
    """What asks for the chunk sums that a file of the backup, by its relative path, had when our manifest was written.

    None for files of which none are known, all of them where there is no manifest, or another program has prepared the
    backup since.
    """
    manifest = _manifest(read_peer_dir(home)) if os.path.exists(os.path.join(home, MANIFEST_NAME)) else None
    if manifest is None:
        return lambda _path: None
    spaces, plain = Lookup(manifest.spaces, lambda s: s.path), Lookup(manifest.plain, lambda p: p.path)

    def known(path: str) -> str | None:
        found = spaces.get(path) or plain.get(path)
        # one without sums was taken over from a base
        return found.sums if found and found.stored in _WHOLE and (found.sums or not found.size) else None

    return known


def first_change(want: str, found: str) -> int:
    """Offset of the first chunk in which two files differ, by their sums; they differ."""
    return CHUNK * next((i for i, pair in enumerate(zip_longest(decode(want), decode(found))) if len(set(pair)) > 1))


def _all(
    target: PeerDir, increment: PeerDir | None, contents: Increment | None
) -> Iterator[tuple[str, Damage]]:
    """Each with the directory that it is in."""
    if increment is not None and contents is not None:
        ours = _manifest(increment)
        found = _of_ours(increment, ours) if ours else _of_theirs(increment, contents, target.directory)
        yield from ((increment.directory, damage) for damage in found)
    if not os.path.exists(target.path(BEGUN_NAME)):
        yield from ((target.directory, damage) for damage in _of_target(target))


def _manifest(backup: PeerDir) -> Manifest | None:
    """What we wrote of it, unless another program has changed it since."""
    manifest = backup.manifest
    if manifest is None or not backup.prepared:
        return manifest
    later = manifest.redo.checkpoint != backup.checkpoints.to_lsn
    return None if later or (manifest.state == "backup" and backup.family == "mariadb") else manifest


def _of_target(target: PeerDir) -> Iterator[Damage]:
    manifest = _manifest(target)
    if target.prepared:
        yield from _missing(target, manifest) if manifest else ()
    elif manifest:
        yield from _of_ours(target, manifest)
    else:
        known = _corrupt_in_source(target)
        system = target.system_files
        for place in target.tablespaces():
            name = os.path.relpath(place, target.directory)
            head = system[0] if name in system else ""
            yield from tablespace_damages(target.directory, name, target.family, head=head, known=known.get(name, ()))


def _of_ours(backup: PeerDir, manifest: Manifest) -> Iterator[Damage]:
    told, written = backup.checkpoints, Checkpoints.of(manifest)
    if (told.from_lsn, told.to_lsn, told.last_lsn) != (written.from_lsn, written.to_lsn, written.last_lsn):
        yield Damage(backup.checkpoints_name, "does not say what was written")
    yield from (d for d in damages(manifest, backup.directory, twice=False) if isinstance(d, Damage))


def _missing(backup: PeerDir, manifest: Manifest) -> Iterator[Damage]:
    paths = [s.path for s in manifest.spaces] + [p.path for p in manifest.plain if p.stored == "file"]
    yield from (Damage(path, "is missing") for path in paths if not os.path.exists(backup.path(path)))


def _corrupt_in_source(backup: PeerDir) -> dict[str, frozenset[int]]:
    """Pages that --log-innodb-page-corruption let through: ``db/table SPACE`` and the numbers, on two lines."""
    lines = read_text(backup.path(_CORRUPT_NAME)).splitlines()
    rows = zip(lines[::2], lines[1::2], strict=False)
    try:
        return {f"{name.rpartition(' ')[0]}.ibd": frozenset(map(int, numbers.split())) for name, numbers in rows}
    except ValueError as e:
        raise BackupInvalid(
            f"{backup.path(_CORRUPT_NAME)} is damaged: {e}",
            hint="each second line has page numbers; without the file no page is let through",
        ) from None


# -- increments of the real mariadb-backup -----------------------------------------------------------------------


def _of_theirs(increment: PeerDir, contents: Increment, base: str) -> Iterator[Damage]:
    home = increment.directory
    yield from _metas_alone(home)
    if not contents.partial:
        yield from _lost_without_trace(home, contents, base)
    for piece in contents.pieces:
        name = os.path.relpath(piece.source, home)
        if not piece.page_size:
            yield from tablespace_damages(home, name, increment.family)
            continue
        try:
            geo = _geometry_of(piece, base, contents.system_files[0], increment.family)
            elsewhere = _doublewrite(piece, base, contents.system_files[0], geo)
            yield from (Damage(name, what) for what in _Delta(piece, geo, elsewhere).damages())
        except ValueError as e:
            yield Damage(name, f"is not valid .delta file: {e}")


def _metas_alone(home: str) -> Iterator[Damage]:
    """Without its delta a table would count as dropped. The real tool removes the deltas that it has applied."""
    for path in entries(home):
        name = path.removesuffix(".meta")
        either = (name + ".delta", name.removesuffix(".ibd") + DEL)
        if name != path and not any(os.path.exists(os.path.join(home, other)) for other in either):
            yield Damage(name + ".delta", "is missing")


def _lost_without_trace(home: str, contents: Increment, base: str) -> Iterator[Damage]:
    """Without delta and meta a table would count as dropped; but then its definition would be gone, too."""
    known = Lookup(contents.pieces, lambda piece: piece.path)
    for path in defined_tablespaces(home, entries(home)):
        meta = os.path.join(home, path + ".meta")
        if path not in known and not os.path.exists(meta) and os.path.exists(os.path.join(base, path)):
            yield Damage(
                path + ".delta",
                "is missing, though the table was not dropped: its .frm is there (or its tablespace was discarded"
                " before the backup: then --innodb-force-recovery=1 is right)",
            )


class _Delta:
    """The pages of one delta, in the order in which they lie there. ``passed_over``: numbers of pages not looked at."""

    def __init__(self, piece: Piece, geo: Geometry | None, passed_over: frozenset[int]) -> None:
        self._piece, self._size, self._passed_over = piece, piece.page_size, passed_over
        self._view = memoryview(bytearray(CHUNK))
        self._verifier = ChunkVerifier(self._view, geo) if geo else None

    def damages(self) -> Iterator[str]:
        """What is wrong, for people. Raises ValueError where no cluster begins."""
        end, last = 0, -1
        with open(self._piece.source, "rb", buffering=0) as f:
            for numbers, at in clusters(lambda at, length: os.pread(f.fileno(), length, at), self._size):
                if any(a >= b for a, b in pairwise([last, *numbers])):
                    yield f"the page numbers at offset {at - self._size} do not ascend"
                last = numbers[-1] if numbers else last
                for first in range(0, len(numbers), CHUNK // self._size):
                    part = numbers[first : first + CHUNK // self._size]
                    wanted = self._view[: len(part) * self._size]
                    if os.preadv(f.fileno(), [wanted], at + first * self._size) < len(wanted):
                        raise ValueError("it is cut short")
                    yield from (f"page {n}: wrong checksum" for n in self._wrong(part))
                end = at + len(numbers) * self._size
            if os.fstat(f.fileno()).st_size != end:
                yield "is longer than what was written"

    def _wrong(self, numbers: list[int]) -> Iterator[int]:
        n = self._size
        bad = set(self._verifier.bad(len(numbers) * n)) if self._verifier else set()
        for index, number in enumerate(numbers):
            # through all files of the system tablespace pages are numbered, but not here
            elsewhere = self._piece.space_id and page_no(self._view[index * n : index * n + n]) not in (number, 0)
            if number not in self._passed_over and (index in bad or elsewhere):
                yield number


def _doublewrite(piece: Piece, base: str, system_head: str, geo: Geometry | None) -> frozenset[int]:
    place = os.path.join(base, system_head)
    if geo is None or piece.path != system_head or not os.path.exists(place):
        return frozenset()
    with open(place, "rb") as f:
        return doublewrite_of(f, geo)


def _geometry_of(piece: Piece, base: str, system_head: str, family: Family) -> Geometry | None:
    """Page 0 as the delta has it, or the base under the same name; None where neither tells."""
    found, name = b"", piece.path if piece.space_id else system_head
    if piece.space_id:
        with open(piece.source, "rb", buffering=0) as f:
            numbers, _last = read_header(f.read(piece.page_size), piece.page_size)
            found = f.read(piece.page_size) if numbers[:1] == [0] else b""
    place = os.path.join(base, name)
    if not found and os.path.exists(place):
        with open(place, "rb") as f:
            found = f.read(MAX_PAGE_BYTES)
    if not any(found):
        return None
    geo = geometry(found, family)
    if geo.space_id != piece.space_id:
        return None
    if geo.page_size != piece.page_size:
        raise ValueError(f"its .meta says that a page has {piece.page_size} bytes, its tablespace {geo.page_size}")
    return geo
