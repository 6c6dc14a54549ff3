"""qpress (``.qp``) with QuickLZ level 1, the compression of mariadb-backup and of XtraBackup 2.4: reading only.

    header   ``qpress10``, 8 block size
    file     ``F``, 4 name length, name, NUL
    block    ``NEWBNEWB``, 8 offset in the plain file, 4 Adler-32 of the packet, one QuickLZ packet
    trailer  ``ENDSENDS``, 8 zeros

Sources: ``ds_compress.c`` of XtraBackup and MariaDB; the packet was worked out on real output (``peer-formats.md``
2.4). Nothing sums up the plain bytes: the Adler-32 is all the safety there is, so it is always checked.
XtraBackup 8.0 counts the offsets wrongly, so they are not.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Generator

from goldcopy.formats import Bytes
from goldcopy.formats.pieces import PieceDecoder

MAX_BLOCK_BYTES = 64 << 20
"""Largest block taken: a bound for our memory. mariadb-backup writes 64 KiB."""

_MAGIC, _BLOCK, _TRAILER = b"qpress10", b"NEWBNEWB", b"ENDSENDS"
_HEADER = struct.Struct("<8sQ")
_NAME = struct.Struct("<cI")
_BLOCK_HEAD = struct.Struct("<QI")
_LONG, _SHORT = struct.Struct("<BII"), struct.Struct("<BBB")
_MAX_NAME_BYTES = 4096
_MAX_GROWTH_BYTES = 400
"""QuickLZ never makes a packet longer than its data and this."""

_HASHES = 4096
_TAIL_BYTES = 11
# hash of the three bytes at a position: low xor _MIDDLE[middle] xor high << 4
_MIDDLE = tuple((b & 15) << 8 | b >> 4 for b in range(256))

def decode_packet(packet: bytes, max_bytes: int = MAX_BLOCK_BYTES) -> bytes:
    """The plain bytes of one QuickLZ packet, level 1 without streaming. Raises ValueError when it is none."""
    try:
        flags, length, plain_length, at = _packet_head(packet)
    except (struct.error, IndexError):
        raise ValueError("a QuickLZ packet is cut short") from None
    if length != len(packet) or plain_length > max_bytes:
        raise ValueError(f"a QuickLZ packet of {len(packet)} bytes says that it has {length} for {plain_length}")
    if flags & 0x3C != 0x04:
        raise ValueError(f"not QuickLZ level 1 (flags 0x{flags:02x})")
    if not flags & 1:
        plain = packet[at:]
    else:
        try:
            plain = _expand(packet, at, plain_length)
        except IndexError:
            raise ValueError("a QuickLZ packet ends before its data") from None
    if len(plain) != plain_length:
        raise ValueError(f"a QuickLZ packet gives {len(plain)} bytes instead of {plain_length}")
    return plain


def _packet_head(packet: Bytes) -> tuple[int, int, int, int]:
    """Flags, length of the packet, length of the plain bytes, length of this head."""
    head = _LONG if packet[0] & 2 else _SHORT
    flags, length, plain_length = head.unpack_from(packet)
    return flags, length, plain_length, head.size


def _expand(src: bytes, s: int, size: int) -> bytes:
    """The compressed form. One loop over matches; runs of literals are copied at once.

    Positions are entered into the hash table exactly when the compressor enters them: up to three bytes behind the
    end while literals come, up to its own start when a match has been copied, and then none of what it covers.
    """
    out = bytearray()
    table, middle = [0] * _HASHES, _MIDDLE
    control, entered, end, last_match = 1, -1, 0, size - _TAIL_BYTES
    # 3 bytes that are not there: a match token that ends the packet is read as a word
    data = src + b"\0\0\0"
    while True:
        if control == 1:
            control = int.from_bytes(data[s : s + 4], "little")
            s += 4
            if not control or s > len(src):
                raise ValueError("a QuickLZ packet is damaged")
        if not control & 1:
            if end >= last_match:
                break
            run = min((control & -control).bit_length() - 1, last_match - end)
            control >>= run
            out += data[s : s + run]
            s += run
            end += run
            continue
        control >>= 1
        while entered < end - 3:
            entered += 1
            table[out[entered] ^ middle[out[entered + 1]] ^ out[entered + 2] << 4] = entered
        token = data[s]
        start = table[token >> 4 | data[s + 1] << 4]
        if token & 15:
            length, s = (token & 15) + 2, s + 2
        else:
            length, s = data[s + 2], s + 3
        if start + 2 >= end or length < 3:
            raise ValueError("a QuickLZ packet refers to bytes that are not there")
        if start + length <= end:
            out += out[start : start + length]
        else:
            out += (out[start:end] * (length // (end - start) + 1))[:length]
        while entered < end:
            entered += 1
            table[out[entered] ^ middle[out[entered + 1]] ^ out[entered + 2] << 4] = entered
        end += length
        entered = end - 1
    _tail(src, s, size, control, out)
    return bytes(out)


def _tail(src: bytes, s: int, size: int, control: int, out: bytearray) -> None:
    """The last bytes are literals; where a control word would come, four bytes are skipped."""
    while len(out) < size:
        if control == 1:
            s += 4
            control = 1 << 31
        out.append(src[s])
        s += 1
        control >>= 1


class Decoder(PieceDecoder[bytes]):
    """Decompresses a file that comes in pieces of any size, holding one block. Wrong data raise ValueError."""

    def __init__(self) -> None:
        super().__init__(
            cut="the qpress file is cut short", damaged="the qpress file was already found to be damaged"
        )

    def _read(self) -> Generator[bytes | None, None, None]:
        magic, block_bytes = _HEADER.unpack((yield from self._exactly(_HEADER.size)))
        if magic != _MAGIC or block_bytes > MAX_BLOCK_BYTES:
            raise ValueError(f"not a qpress file: it begins with {magic!r}, blocks of {block_bytes} bytes")
        kind, length = _NAME.unpack((yield from self._exactly(_NAME.size)))
        if kind != b"F" or length > _MAX_NAME_BYTES:
            raise ValueError("a qpress archive that is not one file")
        yield from self._exactly(length + 1)
        while (mark := (yield from self._exactly(len(_BLOCK)))) == _BLOCK:
            yield (yield from self._block(block_bytes))
        if mark != _TRAILER:
            raise ValueError(f"neither a block nor the end of a qpress file: {mark!r}")
        yield from self._exactly(8)
        if not (yield from self._ends()):
            raise ValueError("there are bytes behind the end of the qpress file")

    def _block(self, block_bytes: int) -> Generator[None, None, bytes]:
        _offset, wanted = _BLOCK_HEAD.unpack((yield from self._exactly(_BLOCK_HEAD.size)))
        first = yield from self._exactly(1)
        head = first + (yield from self._exactly((_LONG if first[0] & 2 else _SHORT).size - 1))
        _, length, _, head_bytes = _packet_head(head)
        if not head_bytes <= length <= block_bytes + _MAX_GROWTH_BYTES:
            raise ValueError(f"a block of {length} bytes in a qpress file")
        packet = head + (yield from self._exactly(length - head_bytes))
        if zlib.adler32(packet) != wanted:
            raise ValueError("a block of a qpress file is damaged: its checksum is wrong")
        return decode_packet(packet, block_bytes)
