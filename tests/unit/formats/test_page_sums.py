"""A page that is torn or rotten must be found; one that is right must not stop a backup."""

from __future__ import annotations

import pages
import pytest

from goldcopy.formats.innodb import sums
from goldcopy.formats.innodb.page import (
    ChunkVerifier,
    doublewrite_pages,
    geometry,
    is_unwritten,
    page_lsn,
    page_no,
    page_space_id,
)

FULL, OLD, ZIP_4K = 0x15, 0x21, 0x27
COUNT = 12

# (seal, page 0 flags, family, bytes on disk, places where one flipped bit must be noticed)
KINDS = {
    "full_crc32": (pages.full_crc32, FULL, "mariadb", 16384, (0, 4, 16, 24, 26, 34, 38, 9000, -8, -4, -1)),
    "full_crc32-64k": (pages.full_crc32, 0x17, "mariadb", 65536, (0, 40000, -1)),
    "full_crc32-compressed": (pages.full_crc32_compressed, FULL | 32, "mariadb", 16384, (0, 25, 38, 4091, 4095)),
    "crc32": (pages.crc32, OLD, "mysql", 16384, (0, 4, 19, 23, 24, 38, 9000, -9, -4, -1)),
    "crc32-4k": (pages.crc32, OLD | 3 << 6, "mysql", 4096, (0, 4, 38, -9, -1)),
    "crc32-mariadb": (pages.crc32, OLD, "mariadb", 16384, (0, 4, 38, -9, -1)),
    "innodb": (pages.innodb, 0, "mysql", 16384, (0, 4, 23, 38, 9000, -9, -8, -1)),
    "none": (pages.none, 0, "mysql", 16384, (0, 23, -8, -1)),
    "zip_crc32": (pages.zip_crc32, ZIP_4K, "mysql", 4096, (0, 4, 15, 24, 34, 2000, -1)),
    "zip_adler": (pages.zip_adler, ZIP_4K, "mysql", 4096, (0, 4, 15, 24, 34, 2000, -1)),
    "zip_1k": (pages.zip_crc32, 0x23, "mariadb", 1024, (0, 4, 34, -1)),
    "mariadb-encrypted": (pages.mariadb_encrypted, OLD, "mariadb", 16384, (4, 24, 30, 38, 9000, -9)),
    "mariadb-zip-encrypted": (pages.mariadb_zip_encrypted, ZIP_4K, "mariadb", 4096, (4, 30, 34, 2000)),
    "mysql-zlib": (pages.mysql_zlib, OLD, "mysql", 16384, (0, 4, 16, 27, 28, 31, 33, 38, 45)),
}


def chunk_of(name: str, *, legacy: bool = False) -> tuple[bytearray, ChunkVerifier, int]:
    seal, flags, family, size, _ = KINDS[name]
    data = bytearray(b"".join(seal(pages.page(size, number=i)) for i in range(COUNT)))
    return data, ChunkVerifier(memoryview(data), geometry(pages.page0(flags, size), family), legacy=legacy), size


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("name", KINDS)
def test_right_pages_pass(name: str, legacy: bool) -> None:
    data, verifier, _ = chunk_of(name, legacy=legacy)
    assert verifier.bad(len(data)) == []
    assert verifier.unverifiable(len(data)) == []


@pytest.mark.parametrize("name", KINDS)
def test_one_flipped_bit_is_found_and_named(name: str) -> None:
    data, verifier, size = chunk_of(name)
    for place in KINDS[name][4]:
        at = 5 * size + place % size
        data[at] ^= 1
        assert verifier.bad(len(data)) == [5], f"byte {place}"
        data[at] ^= 1
    assert verifier.bad(len(data)) == []


@pytest.mark.parametrize("name", sorted(set(KINDS) - {"none"}))
def test_a_page_torn_at_a_sector_is_found(name: str) -> None:
    data, verifier, size = chunk_of(name)
    seal = KINDS[name][0]
    newer = seal(pages.page(size, number=900, lsn=0x123456999A))
    used = 4096 if name == "full_crc32-compressed" else 512 if name == "mysql-zlib" else size
    cut = 512 if used > 512 else 42
    data[size : size + cut] = newer[:cut]
    assert verifier.bad(len(data)) == [1]


@pytest.mark.parametrize("name", ["full_crc32", "crc32", "innodb", "zip_crc32", "zip_adler"])
def test_pages_of_zeros_are_right_and_nearly_zero_ones_are_not(name: str) -> None:
    data, verifier, size = chunk_of(name)
    data[2 * size : 4 * size] = bytes(2 * size)
    assert verifier.bad(len(data)) == []
    data[3 * size + 100] = 1
    assert verifier.bad(len(data)) == [3]


def test_a_further_system_file_that_a_shutdown_has_stamped_does_not_stop_a_backup() -> None:
    page = bytearray(16384)
    page[26:34] = (1_625_977).to_bytes(8, "big")
    assert sums.crc32_state(memoryview(page), mariadb=False) is sums.State.RIGHT
    page[40] = 1
    assert sums.crc32_state(memoryview(page), mariadb=False) is sums.State.WRONG


def test_only_the_given_length_is_looked_at() -> None:
    data, verifier, size = chunk_of("crc32")
    data[7 * size + 99] ^= 1
    assert verifier.bad(7 * size) == []
    assert verifier.bad(8 * size) == [7]
    assert verifier.changed(0, 0) == []


