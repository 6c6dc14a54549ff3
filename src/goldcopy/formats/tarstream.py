"""The tar that ``--stream=tar`` of XtraBackup 2.4 writes: plain files, ustar headers, pax where ustar is too small.

Source: ``ds_archive.c`` (libarchive's "pax restricted"): mode 0660, owner 0, two zero records at the end. Nothing here
reads it: as with the original that is ``tar -i``.
"""

from __future__ import annotations

import tarfile

from goldcopy.formats.xbstream import encode_path

RECORD_BYTES = 512
END = bytes(2 * RECORD_BYTES)
FILE_MODE = 0o660


def header(path: str, size: int, mtime_s: int = 0) -> bytes:
    """What precedes ``size`` bytes of a file. Raises ValueError for a path that no reader would take."""
    encode_path(path)
    info = tarfile.TarInfo(path)
    info.size, info.mode, info.mtime = size, FILE_MODE, mtime_s
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


def padding(size: int) -> bytes:
    """What follows a file of ``size`` bytes."""
    return bytes(-size % RECORD_BYTES)
