"""Checksums of a backup directory: made anew after recovery, and compared when a backup is checked."""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import IO

import msgspec

from goldcopy.dialect import choose
from goldcopy.formats import Family
from goldcopy.formats.chunksum import CHUNK, chunk_sum, decode, encode
from goldcopy.formats.delta import Meta, render_meta
from goldcopy.formats.innodb.page import (
    MAX_PAGE_BYTES,
    MIN_PAGE_BYTES,
    SYSTEM_SPACE,
    TRX_SYS_PAGE,
    ChunkVerifier,
    Geometry,
    doublewrite_pages,
    geometry,
    is_unwritten,
    page_no,
)
from goldcopy.formats.packed import Lookup, Packed
from goldcopy.image.chain import stored_name
from goldcopy.image.manifest import BINLOG_TAIL_NAME, Manifest, Plain, Space

_OF_THE_BACKUP = re.compile(
    r"(?:xtrabackup|mariadb_backup)_\w+|backup-my\.cnf|innodb_corrupted_pages|goldcopy\..*"
)


@dataclass(frozen=True)
class Damage:
    """One thing wrong in a backup. ``what``: for people, names file and offset."""

    path: str
    what: str


def file_sums(path: str) -> tuple[int, str]:
    """Size in bytes and chunk sums of a file."""
    sums = []
    size = 0
    with open(path, "rb", buffering=0) as f:
        while data := f.read(CHUNK):
            sums.append(chunk_sum(data))
            size += len(data)
    return size, encode(sums)


def prepared_manifest(manifest: Manifest, directory: str, since_ns: int = 0) -> Manifest:
    """The manifest of a backup whose directory recovery made a clean data directory, whatever it stood on: sizes and
    sums as the files have them now, the redo log that recovery left behind among them.

    ``since_ns``: when recovery began, as ``file_time_ns`` tells it: what was not written since keeps its sums. 0 = all
    files are read.
    """
    spaces = Packed(Space)
    for space in manifest.spaces:
        path = os.path.join(directory, space.path)
        if os.path.exists(path):
            size, sums = _sums_now(path, space.size, space.sums if space.stored == "full" else "", since_ns)
            spaces.append(
                msgspec.structs.replace(space, size=size, size_final=size, sums=sums, stored="full")
            )
    plain = Packed(Plain)
    for entry in manifest.plain:
        path = os.path.join(directory, entry.path)
        if entry.stored == "dir":
            plain.append(entry)
        elif os.path.exists(path):
            size, sums = _sums_now(path, entry.size, entry.sums if entry.stored == "file" else "", since_ns)
            plain.append(msgspec.structs.replace(entry, size=size, sums=sums, stored="file"))
    known = Lookup(spaces, lambda space: space.path), Lookup(plain, lambda entry: entry.path)
    made = (path for path in _files(directory) if not any(path in files for files in known))
    plain.extend([_made_by_recovery(directory, path) for path in made])
    return msgspec.structs.replace(
        manifest, state="prepared", kind="full", base_id="", base_path="", since=0, binlog_tail=0, spaces=spaces,
        plain=plain,
    )


def _sums_now(path: str, size: int, sums: str, since_ns: int) -> tuple[int, str]:
    state = os.stat(path)
    if sums and state.st_mtime_ns < since_ns and state.st_size == size:
        return size, sums
    return file_sums(path)


def _files(directory: str) -> Iterator[str]:
    """Every file below ``directory``, by its relative path, but for those that tell of the backup itself."""
    for root, _dirs, names in os.walk(directory):
        for name in names:
            path = os.path.relpath(os.path.join(root, name), directory)
            if not _OF_THE_BACKUP.fullmatch(path):
                yield path


def _made_by_recovery(directory: str, path: str) -> Plain:
    size, sums = file_sums(os.path.join(directory, path))
    return Plain(path=path, size=size, sums=sums)


def damages(manifest: Manifest, directory: str, *, twice: bool = True) -> Iterator[Damage | int]:
    """Read every stored byte: yields each Damage, and the bytes read in between (for progress).

    ``twice``: look at the checksums inside the pages as well where the file's own are right.
    """
    for space in manifest.spaces:
        yield from _space(manifest, directory, space, twice=twice)
    for plain in manifest.plain:
        if plain.stored == "file":
            yield from _stored(directory, plain.path, plain.size, plain.sums)
    if manifest.state == "backup":
        redo = manifest.redo
        yield from _compare(directory, redo.stored_as, redo.sums)
        if not redo.rebuilt and redo.size < redo.end - redo.start:
            yield Damage(redo.stored_as, f"the redo window has {redo.size} bytes and ends before its end LSN")
        if manifest.binlog_tail:
            yield from _stored(directory, BINLOG_TAIL_NAME, manifest.binlog_tail, manifest.binlog_tail_sums)


def _space(manifest: Manifest, directory: str, space: Space, *, twice: bool) -> Iterator[Damage | int]:
    # an increment was laid over it: its sums are not known, and it grows when the redo is applied
    laid_over = space.stored == "full" and not space.sums and space.size > 0
    if laid_over and not os.path.exists(os.path.join(directory, space.path)):
        yield Damage(space.path, "is missing")
    elif not laid_over:
        yield from _compare(directory, stored_name(space), space.sums)
    if space.stored == "full" and (twice or laid_over):
        yield from page_damages(manifest, directory, space)
    elif space.stored == "delta":
        yield from _meta(directory, space, manifest.server.family)


