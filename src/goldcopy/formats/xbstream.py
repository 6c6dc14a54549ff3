"""The stream of xbstream and mbstream: chunks of many files, one behind the other, nothing around them.

    0   8  magic ``XBSTCK01``           then by type, behind the path:
    8   1  flags, always 0              P  8 length, 8 offset, 4 CRC-32 of the payload, payload
    9   1  type                         E  nothing: the file is whole
    10  4  length n of the path         S  of XtraBackup: 4 entries, 8 length, 8 offset, 4 CRC-32 of map and payload,
    14  n  path                            entries of (4 skip, 4 length), payload
                                        S  of MariaDB: 8 offset, where the file goes on
                                        R  4 length, new path;  D nothing

Sources: ``xbstream_write.cc``, ``xbstream_read.cc``, ``xbstream.cc`` of XtraBackup 8.0 and of MariaDB 10.5 to 11.8;
numbers are little-endian. The peers' readers end quietly, with status 0, on several kinds of damage; this one takes
all of them for errors.
"""

from __future__ import annotations

import struct
from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from fastcrc import crc32

from goldcopy.formats import Bytes
from goldcopy.formats.pieces import PieceDecoder

MAGIC = b"XBSTCK01"
MAX_PATH_BYTES = 511
"""Their readers refuse 512 (FN_REFLEN)."""

CHUNK_BYTES = 256 << 10
"""Payload of the largest chunks that we write; the peers write up to 10 MiB, and readers must take any. The real
mbstream unpacks 3.3 GiB in chunks of 256 KiB in 3 s, of 1 MiB in 6, of 4 MiB in 10: small ones stay in the cache.
"""

MAX_FILE_BYTES = (1 << 63) - 1

MAX_MAP_ENTRIES = 1 << 20
"""Ranges of one sparse chunk: far more than 10 MiB of pages can have, and a bound for our memory."""

_HEAD = struct.Struct("<8sBcI")
_PAYLOAD = struct.Struct("<QQI")
_SPARSE = struct.Struct("<IQQI")
_U32, _U64 = struct.Struct("<I"), struct.Struct("<Q")


# -- writing -------------------------------------------------------------------------------------------------------


def _head(kind: bytes, path: str) -> bytes:
    name = encode_path(path)
    return _HEAD.pack(MAGIC, 0, kind, len(name)) + name


def encode_path(path: str) -> bytes:
    """The bytes of a path in a stream. Raises ValueError for one that no reader would take."""
    name = path.encode("utf-8", "surrogateescape")
    _check_path(name, absolute=True)
    return name


def check_path(path: str) -> None:
    """Raises ValueError for a path that is absolute, leads out of its directory, or cannot be sent."""
    _check_path(path.encode("utf-8", "surrogateescape"), absolute=False)


def payload_header(path: str, offset: int, data: Bytes) -> bytes:
    """What precedes ``data`` in a stream: these bytes belong at ``offset`` of the file, where it ended so far."""
    return _head(b"P", path) + _PAYLOAD.pack(len(data), offset, crc32.iso_hdlc(data))


def end(path: str) -> bytes:
    """The file is whole. An empty file is this alone."""
    return _head(b"E", path)


def sparse_header(path: str, offset: int, ranges: Sequence[tuple[int, int]], data: Bytes) -> bytes:
    """XtraBackup's chunk with holes: precedes ``data``.

    ``ranges``: (bytes to skip, bytes of ``data`` that follow), from ``offset`` on. MariaDB's readers cannot read it.
    """
    if sum(length for _, length in ranges) != len(data):
        raise ValueError("the ranges are not the payload")
    table = b"".join(struct.pack("<II", skip, length) for skip, length in ranges)
    crc = crc32.iso_hdlc(data, crc32.iso_hdlc(table))
    return _head(b"S", path) + _SPARSE.pack(len(ranges), len(data), offset, crc) + table


def seek(path: str, offset: int) -> bytes:
    """MariaDB 10.11 and later: the file goes on at ``offset``."""
    return _head(b"S", path) + _U64.pack(offset)


