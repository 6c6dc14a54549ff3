"""Big-endian integers out of raw bytes: all of InnoDB's formats are written so."""

from __future__ import annotations

import struct

from goldcopy.formats import Bytes

_u16 = struct.Struct(">H").unpack_from
_u32 = struct.Struct(">I").unpack_from
_u64 = struct.Struct(">Q").unpack_from


def u16(data: Bytes, offset: int) -> int:
    """16 bits."""
    value: int = _u16(data, offset)[0]
    return value


def u32(data: Bytes, offset: int) -> int:
    """32 bits."""
    value: int = _u32(data, offset)[0]
    return value


def u64(data: Bytes, offset: int) -> int:
    """64 bits."""
    value: int = _u64(data, offset)[0]
    return value
