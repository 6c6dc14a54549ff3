"""A tablespace with compressed pages gets its holes back when it was unpacked without them."""

from __future__ import annotations

import os
import random
from pathlib import Path

import pytest

from goldcopy.compat.decompress import DecompressRequest, decompress
from goldcopy.events import silent
from goldcopy.image.codecs import Zstd
from goldcopy.image.holes import punch_compressed_pages
from goldcopy.image.osfile import data_extents

PAGE = 16384
FULL_CRC32 = 5 | 1 << 4 | 1 << 5
INDEX = 17855


def page(kind: int, used: int, *, flags: int | None = None) -> bytes:
    """A page of a type, zeros behind ``used`` bytes; ``flags`` make it page 0."""
    data = bytearray(random.Random(kind).randbytes(used).replace(b"\0", b"x") + bytes(PAGE - used))
    data[24:26] = kind.to_bytes(2, "big")
    if flags is not None:
        data[54:58] = flags.to_bytes(4, "big")
    return bytes(data)


def table(flags: int, *kinds: int) -> bytes:
    """Page 0, then one page of each type, each with 3000 bytes in use."""
    return page(8, PAGE, flags=flags) + b"".join(page(kind, 3000) for kind in kinds)


def data_of(path: Path) -> list[tuple[int, int]]:
    """Where the file has data, in blocks of 4096 bytes: start, end."""
    with path.open("rb") as f:
        extents = data_extents(f.fileno(), 0, path.stat().st_size)
        return [(start // 4096, -(-end // 4096)) for start, end in extents]


@pytest.mark.parametrize(
    ("flags", "kinds", "data"),
    [
        (0, (INDEX, 14, 16), [(0, 9), (12, 13)]),
        (1 << 16, (34354, INDEX), [(0, 5), (8, 12)]),
        (FULL_CRC32, (0x8000 | 12, INDEX), [(0, 5), (8, 12)]),
        (0, (INDEX, 2, 15), [(0, 16)]),
    ],
    ids=["mysql", "mariadb", "full_crc32", "nothing compressed"],
)
def test_only_the_tails_of_compressed_pages_become_holes(
    tmp_path: Path, flags: int, kinds: tuple[int, ...], data: list[tuple[int, int]]
) -> None:
    whole, path = table(flags, *kinds), tmp_path / "t.ibd"
    path.write_bytes(whole)
    fd = os.open(path, os.O_RDWR)
    punch_compressed_pages(fd, "d/t.ibd")
    os.close(fd)
    assert path.read_bytes() == whole
    assert data_of(path) == data


@pytest.mark.parametrize("content", [b"", b"short", bytes(PAGE * 2), b"\xff" * PAGE * 2])
def test_what_is_no_tablespace_is_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "t.ibd"
    path.write_bytes(content)
    fd = os.open(path, os.O_RDWR)
    punch_compressed_pages(fd, "d/t.ibd")
    os.close(fd)
    assert path.read_bytes() == content


def test_decompressing_a_directory_gives_them_back(tmp_path: Path) -> None:
    whole = table(0, 14, INDEX) + bytes(PAGE * 8)
    (tmp_path / "t.ibd.zst").write_bytes(Zstd().encode(whole))
    decompress(DecompressRequest(directory=str(tmp_path)), silent)
    assert (tmp_path / "t.ibd").read_bytes() == whole
    assert data_of(tmp_path / "t.ibd") == [(0, 5), (8, 44)], "pages that were never written had their place"
