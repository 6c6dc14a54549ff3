"""Increments are read by the peers' tools as well: every page at its place, in any number and page size."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from goldcopy.formats.delta import BLOCK_BYTES, DeltaEncoder, Meta, parse_meta, read_header, render_meta


def content(number: int, size: int) -> bytes:
    return number.to_bytes(8, "big") * (size // 8)


def encoded(numbers: list[int], size: int) -> tuple[bytes, int]:
    """(the file, how many blocks at most were held back)."""
    encoder = DeltaEncoder(size)
    parts: dict[int, bytes] = {}
    kept = 0
    for number in numbers:
        for block in encoder.add(number, content(number, size)):
            assert block.offset not in parts
            assert len(block.data) == BLOCK_BYTES
            parts[block.offset] = bytes(block.data)
        kept = max(kept, encoder.size - sum(map(len, parts.values())))
    for block in encoder.finish():
        assert block.offset not in parts
        parts[block.offset] = bytes(block.data)
    data = b"".join(part for _, part in sorted(parts.items()))
    assert len(data) == encoder.size
    assert encoder.pages == len(numbers)
    assert all(offset % BLOCK_BYTES == 0 for offset in parts)
    return data, kept


def decoded(data: bytes, size: int) -> list[int]:
    """Page numbers in order, as ``xtrabackup_apply_delta`` finds them: cluster k lies at a fixed place."""
    numbers: list[int] = []
    cluster, last = 0, False
    while not last:
        at = cluster * (size // 4) * size
        found, last = read_header(data[at : at + size], size)
        assert last or len(found) == size // 4 - 1
        for i, number in enumerate(found, 1):
            assert data[at + i * size : at + (i + 1) * size] == content(number, size)
        numbers += found
        cluster += 1
    assert at + (len(found) + 1) * size == len(data)
    return numbers


@settings(max_examples=50, deadline=None)
@given(st.sampled_from([1024, 2048, 4096]), st.sets(st.integers(0, 3000), max_size=1400))
def test_every_page_comes_back(size: int, chosen: set[int]) -> None:
    numbers = sorted(chosen)
    assert decoded(encoded(numbers, size)[0], size) == numbers


@pytest.mark.parametrize("count", [0, 1, 254, 255, 256, 509, 510, 511, 1022, 1023, 1024, 1025, 2046, 2047])
@pytest.mark.parametrize("size", [1024, 2048, 4096])
def test_clusters_that_are_just_full_or_just_not(size: int, count: int) -> None:
    numbers = [3 * i for i in range(count)]
    assert decoded(encoded(numbers, size)[0], size) == numbers


def test_memory_stays_at_two_blocks_however_many_pages() -> None:
    data, kept = encoded(list(range(5000)), 4096)
    assert kept <= 2 * BLOCK_BYTES
    assert len(data) == (5000 + 5) * 4096


def test_an_unchanged_tablespace_is_one_header_page() -> None:
    data, _ = encoded([], 16384)
    assert data == b"XTRA\xff\xff\xff\xff" + bytes(16376)


def test_pages_out_of_order_or_of_another_size_are_refused() -> None:
    encoder = DeltaEncoder(4096)
    encoder.add(5, bytes(4096))
    for number, size in ((5, 4096), (4, 4096), (6, 4095)):
        with pytest.raises(ValueError, match=f"page {number}"):
            encoder.add(number, bytes(size))
    with pytest.raises(ValueError, match="no page size"):
        DeltaEncoder(3000)


def test_damaged_headers_are_refused() -> None:
    header = encoded([1, 2], 4096)[0][:4096]
    assert read_header(header, 4096) == ([1, 2], True)
    for damaged in (b"xtrb" + header[4:], header[:4000], b"xtra" + header[4:], b""):
        with pytest.raises(ValueError, match="cluster"):
            read_header(damaged, 4096)


def test_meta_is_written_as_each_familys_tool_writes_it() -> None:
    meta = Meta(8192, 8192, 6, 41)
    assert render_meta(meta, "mariadb") == "page_size = 8192\nzip_size = 8192 \nspace_id = 6\n"
    assert render_meta(meta, "mysql") == "page_size = 8192\nzip_size = 8192\nspace_id = 6\nspace_flags = 41\n"
    assert parse_meta(render_meta(meta, "mysql")) == meta
    assert parse_meta(render_meta(meta, "mariadb")) == Meta(8192, 8192, 6, 0)
    assert parse_meta("space_id=9\n page_size =  1024 \nnew_key = x\n") == Meta(1024, 0, 9)


@pytest.mark.parametrize("text", ["", "zip_size = 0\n", "page_size = 0\n", "page_size = 3000\n", "page_size = -4\n"])
def test_meta_without_a_usable_page_size_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="page_size"):
        parse_meta(text)
