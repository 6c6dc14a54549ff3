"""A toy repository in memory: pages by their content, tables that say which page of which file is which content.

It is what the real one will be to a capture: page-addressed, complete for each backup, nothing in it in files.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass, field

from goldcopy.errors import BackupInvalid
from goldcopy.formats.chunksum import CHUNK
from goldcopy.formats.innodb.page import Geometry
from goldcopy.image.chain import key_of
from goldcopy.image.manifest import Manifest
from goldcopy.image.sink import Extent, Sizes

HOLE = b""


@dataclass
class File:
    """``pages``: content by number; ``unit``: bytes of each, ``size``: of the file; what is in no page is a hole."""

    unit: int
    size: int = 0
    pages: dict[int, bytes] = field(default_factory=dict)


@dataclass
class PageStore:
    """``contents``: by hash. ``backups``: each with all of its files, whatever it was taken against."""

    contents: dict[bytes, bytes] = field(default_factory=dict)
    backups: dict[str, tuple[Manifest, dict[str, File]]] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def keep(self, data: bytes) -> bytes:
        if not data.strip(b"\0"):
            return HOLE
        name = hashlib.blake2b(data, digest_size=16).digest()
        with self.lock:
            self.contents[name] = data
        return name

    def page(self, backup: str, path: str, number: int) -> bytes:
        """One page of one file of one backup, and nothing else of it."""
        file = self.backups[backup][1][path]
        name = file.pages.get(number, HOLE)
        return self.contents[name] if name else bytes(file.unit)

    def read(self, backup: str, path: str) -> bytes:
        file = self.backups[backup][1][path]
        return b"".join(self.page(backup, path, n) for n in range(-(-file.size // file.unit)))[: file.size]

    def expire(self, backup: str) -> None:
        """Forget a backup, and all content that no other one has."""
        del self.backups[backup]
        used = {n for _, files in self.backups.values() for f in files.values() for n in f.pages.values()}
        self.contents = {name: data for name, data in self.contents.items() if name in used}


class _Writer:
    def __init__(self, sink: PageSink, path: str, unit: int) -> None:
        self.sink, self.path, self.file = sink, path, File(unit)

    def abort(self) -> None:
        self.sink.forget(self.path)


class _Whole(_Writer):
    def write_at(self, offset: int, data: memoryview, extents: Sequence[Extent] | None = None) -> None:
        for at in range(0, len(data), self.file.unit):
            page = bytes(data[at : at + self.file.unit])
            self.file.pages[(offset + at) // self.file.unit] = self.sink.store.keep(page)

    def finish(self, size: int) -> str:
        self.file.size = size
        for number in [n for n in self.file.pages if n * self.file.unit >= size]:
            del self.file.pages[number]
        self.sink.take(self.path, self.file)
        return ""


class _Delta(_Writer):
    def write_pages(self, numbers: Sequence[int], pages: Sequence[memoryview]) -> None:
        for number, page in zip(numbers, pages, strict=True):
            self.file.pages[number] = self.sink.store.keep(bytes(page))

    def finish(self) -> str:
        self.sink.take(self.path, self.file, delta=True)
        return ""


class _File(_Writer):
    def __init__(self, sink: PageSink, path: str) -> None:
        super().__init__(sink, path, CHUNK)
        self.rest = bytearray()

    @property
    def size(self) -> int:
        return self.file.size

    def write(self, data: bytes | memoryview) -> None:
        self.rest += data
        self.file.size += len(data)
        while len(self.rest) >= CHUNK:
            self._cut(CHUNK)

    def hole(self, length: int) -> None:
        self.write(bytes(length))

    def _cut(self, length: int) -> None:
        self.file.pages[len(self.file.pages)] = self.sink.store.keep(bytes(self.rest[:length]))
        del self.rest[:length]

    def finish(self) -> str:
        if self.rest:
            self._cut(len(self.rest))
        self.sink.take(self.path, self.file)
        return ""


class PageSink(contextlib.AbstractContextManager["PageSink"]):
    """A ``Sink`` into the store. Deltas are laid over the base's pages when the manifest says what they belong to."""

    random_access = True

    def __init__(self, store: PageStore) -> None:
        self.store = store
        self.files: dict[str, File] = {}
        self.deltas: set[str] = set()

    def __exit__(self, *_exc: object) -> None:
        self.abandon()

    def take(self, path: str, file: File, *, delta: bool = False) -> None:
        with self.store.lock:
            self.files[path] = file
            self.deltas |= {path} if delta else set()

    def forget(self, path: str) -> None:
        with self.store.lock:
            self.files.pop(path, None)
            self.deltas.discard(path)

    def open_whole(
        self, path: str, *, size: int, page_size: int, external: str = "", sparse: bool = False
    ) -> _Whole:
        return _Whole(self, path, page_size or 4096)

    def open_delta(self, path: str, *, geometry: Geometry, external: str = "") -> _Delta:
        return _Delta(self, path, geometry.page_size)

    def put_file(self, path: str, *, external: str = "", mode: int = 0o640, mtime_ns: int = 0) -> _File:
        return _File(self, path)

    def make_dir(self, path: str) -> None:
        self.files[path] = File(CHUNK)

    def remove_space(self, path: str) -> None:
        self.forget(path)

    def rename_space(self, old: str, new: str) -> None:
        delta = old in self.deltas
        file = self.files[old]
        self.forget(old)
        self.take(new, file, delta=delta)

    def remove_file(self, path: str) -> None:
        self.forget(path)

    def sizes(self) -> Sizes:
        stored = sum(map(len, self.store.contents.values()))
        return Sizes(stored, stored)

    def relative(self, directory: str) -> str:
        return ""

    def sync(self) -> None:
        pass

    def commit(self, manifest: Manifest) -> None:
        base = self.store.backups[manifest.base_id] if manifest.base_id else None
        for space in manifest.spaces:
            file = self.files[space.path]
            if space.path in self.deltas and not space.complete:
                below = _same_space(base, space.space_id, space.identity)
                file.pages = below.pages | file.pages
            file.size = space.size_final
        for plain in manifest.plain:
            if plain.stored == "base":
                assert base is not None
                self.files[plain.path] = base[1][plain.path]
        self.store.backups[manifest.id] = manifest, self.files
        self.files = {}

    def abandon(self) -> None:
        self.files = {}


def _same_space(base: tuple[Manifest, dict[str, File]] | None, space_id: int, identity: str) -> File:
    if base is not None:
        for space in base[0].spaces:
            if key_of(space) == (space_id, identity):
                return base[1][space.path]
    raise BackupInvalid(f"the base does not hold tablespace {space_id}")
