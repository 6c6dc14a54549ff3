"""Checksums of a backup directory: made anew after recovery, and compared when a backup is checked."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass

import msgspec

from goldcopy.formats import Family
from goldcopy.formats.chunksum import CHUNK, chunk_sum, decode, encode
from goldcopy.formats.delta import Meta, render_meta
from goldcopy.formats.innodb.page import TRX_SYS_PAGE, ChunkVerifier, doublewrite_pages, geometry, is_unwritten
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


def resum(manifest: Manifest, directory: str, since_ns: int = 0) -> Manifest:
    """The manifest of a prepared directory: sizes and sums as the recovered files have them, the redo log that
    recovery left behind among them.

    ``since_ns``: when recovery began, nanoseconds since the epoch: what was not written since keeps its sums. 0 = all
    files are read.
    """
    spaces = []
    for space in manifest.spaces:
        path = os.path.join(directory, space.path)
        if os.path.exists(path):
            size, sums = _sums_now(path, space.size, space.sums if space.stored == "full" else "", since_ns)
            spaces.append(
                msgspec.structs.replace(space, size=size, size_final=size, sums=sums, stored="full")
            )
    plain = []
    for entry in manifest.plain:
        path = os.path.join(directory, entry.path)
        if entry.stored == "dir":
            plain.append(entry)
        elif os.path.exists(path):
            size, sums = _sums_now(path, entry.size, entry.sums if entry.stored == "file" else "", since_ns)
            plain.append(msgspec.structs.replace(entry, size=size, sums=sums, stored="file"))
    known = {space.path for space in spaces} | {entry.path for entry in plain}
    plain += [_made_by_recovery(directory, path) for path in _files(directory) if path not in known]
    return msgspec.structs.replace(manifest, spaces=tuple(spaces), plain=tuple(plain))


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


def damages(manifest: Manifest, directory: str) -> Iterator[Damage | int]:
    """Read every stored byte: yields each Damage, and the bytes read in between (for progress)."""
    for space in manifest.spaces:
        yield from _compare(directory, stored_name(space), space.sums)
        if space.stored == "full":
            yield from _pages(directory, space, manifest)
        elif space.stored == "delta":
            yield from _meta(directory, space, manifest.server.family)
    for plain in manifest.plain:
        if plain.stored == "file":
            yield from _compare(directory, plain.path, plain.sums)
    if manifest.state == "backup":
        redo = manifest.redo
        yield from _compare(directory, redo.stored_as, redo.sums)
        if not redo.rebuilt and redo.size < redo.end - redo.start:
            yield Damage(redo.stored_as, f"the redo window has {redo.size} bytes and ends before its end LSN")
        if manifest.binlog_tail:
            yield from _tail(directory, manifest)


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
    """The text beside a delta is not in the sums: the manifest knows all that it says."""
    name = space.path + ".meta"
    want = render_meta(Meta(space.page_size, space.zip_size, space.space_id, space.flags), family).encode()
    try:
        with open(os.path.join(directory, name), "rb") as f:
            found = f.read(len(want) + 1)
    except FileNotFoundError:
        yield Damage(name, "is missing")
        return
    yield len(found)
    if found != want:
        yield Damage(name, "does not say what was written")


def _tail(directory: str, manifest: Manifest) -> Iterator[Damage | int]:
    if manifest.binlog_tail_sums:
        yield from _compare(directory, BINLOG_TAIL_NAME, manifest.binlog_tail_sums)
    else:
        yield from _length(directory, BINLOG_TAIL_NAME, manifest.binlog_tail)


def _length(directory: str, name: str, size: int) -> Iterator[Damage | int]:
    path = os.path.join(directory, name)
    if not os.path.exists(path):
        yield Damage(name, "is missing")
    elif os.path.getsize(path) != size:
        yield Damage(name, f"has {os.path.getsize(path)} bytes, {size} were written")


def page_damages(manifest: Manifest, directory: str, space: Space) -> Iterator[Damage]:
    """The pages of a full file whose own checksum is wrong, whatever the manifest says of the file."""
    return (found for found in _pages(directory, space, manifest) if isinstance(found, Damage))


def _pages(directory: str, space: Space, manifest: Manifest) -> Iterator[Damage | int]:
    """The pages' own checksums: they also find what was already wrong when the file was summed."""
    path = os.path.join(directory, space.path)
    known = set(space.corrupt)
    # other tablespaces' pages lie in the doublewrite extents: they are not this file's pages
    skipped: frozenset[int] = frozenset()
    try:
        with open(path, "rb", buffering=0) as f:
            page0 = f.read(65536)
            if len(page0) < 4096 or is_unwritten(page0):
                return
            geo = geometry(page0, manifest.server.family)
            view = memoryview(bytearray(CHUNK))
            verifier = ChunkVerifier(view, geo, legacy=manifest.server.dialect == "mysql-5.6")
            f.seek(TRX_SYS_PAGE * geo.page_size)
            if space.space_id == 0:
                skipped = doublewrite_pages(f.read(geo.page_size), geo)
            f.seek(0)
            at = 0
            while got := f.readinto(view):
                for index in verifier.bad(got - got % geo.page_size):
                    page = at // geo.page_size + index
                    if page not in known and page not in skipped:
                        yield Damage(space.path, f"page {page} (offset {page * geo.page_size}): wrong checksum")
                at += got
    except (FileNotFoundError, ValueError) as e:
        if isinstance(e, ValueError):
            yield Damage(space.path, f"page 0 makes no sense: {e}")