@pytest.mark.parametrize("without_numpy", [False, True])
def test_the_innodb_sum_is_the_same_with_and_without_numpy(
    monkeypatch: pytest.MonkeyPatch, without_numpy: bool
) -> None:
    if without_numpy:
        monkeypatch.setattr(sums, "numpy_or_none", lambda: None)
    data, verifier, size = chunk_of("innodb", legacy=True)
    assert verifier.bad(len(data)) == []
    data[11 * size + 16000] ^= 4
    data[size - 12] ^= 4
    assert verifier.bad(len(data)) == [0, 11]


def test_mysql_encrypted_pages_are_counted_not_condemned() -> None:
    data, verifier, size = chunk_of("crc32")
    for index, kind in ((1, 15), (4, 16), (6, 17)):
        data[index * size + 24 : index * size + 26] = kind.to_bytes(2, "big")
    assert verifier.bad(len(data)) == []
    assert verifier.unverifiable(len(data)) == [1, 4, 6]


def test_mariadb_old_compressed_pages_are_counted_not_condemned() -> None:
    data, verifier, size = chunk_of("crc32-mariadb")
    data[24:26] = (34354).to_bytes(2, "big")
    data[size + 24 : size + 26] = (37401).to_bytes(2, "big")
    assert (verifier.bad(len(data)), verifier.unverifiable(len(data))) == ([], [0, 1])


def test_a_mysql_page_type_excuses_nothing_in_mariadb() -> None:
    data, verifier, size = chunk_of("crc32-mariadb")
    data[24:26] = (15).to_bytes(2, "big")
    assert verifier.bad(len(data)) == [0]


def test_changed_pages_are_those_at_or_after_the_lsn() -> None:
    data = bytearray(b"".join(pages.page(4096, lsn=100 + i) for i in range(COUNT)))
    verifier = ChunkVerifier(memoryview(data), geometry(pages.page0(OLD | 3 << 6, 4096), "mysql"))
    assert verifier.changed(len(data), 100 + COUNT) == []
    assert verifier.changed(len(data), 100 + COUNT - 1) == [COUNT - 1]
    assert verifier.changed(len(data), 105) == list(range(5, COUNT))
    assert verifier.changed(3 * 4096, 102) == [2]


def test_a_buffer_that_cuts_a_page_is_refused() -> None:
    with pytest.raises(ValueError, match="whole number"):
        ChunkVerifier(memoryview(bytearray(5000)), geometry(pages.page0(OLD, 16384), "mysql"))


@pytest.mark.parametrize(
    ("flags", "family", "page_size", "zip_size", "kind"),
    [
        (0x15, "mariadb", 16384, 0, "full_crc32"),
        (0x13, "mariadb", 4096, 0, "full_crc32"),
        (0x17 | 2 << 5, "mariadb", 65536, 0, "full_crc32"),
        (0, "mariadb", 16384, 0, "crc32"),
        (0x29, "mariadb", 8192, 8192, "zip"),
        (0x4021, "mysql", 16384, 0, "crc32"),
        (0x23, "mysql", 1024, 1024, "zip"),
        (0x21 | 3 << 6, "mysql", 4096, 0, "crc32"),
        (0x21 | 7 << 6, "mysql", 65536, 0, "crc32"),
    ],
)
def test_page_0_tells_the_geometry(flags: int, family: str, page_size: int, zip_size: int, kind: str) -> None:
    found = geometry(pages.page0(flags, 16384, space=42), family)
    assert (found.space_id, found.page_size, found.zip_size, found.checksum.value) == (42, page_size, zip_size, kind)
    assert found.page_compressed == (flags == 0x17 | 2 << 5)


@pytest.mark.parametrize(
    ("flags", "family"),
    [(0x12, "mariadb"), (0x18, "mariadb"), (0x115, "mariadb"), (0x2D, "mysql"), (1 << 20, "mysql"), (0x40, "mysql")],
)
def test_impossible_flags_are_refused(flags: int, family: str) -> None:
    with pytest.raises(ValueError, match="flags"):
        geometry(pages.page0(flags, 16384), family)


def test_a_tablespace_whose_first_page_was_never_written_is_told_apart() -> None:
    assert is_unwritten(bytes(16384))
    assert not is_unwritten(pages.page0(0x15, 16384))


@pytest.mark.parametrize(("flags", "size", "extent"), [(0x15, 16384, 64), (0x13, 4096, 256), (0x17, 65536, 64)])
def test_doublewrite_copies_are_never_taken_for_pages(flags: int, size: int, extent: int) -> None:
    page5 = bytearray(size)
    for k, value in enumerate((536853855, 64, 640)):
        pages.put(page5, size - 190 + 4 * k, value)
    system = geometry(pages.page0(flags, size, space=0), "mariadb")
    expected = {*range(64, 64 + extent), *range(640, 640 + extent)}
    assert doublewrite_pages(page5, system) == expected
    assert doublewrite_pages(bytes(size), system) == frozenset()
    assert doublewrite_pages(page5, geometry(pages.page0(flags, size, space=7), "mariadb")) == frozenset()


def test_the_page_header_is_read_where_it_lies() -> None:
    data = pages.page(16384, number=9, lsn=77, space=5)
    assert (page_no(data), page_lsn(data), page_space_id(data)) == (9, 77, 5)
