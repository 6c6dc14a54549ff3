"""Pages for tests, sealed in every way a server knows. The sums are written out here once more, independently."""

from __future__ import annotations

import random
import struct
import zlib

POLYNOMIAL = 0x82F63B78
_TABLE = []
for _byte in range(256):
    _value = _byte
    for _ in range(8):
        _value = _value >> 1 ^ (POLYNOMIAL if _value & 1 else 0)
    _TABLE.append(_value)


def crc32c(data: bytes) -> int:
    """CRC-32C, a byte at a time."""
    value = 0xFFFFFFFF
    for byte in data:
        value = value >> 8 ^ _TABLE[(value ^ byte) & 255]
    return value ^ 0xFFFFFFFF


def fold(data: bytes) -> int:
    """ut_fold_binary on the low 32 bits, as in the InnoDB papers."""
    value = 0
    for byte in data:
        value = ((((value ^ byte ^ 1653893711) << 8) + value ^ 1463735687) + byte) & 0xFFFFFFFF
    return value


def page(size: int, *, number: int = 3, lsn: int = 0x123456789A, space: int = 7, kind: int = 17855) -> bytearray:
    """An unsealed page of random content with a proper header and trailer."""
    data = bytearray(random.Random(size * 1000 + number).randbytes(size))
    struct.pack_into(">IIIIQHQI", data, 0, 0, number, 0xFFFFFFFF, 0xFFFFFFFF, lsn, kind, 0, space)
    struct.pack_into(">II", data, size - 8, 0, lsn & 0xFFFFFFFF)
    return data


def page0(flags: int, size: int, space: int = 7) -> bytes:
    """Enough of a page 0 for its geometry."""
    data = bytearray(size)
    struct.pack_into(">I", data, 34, space)
    struct.pack_into(">I", data, 54, flags)
    return bytes(data)


def put(data: bytearray, at: int, value: int) -> bytearray:
    """Store 32 bits."""
    struct.pack_into(">I", data, at, value)
    return data


def full_crc32(data: bytearray) -> bytearray:
    put(data, len(data) - 8, int.from_bytes(data[20:24], "big"))
    return put(data, len(data) - 4, crc32c(data[:-4]))


def full_crc32_compressed(data: bytearray) -> bytearray:
    used = 4096
    struct.pack_into(">H", data, 24, 0x8000 | used >> 8)
    put(data, used - 4, crc32c(data[: used - 4]))
    data[used:] = bytes(len(data) - used)
    return data


def crc32(data: bytearray) -> bytearray:
    total = crc32c(data[4:26]) ^ crc32c(data[38:-8])
    return put(put(data, 0, total), len(data) - 8, total)


def innodb(data: bytearray) -> bytearray:
    put(data, 0, fold(data[4:26]) + fold(data[38:-8]) & 0xFFFFFFFF)
    return put(data, len(data) - 8, fold(data[:26]))


def none(data: bytearray) -> bytearray:
    return put(put(data, 0, 0xDEADBEEF), len(data) - 8, 0xDEADBEEF)


def zip_crc32(data: bytearray) -> bytearray:
    return put(data, 0, crc32c(data[4:16]) ^ crc32c(data[24:26]) ^ crc32c(data[34:]))


def zip_adler(data: bytearray) -> bytearray:
    return put(data, 0, zlib.adler32(data[34:], zlib.adler32(data[24:26], zlib.adler32(data[4:16], 0))))


def mariadb_encrypted(data: bytearray) -> bytearray:
    put(data, 26, 1)
    return put(data, 30, crc32c(data[4:26]) ^ crc32c(data[38:-8]))


def mariadb_zip_encrypted(data: bytearray) -> bytearray:
    put(data, 26, 1)
    return put(data, 30, crc32c(data[4:16]) ^ crc32c(data[24:26]) ^ crc32c(data[34:]))


def mysql_zlib(data: bytearray) -> bytearray:
    """Transparent compression: sealed first, then body compressed, header put at 26."""
    data[1000:-8] = bytes(len(data) - 1008)
    crc32(data)
    body = zlib.compress(bytes(data[38:]))
    struct.pack_into(">HBBHHH", data, 24, 14, 1, 1, 17855, len(data) - 38, len(body))
    data[38:] = body + bytes(len(data) - 38 - len(body))
    return data
