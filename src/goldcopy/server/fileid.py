"""Which file is it really: inode and birth time, since names move and inode numbers are reused at once.

One statx(2) tells all that a listing needs. Called through ctypes: Python's os has it only from 3.15 on.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
from functools import lru_cache
from typing import Any

import msgspec

_AT_FDCWD = -100
_AT_EMPTY_PATH = 0x1000
_STATX_BASIC_AND_BTIME = 0xFFF
# linux/stat.h, struct statx: nlink 16, mode 28, ino 32, size 40; btime 80, ctime 96, mtime 112 (each s64 s, u32 ns)
_FIELDS = struct.Struct("=16xI8xH2xQQ32xqI4xqI4xqI")
_BUFFER_BYTES = 256


class FileState(msgspec.Struct, frozen=True, gc=False):
    """What statx tells. ``identity``: ``ino.sec.ns`` of inode and birth time. ``names``: hard links to it."""

    identity: str
    size: int
    mode: int
    mtime_ns: int
    ctime_ns: int
    names: int = 1


@lru_cache(maxsize=1)
def _statx() -> Any:
    """The C function, None where the C library lacks it."""
    try:
        function = ctypes.CDLL(None, use_errno=True).statx
    except (OSError, AttributeError):
        return None
    function.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_uint, ctypes.c_char_p]
    function.restype = ctypes.c_int
    return function


def state(file: str | int) -> FileState:
    """The state of a path (links followed) or of an open file. Raises OSError.

    Where the kernel or the file system has no birth time the identity says 0 for it.
    """
    function = _statx()
    if function is None:
        return _by_stat(file)
    buffer = ctypes.create_string_buffer(_BUFFER_BYTES)
    if isinstance(file, int):
        failed = function(file, b"", _AT_EMPTY_PATH, _STATX_BASIC_AND_BTIME, buffer)
    else:
        failed = function(_AT_FDCWD, os.fsencode(file), 0, _STATX_BASIC_AND_BTIME, buffer)
    if failed:
        number = ctypes.get_errno()
        if number in (errno.ENOSYS, errno.EPERM):
            return _by_stat(file)
        raise OSError(number, os.strerror(number), file)
    names, mode, inode, size, *times = _FIELDS.unpack_from(buffer)
    born_s, born_ns, changed_s, changed_ns, modified_s, modified_ns = times
    return FileState(
        f"{inode}.{born_s}.{born_ns}",
        size,
        mode,
        modified_s * 1_000_000_000 + modified_ns,
        changed_s * 1_000_000_000 + changed_ns,
        names,
    )


def _by_stat(file: str | int) -> FileState:
    s = os.stat(file)
    return FileState(f"{s.st_ino}.0.0", s.st_size, s.st_mode, s.st_mtime_ns, s.st_ctime_ns, s.st_nlink)


def identity(file: str | int) -> str:
    """``ino.sec.ns`` of a path or an open file. Raises OSError."""
    return state(file).identity
