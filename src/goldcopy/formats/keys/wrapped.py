"""Keys of tablespaces and redo as MySQL writes them: encrypted with the master key, beside the master key's name.

    3   magic ``lCC`` (``lCB`` the same with 5.7's rules, ``lCA`` of 5.7.11: names the server by its id)
    4   number of the master key, 0 = the fixed key of a server that is being initialised
    36  UUID of the server that made the master key
    64  key and IV, AES-256-ECB
    4   CRC-32C of the plain key and IV

In page 0 of a tablespace behind the extent descriptors, in the redo log at 48 of the block at 1024 (os0enc.cc,
``Encryption::fill_encryption_info``; fsp0fsp.cc, ``fsp_header_get_encryption_offset``; log0types.h).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from goldcopy.formats.bigendian import u32
from goldcopy.formats.innodb.sums import crc
from goldcopy.formats.keys.ring import INNODB_PREFIX

REDO_INFO_AT = 48
_MAGIC = b"lCC", b"lCB"
_UUID = re.compile(rb"[0-9a-fA-F-]{36}")
_UUID_AT, _UUID_BYTES, _WRAPPED_BYTES = 7, 36, 64
_INFO_BYTES = _UUID_AT + _UUID_BYTES + _WRAPPED_BYTES + 4
_DESCRIPTORS_AT = 150
_EXTENT_BYTES = 1 << 20
_MIN_EXTENT_PAGES = 64


@dataclass(frozen=True)
class Wrapped:
    """``name``: of the master key in the keyring. ``crc``: tells whether a key is the right one."""

    name: str
    secret: bytes = field(repr=False)
    crc: int

    def opened_by(self, master: bytes) -> bool:
        """Whether this master key encrypted it. Raises ImportError without ``cryptography``."""
        from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

        aes = Cipher(algorithms.AES(master), modes.ECB()).decryptor()  # noqa: S305 - the server's own form
        return crc(aes.update(self.secret)) == self.crc


def info_offset(page_size: int, logical_size: int) -> int:
    """Where page 0 has it. Bytes of a page on disk and in memory differ with ROW_FORMAT=COMPRESSED."""
    extent = max(_MIN_EXTENT_PAGES, _EXTENT_BYTES // logical_size)
    descriptor_bytes = 24 + extent * 2 // 8
    # this page describes as many pages as it has bytes
    return _DESCRIPTORS_AT + descriptor_bytes * (page_size // extent)


def wrapped_at(data: bytes | memoryview, offset: int) -> Wrapped | None:
    """What stands at an offset; None where nothing does, or the fixed key of a server's first moments is enough."""
    info = bytes(data[offset : offset + _INFO_BYTES])
    uuid = info[_UUID_AT : _UUID_AT + _UUID_BYTES]
    if len(info) < _INFO_BYTES or not info.startswith(_MAGIC) or not _UUID.fullmatch(uuid):
        return None
    number = u32(info, 3)
    if not number:
        return None
    secret = info[_UUID_AT + _UUID_BYTES : _INFO_BYTES - 4]
    return Wrapped(f"{INNODB_PREFIX}{uuid.decode()}-{number}", secret, u32(info, _INFO_BYTES - 4))