def rename(old: str, new: str) -> bytes:
    """MariaDB 10.11 and later: a file that is whole gets another name."""
    name = encode_path(new)
    return _head(b"R", old) + _U32.pack(len(name)) + name


def remove(path: str) -> bytes:
    """MariaDB 10.11 and later: a file that is whole, or missing, is to be no more."""
    return _head(b"D", path)


# -- reading -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Payload:
    """Bytes of a file. ``data`` may be a part of a chunk, and its memory is the caller's of ``feed``."""

    path: str
    offset: int
    data: memoryview


@dataclass(frozen=True, slots=True)
class Hole:
    """A range of zeros that needs no room."""

    path: str
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Seek:
    """The file goes on at ``offset``: what lies there is overwritten, what is skipped is zeros."""

    path: str
    offset: int


@dataclass(frozen=True, slots=True)
class End:
    """The file is whole; ``size`` bytes, holes included."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Rename:
    """A file that is whole gets another name."""

    path: str
    new: str


@dataclass(frozen=True, slots=True)
class Remove:
    """A file that is whole is to be no more; it may be missing."""

    path: str


Event: TypeAlias = Payload | Hole | Seek | End | Rename | Remove


class Decoder(PieceDecoder[Event]):
    """Reads a stream that comes in pieces of any size, in memory that does not grow with its chunks.

    Everything that is wrong raises ValueError, which says where; so does every call after that. The bytes of a chunk
    are handed out before its checksum is known: they count only when the file's ``End`` has come. A file whose last
    chunk is missing is found by ``finish``.

    ``absolute``: absolute paths are taken as well (``..`` never).
    """

    def __init__(self, *, absolute: bool = False) -> None:
        super().__init__(
            cut="the stream is cut inside a chunk", damaged="the stream was already found to be damaged"
        )
        self._absolute = absolute
        self._files: dict[str, _File] = {}

    @property
    def open_files(self) -> tuple[str, ...]:
        """Paths that have begun and have not ended."""
        return tuple(self._files)

    def finish(self) -> list[Event]:
        """The input has ended: the last events. Raises ValueError when the stream does not end here."""
        last = super().finish()
        if self._files:
            names = ", ".join(sorted(self._files)[:3])
            raise ValueError(f"the stream ends although {len(self._files)} files are not whole ({names})")
        return last

    def _read(self) -> Generator[Event | None, None, None]:
        ahead = b""
        while True:
            at = self._at - len(ahead)
            head = ahead + (yield from self._up_to(_HEAD.size - len(ahead)))
            if not head:
                return
            if len(head) < _HEAD.size:
                raise ValueError(f"the stream is cut inside the chunk at byte {at}")
            ahead = yield from self._chunk(head, at)

    def _chunk(self, head: bytes, at: int) -> Generator[Event | None, None, bytes]:
        """One chunk; returns bytes of the next one that had to be looked at."""
        magic, _flags, kind, length = _HEAD.unpack(head)
        if magic != MAGIC:
            raise ValueError(f"no chunk begins at byte {at} of the stream: wrong magic {magic!r}")
        path = yield from self._path(length)
        match kind:
            case b"P":
                yield from self._payload(path, at)
            case b"E":
                yield End(path, self._files.pop(path, _File()).offset)
            case b"S":
                return (yield from self._sparse_or_seek(path, at))
            case b"R":
                (length,) = _U32.unpack((yield from self._exactly(_U32.size)))
                yield Rename(self._closed(path, at), (yield from self._path(length)))
            case b"D":
                yield Remove(self._closed(path, at))
            case _:
                raise ValueError(f"unknown chunk type {kind!r} at byte {at} of the stream")
        return b""

    def _closed(self, path: str, at: int) -> str:
        if path in self._files:
            raise ValueError(f"{path} is renamed or removed at byte {at} of the stream before it is whole")
        return path

    def _path(self, length: int) -> Generator[None, None, str]:
        if not 0 < length <= MAX_PATH_BYTES:
            raise ValueError(f"a path of {length} bytes near byte {self._at} of the stream")
        name = yield from self._exactly(length)
        _check_path(name, absolute=self._absolute)
        return name.decode("utf-8", "surrogateescape")

    def _at_expected(self, path: str, offset: int, at: int) -> _File:
        file = self._files.setdefault(path, _File())
        if offset != file.offset:
            raise ValueError(
                f"{path}: a chunk is missing or out of order: the one at byte {at} of the stream is for offset "
                f"{offset}, expected {file.offset}"
            )
        return file

    def _payload(self, path: str, at: int) -> Generator[Event | None, None, None]:
        left, offset, wanted = _PAYLOAD.unpack((yield from self._exactly(_PAYLOAD.size)))
        file = self._at_expected(path, offset, at)
        crc = yield from self._pass_on(path, file, left, 0)
        _check_sum(path, at, crc, wanted)

    def _pass_on(self, path: str, file: _File, left: int, crc: int) -> Generator[Event | None, None, int]:
        """Hand out the next ``left`` bytes; returns the checksum, continued from ``crc``."""
        while left:
            piece = yield from self._some(left)
            crc = crc32.iso_hdlc(piece, crc)
            offset, file.offset = file.offset, file.offset + len(piece)
            left -= len(piece)
            yield Payload(path, offset, piece)
        return crc

    def _sparse_or_seek(self, path: str, at: int) -> Generator[Event | None, None, bytes]:
        """MariaDB's chunk is 8 bytes and then the next magic, or the end. In XtraBackup's that would be a length
        of 6e18 bytes, so nothing can be both."""
        look = yield from self._up_to(_U64.size + len(MAGIC))
        ahead = look[_U64.size :]
        if len(look) < _U64.size or ahead not in (b"", MAGIC):
            yield from self._sparse(path, at, look + (yield from self._exactly(_SPARSE.size - len(look))))
            return b""
        (offset,) = _U64.unpack_from(look)
        if offset > MAX_FILE_BYTES:
            raise ValueError(f"{path}: the chunk at byte {at} of the stream is for offset {offset}")
        self._files.setdefault(path, _File()).offset = offset
        yield Seek(path, offset)
        return ahead

    def _sparse(self, path: str, at: int, fields: bytes) -> Generator[Event | None, None, None]:
        entries, length, offset, wanted = _SPARSE.unpack(fields)
        if entries > MAX_MAP_ENTRIES:
            raise ValueError(f"{path}: {entries} ranges in the sparse chunk at byte {at} of the stream")
        table = yield from self._exactly(entries * 8)
        ranges = list(struct.iter_unpack("<II", table))
        if sum(n for _, n in ranges) != length:
            raise ValueError(f"{path}: the map of the sparse chunk at byte {at} of the stream is wrong")
        file, crc = self._at_expected(path, offset, at), crc32.iso_hdlc(table)
        for skip, count in ranges:
            if skip:
                yield Hole(path, file.offset, skip)
                file.offset += skip
            crc = yield from self._pass_on(path, file, count, crc)
        _check_sum(path, at, crc, wanted)


class _File:
    """Where a file that has begun goes on."""

    __slots__ = ("offset",)

    def __init__(self) -> None:
        self.offset = 0


def _check_sum(path: str, at: int, found: int, wanted: int) -> None:
    if found != wanted:
        raise ValueError(
            f"{path}: the chunk at byte {at} of the stream is damaged: its checksum is {found:08x}, not {wanted:08x}"
        )


def _check_path(name: bytes, *, absolute: bool) -> None:
    """Raises ValueError for a path that could lead somewhere else than its words say."""
    if not 0 < len(name) <= MAX_PATH_BYTES:
        raise ValueError(f"a path of {len(name)} bytes, where at most {MAX_PATH_BYTES} can be sent: {name[:60]!r}")
    if b"\0" in name:
        raise ValueError(f"a path with a NUL: {name!r}")
    if name.startswith(b"/") and not absolute:
        raise ValueError(f"an absolute path: {name!r}")
    parts = name.split(b"/")
    if b".." in parts or parts[-1] in (b"", b"."):
        raise ValueError(f"a path that leads out of its directory or names none: {name!r}")


def path_parts(path: str) -> list[str]:
    """The words of a path that the decoder let through, without what means nothing (``./a//b`` -> a, b)."""
    return [part for part in path.split("/") if part not in ("", ".")]
