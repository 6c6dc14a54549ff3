"""The tar that ``--stream=tar`` of XtraBackup 2.4 writes: plain files, ustar headers, pax where ustar is too small.

Source: ``ds_archive.c`` (libarchive's "pax restricted"): mode 0660, owner 0, two zero records at the end. As it is
read with ``tar -i``, zero records may stand anywhere. The headers are made by the standard library; reading is done
here, because that library ends quietly at a damaged header, which for a backup must be an error.
"""

from __future__ import annotations

import tarfile
from collections.abc import Generator
from dataclasses import dataclass

from goldcopy.formats.pieces import PieceDecoder
from goldcopy.formats.xbstream import End, Event, Payload, check_path, encode_path

RECORD_BYTES = 512
END = bytes(2 * RECORD_BYTES)
FILE_MODE = 0o660
_ZERO_RECORD = bytes(RECORD_BYTES)
_MAX_EXTRA_BYTES = 64 << 10
_PLAIN = {tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE}


def header(path: str, size: int, mtime_s: int = 0) -> bytes:
    """What precedes ``size`` bytes of a file. Raises ValueError for a path that no reader would take."""
    encode_path(path)
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size, FILE_MODE, mtime_s
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows a file of ``size`` bytes."""
    return bytes(-size % RECORD_BYTES)


@dataclass
class _Extra:
    """What a pax header says of the file behind it."""

    path: str | None = None
    size: int | None = None


class Decoder(PieceDecoder[Event]):
    """Reads a tar stream that comes in pieces of any size: the same events as ``xbstream.Decoder``.

    Everything that is wrong raises ValueError; so does a link or a device, and an end without a zero record.
    Directories are skipped: the files in them say that they exist.
    """

    def __init__(self, *, absolute: bool = False) -> None:
        super().__init__(
            cut="the archive is cut inside a file or a header", damaged="the archive was already found to be damaged"
        )
        self._absolute = absolute
        self._closed = True
        self._open: tuple[str, ...] = ()

    @property
    def open_files(self) -> tuple[str, ...]:
        """Paths that have begun and have not ended."""
        return self._open

    def finish(self) -> list[Event]:
        """The input has ended. Raises ValueError when the archive does not end here."""
        last = super().finish()
        if not self._closed:
            raise ValueError("the archive is cut: it does not end with a zero record")
        return last

    def _read(self) -> Generator[Event | None, None, None]:
        extra = _Extra()
        while not (yield from self._ends()):
            at = self._at
            record = yield from self._exactly(RECORD_BYTES)
            self._closed = record == _ZERO_RECORD
            if self._closed:
                continue
            extra = yield from self._member(_info(record, at), extra, at)

    def _member(self, info: tarfile.TarInfo, extra: _Extra, at: int) -> Generator[Event | None, None, _Extra]:
        """One header and what follows it; returns what the next header is to be read with."""
        size = info.size if extra.size is None else extra.size
        if size < 0:
            raise ValueError(f"a file of {size} bytes in the archive at byte {at}")
        if info.type in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
            data = yield from self._extra_data(info.size, at)
            if info.type == tarfile.XGLTYPE:
                return extra
            if info.type == tarfile.XHDTYPE:
                return _pax(data, at)
            return _Extra(path=_text(data.rstrip(b"\0")))
        if info.type == tarfile.DIRTYPE:
            return _Extra()
        if info.type not in _PLAIN:
            raise ValueError(f"the archive holds something that is no plain file at byte {at}: type {info.type!r}")
        path = info.name if extra.path is None else extra.path
        (encode_path if self._absolute else check_path)(path)
        yield from self._file(path, size)
        return _Extra()

    def _file(self, path: str, size: int) -> Generator[Event | None, None, None]:
        self._open, offset = (path,), 0
        while offset < size:
            piece = yield from self._some(size - offset)
            yield Payload(path, offset, piece)
            offset += len(piece)
        yield from self._exactly(-size % RECORD_BYTES)
        self._open = ()
        yield End(path, size)

    def _extra_data(self, size: int, at: int) -> Generator[None, None, bytes]:
        if size > _MAX_EXTRA_BYTES:
            raise ValueError(f"a header of {size} bytes in the archive at byte {at}")
        data = yield from self._exactly(size)
        yield from self._exactly(-size % RECORD_BYTES)
        return data


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _info(record: bytes, at: int) -> tarfile.TarInfo:
    try:
        return tarfile.TarInfo.frombuf(record, "utf-8", "surrogateescape")
    except tarfile.HeaderError as e:
        raise ValueError(f"no file begins at byte {at} of the archive: {e}") from e


def _pax(data: bytes, at: int) -> _Extra:
    """Records ``<length> key=value\\n``; the length counts itself."""
    extra = _Extra()
    while data:
        digits, space, _ = data.partition(b" ")
        length = int(digits) if digits.isdigit() and space else 0
        key, equals, value = data[len(digits) + 1 : length].partition(b"=")
        if not equals or not value.endswith(b"\n") or length > len(data):
            raise ValueError(f"a damaged pax header at byte {at} of the archive")
        if key == b"path":
            extra.path = _text(value[:-1])
        elif key == b"size" and value[:-1].isdigit():
            extra.size = int(value)
        elif key.startswith(b"GNU.sparse"):
            raise ValueError(f"a sparse file in the archive at byte {at}: not written by XtraBackup")
        data = data[length:]
    return extra
