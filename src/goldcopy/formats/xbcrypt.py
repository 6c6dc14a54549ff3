"""xbcrypt: AES in counter mode, one chunk behind the other, each with its own checksum.

    0   8  magic ``XBCRYP03`` (or ``01``, ``02``)      32  4  CRC-32 of the encrypted bytes
    8   8  reserved, 0                                 36  8  IV length, 16 (absent in version 1)
    16  8  original size: plain bytes (+ 32 in v3)     44 16  IV = first counter block (ignored by version 2)
    24  8  encrypted size, the same                    60     AES-CTR(plain bytes, in v3 with their SHA-256 behind)

Sources: ``xbcrypt_write.cc``, ``xbcrypt_read.cc``, ``xbcrypt_common.cc`` of XtraBackup 2.4 and 8.0; little-endian.
Versions 1 and 2 count from zero in every chunk, and cannot tell a wrong key.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Generator
from typing import Protocol

from fastcrc import crc32

from goldcopy.formats import Bytes
from goldcopy.formats.pieces import PieceDecoder

MAGIC = b"XBCRYP"
KEY_BYTES = {"NONE": 0, "AES128": 16, "AES192": 24, "AES256": 32}
IV_BYTES = 16
HASH_BYTES = 32
MAX_CHUNK_BYTES = (1 << 31) - 1
DEFAULT_CHUNK_BYTES = 64 << 10

_FIXED = struct.Struct("<8sQQQI")
_IV_LENGTH = struct.Struct("<Q")


class WrongKeyError(ValueError):
    """The data are undamaged, but this key does not decrypt them."""


class _Stream(Protocol):
    def update(self, data: Bytes) -> bytes: ...


class _Plain:
    """The algorithm NONE."""

    def update(self, data: Bytes) -> bytes:
        return bytes(data)


class Cipher:
    """An algorithm of ``KEY_BYTES`` with its key: the key's bytes themselves, nothing is derived from them.

    Raises ValueError for an unknown algorithm or a key of the wrong length, ImportError without ``cryptography``.
    """

    def __init__(self, algorithm: str, key: bytes) -> None:
        length = KEY_BYTES.get(algorithm.upper())
        if length is None:
            raise ValueError(f"no encryption algorithm {algorithm!r}; there are {', '.join(KEY_BYTES)}")
        if length and len(key) != length:
            raise ValueError(
                f"{algorithm} takes a key of {length} bytes, this one has {len(key)}"
                + (" (does the key file end with a newline?)" if key.endswith(b"\n") else "")
            )
        self.verifies = bool(length)
        self._aes = None
        if length:
            from cryptography.hazmat.primitives.ciphers import algorithms

            self._aes = algorithms.AES(key)

    def stream(self, iv: bytes) -> _Stream:
        """A key stream from the counter block ``iv`` on: it encrypts and decrypts."""
        if self._aes is None:
            return _Plain()
        from cryptography.hazmat.primitives.ciphers import Cipher as Library
        from cryptography.hazmat.primitives.ciphers import modes

        return Library(self._aes, modes.CTR(iv)).encryptor()


def encode_chunk(cipher: Cipher, plain: Bytes, iv: bytes) -> bytes:
    """One chunk of version 3. ``iv``: 16 bytes that were never used with this key before."""
    size = len(plain) + HASH_BYTES
    if size > MAX_CHUNK_BYTES or len(iv) != IV_BYTES:
        raise ValueError(f"no xbcrypt chunk: {len(plain)} bytes, an IV of {len(iv)}")
    stream = cipher.stream(iv)
    sealed = stream.update(plain) + stream.update(hashlib.sha256(plain).digest())
    head = _FIXED.pack(MAGIC + b"03", 0, size, size, crc32.iso_hdlc(sealed))
    return head + _IV_LENGTH.pack(IV_BYTES) + iv + sealed


class Decoder(PieceDecoder[bytes]):
    """Decrypts a file that comes in pieces of any size, in memory that does not grow with its chunks.

    Everything that is wrong raises ValueError (a wrong key: ``WrongKeyError``). The bytes of a chunk are handed out
    before its sums are known: they count only when ``finish`` has returned.
    """

    def __init__(self, cipher: Cipher) -> None:
        super().__init__(
            cut="the encrypted data are cut inside a chunk",
            damaged="the encrypted data were already found to be damaged",
        )
        self._cipher = cipher

    def _read(self) -> Generator[bytes | None, None, None]:
        while not (yield from self._ends()):
            at = self._at
            magic, _, original, size, wanted = _FIXED.unpack((yield from self._exactly(_FIXED.size)))
            version = magic[len(MAGIC) :]
            if magic[: len(MAGIC)] != MAGIC or version not in (b"01", b"02", b"03"):
                raise ValueError(f"no xbcrypt chunk begins at byte {at}: wrong magic {magic!r}")
            hashed = HASH_BYTES if version == b"03" else 0
            if size > MAX_CHUNK_BYTES or original != size or size < hashed:
                raise ValueError(f"impossible sizes ({original}, {size}) in the xbcrypt chunk at byte {at}")
            iv = yield from self._iv(version, at)
            yield from self._body(size, hashed, iv, wanted, at)

    def _iv(self, version: bytes, at: int) -> Generator[None, None, bytes]:
        if version == b"01":
            return bytes(IV_BYTES)
        (length,) = _IV_LENGTH.unpack((yield from self._exactly(_IV_LENGTH.size)))
        if length != IV_BYTES:
            raise ValueError(f"an IV of {length} bytes in the xbcrypt chunk at byte {at}")
        iv = yield from self._exactly(length)
        return iv if version == b"03" else bytes(IV_BYTES)

    def _body(self, size: int, hashed: int, iv: bytes, wanted: int, at: int) -> Generator[bytes | None, None, None]:
        stream, digest, crc, left = self._cipher.stream(iv), hashlib.sha256(), 0, size - hashed
        while left:
            piece = yield from self._some(left)
            crc = crc32.iso_hdlc(piece, crc)
            left -= len(piece)
            plain = stream.update(piece)
            digest.update(plain)
            yield plain
        tail = yield from self._exactly(hashed)
        if crc32.iso_hdlc(tail, crc) != wanted:
            raise ValueError(f"the xbcrypt chunk at byte {at} is damaged: its checksum is wrong")
        # the writers leave the hash undefined for NONE
        if hashed and self._cipher.verifies and stream.update(tail) != digest.digest():
            raise WrongKeyError(f"the key (or the algorithm) is not the one of the xbcrypt chunk at byte {at}")