def _stored(directory: str, name: str, size: int, sums: str) -> Iterator[Damage | int]:
    """A file by its sums; one that was taken over from a base has none here."""
    yield from _compare(directory, name, sums) if sums or not size else _length(directory, name, size)


def _compare(directory: str, name: str, sums: str) -> Iterator[Damage | int]:
    path = os.path.join(directory, name)
    want = decode(sums)
    try:
        f = open(path, "rb", buffering=0)
    except FileNotFoundError:
        yield Damage(name, "is missing")
        return
    with f:
        for number, expected in enumerate(want):
            data = f.read(CHUNK)
            yield len(data)
            if not data:
                yield Damage(name, f"ends at byte {number * CHUNK}: cut short")
                return
            if chunk_sum(data) != expected:
                yield Damage(name, f"bytes changed between offset {number * CHUNK} and {number * CHUNK + len(data)}")
        if f.read(1):
            yield Damage(name, "is longer than what was written")


def _meta(directory: str, space: Space, family: Family) -> Iterator[Damage | int]:
    """The text beside a delta is not in the sums: the manifest knows all that it says.

    The tablespace's id may be left out, as it was before XtraBackup 2.0.2: who lays the delta over asks the base.
    """
    name = space.path + ".meta"
    want = render_meta(Meta(space.page_size, space.zip_size, space.space_id, space.flags), family).encode()
    without_id = want.replace(b"space_id = %d\n" % space.space_id, b"")
    try:
        with open(os.path.join(directory, name), "rb") as f:
            found = f.read(len(want) + 1)
    except FileNotFoundError:
        yield Damage(name, "is missing")
        return
    yield len(found)
    if found not in (want, without_id):
        yield Damage(name, "does not say what was written")


def _length(directory: str, name: str, size: int) -> Iterator[Damage | int]:
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        yield Damage(name, "is missing")
    elif os.path.getsize(path) != size:
        yield Damage(name, f"has {os.path.getsize(path)} bytes, {size} were written")


def page_damages(manifest: Manifest, directory: str, space: Space) -> Iterator[Damage]:
    """The pages of a full file whose own checksum is wrong, whatever the manifest says of the file."""
    server = manifest.server
    head = _system_head(manifest, directory) if space.space_id == SYSTEM_SPACE else ""
    legacy = choose(server.version, force=True).legacy_checksums
    return tablespace_damages(directory, space.path, server.family, head=head, known=space.corrupt, legacy=legacy)


def _system_head(manifest: Manifest, directory: str) -> str:
    """Of the files of the system tablespace the first: pages are numbered through all of them."""
    places = ((s.path, os.path.join(directory, s.path)) for s in manifest.spaces if s.space_id == SYSTEM_SPACE)
    # one that is missing is told of by itself
    return next((name for name, at in places if os.path.exists(at) and page_no(_first_page(at)) == 0), "")


def _first_page(path: str) -> bytes:
    with open(path, "rb") as f:
        return f.read(MAX_PAGE_BYTES)


def tablespace_damages(
    directory: str, name: str, family: Family, *, head: str = "", known: Collection[int] = (), legacy: bool = False
) -> Iterator[Damage]:
    """The pages' own checksums: they also find what was already wrong when the file was summed.

    ``head``: the tablespace's first file, which tells what all of them are like; "" = this one. ``known``: pages that
    were bad in the source. ``legacy``: see ``ChunkVerifier``.
    """
    path = os.path.join(directory, name)
    later = head not in ("", name)
    try:
        page0 = _first_page(os.path.join(directory, head) if later else path)
        if len(page0) < MIN_PAGE_BYTES or is_unwritten(page0):
            return
        geo = geometry(page0, family)
        with open(path, "rb", buffering=0) as f:
            skipped = frozenset() if later else doublewrite_of(f, geo)
            for page in _bad_pages(f, geo, legacy=legacy):
                if page not in known and page not in skipped:
                    yield Damage(name, f"page {page} (offset {page * geo.page_size}): wrong checksum")
    except FileNotFoundError:
        return
    except ValueError as e:
        yield Damage(name, f"page 0 makes no sense: {e}")


def doublewrite_of(f: IO[bytes], geo: Geometry) -> frozenset[int]:
    """Pages of a tablespace's first file where other tablespaces' pages lie: they are not its own."""
    if geo.space_id != SYSTEM_SPACE:
        return frozenset()
    f.seek(TRX_SYS_PAGE * geo.page_size)
    return doublewrite_pages(f.read(geo.page_size), geo)


def _bad_pages(f: IO[bytes], geo: Geometry, *, legacy: bool) -> Iterator[int]:
    buffer = bytearray(CHUNK)
    verifier = ChunkVerifier(memoryview(buffer), geo, legacy=legacy)
    f.seek(0)
    at = 0
    while got := f.readinto(buffer):  # type: ignore[attr-defined]
        yield from (at // geo.page_size + index for index in verifier.bad(got - got % geo.page_size))
        at += got
