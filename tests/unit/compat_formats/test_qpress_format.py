"""Old compressed backups give the very bytes that were compressed, or an error."""

from __future__ import annotations

import hashlib
import struct
import zlib
from pathlib import Path

import pytest

from goldcopy.formats import qpress

GOLDEN = Path(__file__).parent.parent / "golden" / "qp"
SUMS = dict(line.split()[::-1] for line in (GOLDEN / "SHA256SUMS").read_text().splitlines())


def decompress(data: bytes, step: int | None = None) -> bytes:
    decoder, step = qpress.Decoder(), step or len(data) or 1
    out = [piece for at in range(0, len(data), step) for piece in decoder.feed(data[at : at + step])]
    return b"".join(out + decoder.finish())


@pytest.mark.parametrize("name", sorted(SUMS))
def test_what_the_real_mariadb_backup_compressed(name):
    assert hashlib.sha256(decompress((GOLDEN / f"{name}.qp").read_bytes())).hexdigest() == SUMS[name]


def test_the_golden_files_hold_compressed_and_raw_packets_of_both_kinds():
    flags = set()
    for path in GOLDEN.glob("*.qp"):
        data = path.read_bytes()
        at = data.find(b"NEWBNEWB")
        while at >= 0:
            flags.add(data[at + 20] & 3)
            at = data.find(b"NEWBNEWB", at + 20)
    assert {2, 3} <= flags


@pytest.mark.parametrize("step", [1, 17, 4096])
def test_pieces_of_any_size(step):
    data = (GOLDEN / "pages.frm.qp").read_bytes()
    assert hashlib.sha256(decompress(data, step)).hexdigest() == SUMS["pages.frm"]


def test_an_empty_file():
    head = b"qpress10" + struct.pack("<Q", 65536) + b"F" + struct.pack("<I", 1) + b"x\0"
    assert decompress(head + b"ENDSENDS" + bytes(8)) == b""


def test_a_cut_anywhere_is_found():
    data = (GOLDEN / "pages.frm.qp").read_bytes()
    for at in range(len(data)):
        with pytest.raises(ValueError):
            decompress(data[:at])


def test_a_flipped_bit_in_a_packet_is_found():
    data = (GOLDEN / "pages.frm.qp").read_bytes()
    start = data.index(b"NEWBNEWB") + 16
    for at in range(start, len(data) - 16):
        damaged = bytearray(data)
        damaged[at] ^= 16
        with pytest.raises(ValueError):
            decompress(bytes(damaged))


def packets() -> list[bytes]:
    found = []
    for path in GOLDEN.glob("*.qp"):
        data = path.read_bytes()
        at = data.find(b"NEWBNEWB")
        while at >= 0:
            (length,) = struct.unpack_from("<I" if data[at + 20] & 2 else "<B", data, at + 21)
            found.append(data[at + 20 : at + 20 + length])
            at = data.find(b"NEWBNEWB", at + 20 + length)
    return found


def test_a_packet_that_lies_is_an_error_and_nothing_else():
    """Behind a right checksum too: only ValueError, never another exception, endless work, or too many bytes."""
    import random

    rng = random.Random(7)
    for packet in packets():
        short = packet[:9] + packet[9:2000]
        short = short[:1] + struct.pack("<II", len(short), struct.unpack_from("<I", packet, 5)[0]) + short[9:]
        for _ in range(60):
            damaged = bytearray(short)
            for _ in range(rng.randrange(1, 4)):
                damaged[rng.randrange(9, len(damaged))] = rng.randrange(256)
            try:
                assert len(qpress.decode_packet(bytes(damaged), 65536)) <= 65536
            except ValueError:
                pass


def test_level_3_and_streaming_packets_are_refused():
    packet = bytearray(packets()[0])
    for flags in (0x4F, 0x4B, 0x57):
        packet[0] = flags
        with pytest.raises(ValueError, match="level 1"):
            qpress.decode_packet(bytes(packet))


def test_something_else_behind_the_end_is_refused():
    data = (GOLDEN / "pages.frm.qp").read_bytes()
    with pytest.raises(ValueError, match="behind the end"):
        decompress(data + data)


def test_the_checksum_is_that_of_zlib():
    data = (GOLDEN / "pages.frm.qp").read_bytes()
    at = data.index(b"NEWBNEWB")
    (wanted,) = struct.unpack_from("<I", data, at + 16)
    (length,) = struct.unpack_from("<I", data, at + 21)
    assert zlib.adler32(data[at + 20 : at + 20 + length]) == wanted
