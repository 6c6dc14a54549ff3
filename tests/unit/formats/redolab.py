"""Redo logs for tests: a writer of circular logs, independent of the code under test in all but the layout's facts."""

from __future__ import annotations

import random
import struct

from fastcrc import crc32

from goldcopy.formats.redo import Window

crc = crc32.iscsi
STREAM_HEADER = 12288


def record(rnd: random.Random) -> bytes:
    """One record of random type and length, its length coded in one of the four ways."""
    kind = rnd.randrange(1, 16) << 4
    low, high = rnd.choice([(1, 16), (16, 140), (140, 16000), (17000, 20000)])
    size = rnd.randrange(low, high)
    if size < 16:
        return bytes([kind | size]) + rnd.randbytes(size)
    for width, low, high, lead in ((1, 0, 0x80, 0), (2, 0x80, 0x4080, 0x80), (3, 0x4080, 0x204080, 0xC0)):
        value = size - 15
        if value < high:
            code = bytearray((value - low).to_bytes(width, "big"))
            code[0] |= lead
            return bytes([kind]) + bytes(code) + rnd.randbytes(size - width)
    raise AssertionError(size)


def mini_transaction(rnd: random.Random, lsn: int, first_lsn: int, capacity: int, encrypted: bool) -> bytes:
    """Records, terminator with the bit of its place, nonce, sum."""
    body = b"".join(record(rnd) for _ in range(rnd.randrange(1, 4)))
    bit = 1 - ((lsn + len(body) - first_lsn) // capacity & 1)
    nonce = rnd.randbytes(8) if encrypted else b""
    return body + bytes([bit]) + nonce + struct.pack(">I", crc(body + nonce))


def stream_window(seed: int, size: int, capacity: int, *, encrypted: bool = False) -> tuple[Window, bytes]:
    """A window of about ``size`` bytes that begins somewhere in a log of ``capacity``."""
    rnd = random.Random(seed)
    first = 12288 + rnd.randrange(1 << 40)
    start = first + rnd.randrange(5 * capacity)
    data = bytearray()
    while len(data) < size:
        data += mini_transaction(rnd, start + len(data), first, capacity, encrypted)
    header = bytearray(512)
    struct.pack_into(">IIQ", header, 0, 0xF09F979D if encrypted else 0x50687973, 0, first)
    header[48:100] = rnd.randbytes(52)
    struct.pack_into(">I", header, 508, crc(bytes(header[:508])))
    window = Window(
        layout="R108", start=start, checkpoint=start, checkpoint_end=start, end=start + len(data),
        header=bytes(header), first_lsn=first, capacity=capacity,
    )
    return window, bytes(data)


def legacy_sum(block: bytes) -> int:
    """log_block_calc_checksum_innodb, as its C reads."""
    total, shift = 1, 0
    for byte in block[:508]:
        total &= 0x7FFFFFFF
        total += byte
        total += byte << shift
        shift += 1
        if shift > 24:
            shift = 0
    return total & 0xFFFFFFFF


def block(rnd: random.Random, lsn: int, *, legacy: bool, used: int = 512, encrypted: bool = False) -> bytes:
    """One log block at ``lsn``."""
    data = bytearray(rnd.randbytes(512))
    number = (lsn // 512 & 0x3FFFFFFF) + 1 | rnd.choice([0, 1 << 31])
    struct.pack_into(">IHHI", data, 0, number, used | (0x8000 if encrypted else 0), rnd.choice([0, 12, 400]), 1)
    if used < 512:
        data[used:508] = bytes(508 - used)
    if not encrypted:
        struct.pack_into(">I", data, 508, legacy_sum(data) if legacy else crc(bytes(data[:508])))
    return bytes(data)


FORMATS = {"R56": 0, "R57": 1, "R105": 0x50485953, "R8030": 6}


def block_header(layout: str, start: int) -> bytes:
    """The first 512 bytes of a log of blocks."""
    header = bytearray(512)
    if layout == "R56":
        struct.pack_into(">IQ", header, 0, 0, start)
        return bytes(header)
    struct.pack_into(">IIQ", header, 0, FORMATS[layout], 4, start)
    struct.pack_into(">I", header, 508, crc(bytes(header[:508])))
    return bytes(header)


def block_window(layout: str, seed: int, blocks: int, *, last_used: int = 512) -> tuple[Window, bytes]:
    """A window of whole blocks; the last one uses ``last_used`` bytes."""
    rnd = random.Random(seed)
    start = rnd.randrange(1 << 20, 1 << 30) * 512
    legacy = layout == "R56"
    data = [block(rnd, start + i * 512, legacy=legacy) for i in range(blocks - 1)]
    data.append(block(rnd, start + (blocks - 1) * 512, legacy=legacy, used=last_used))
    end = start + (blocks - 1) * 512 + last_used
    checkpoint = start + rnd.randrange(12, 508)
    window = Window(
        layout=layout, start=start, checkpoint=checkpoint, checkpoint_end=checkpoint, checkpoint_no=9, end=end,
        header=block_header(layout, start),
    )
    return window, b"".join(data)
