"""The calls that Python lacks: each must tell the truth, or say that it cannot."""

from __future__ import annotations

import ctypes
import mmap
import os
from pathlib import Path

import pytest

from goldcopy.image import osfile

PAGE = 4096


@pytest.fixture
def holed(tmp_path: Path):
    path = tmp_path / "f"
    with path.open("wb") as f:
        f.write(b"a" * PAGE)
        f.seek(100 * PAGE)
        f.write(b"b" * PAGE)
        f.truncate(200 * PAGE)
    fd = os.open(path, os.O_RDWR)
    yield fd
    os.close(fd)


def test_extents_are_the_data_and_only_the_data(holed):
    assert list(osfile.data_extents(holed, 0, 200 * PAGE)) == [(0, PAGE), (100 * PAGE, 101 * PAGE)]
    assert list(osfile.data_extents(holed, 2 * PAGE, 100 * PAGE)) == []
    assert list(osfile.data_extents(holed, 100 * PAGE, 100 * PAGE + 10)) == [(100 * PAGE, 100 * PAGE + 10)]


def test_a_direct_descriptor_reads_the_same_file_even_when_its_name_is_gone(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(b"x" * PAGE)
    fd = os.open(path, os.O_RDONLY)
    path.unlink()
    path.write_bytes(b"y" * PAGE)
    direct = osfile.reopen_direct(fd)
    if direct is None:
        pytest.skip("no direct I/O on this file system")
    view = memoryview(mmap.mmap(-1, PAGE))
    assert osfile.read_at(direct, view, 0) == PAGE
    assert bytes(view) == b"x" * PAGE
    os.close(direct)
    os.close(fd)


def test_a_read_beyond_the_end_is_short_and_not_an_error(holed):
    view = memoryview(mmap.mmap(-1, 4 * PAGE))
    assert osfile.read_at(holed, view, 199 * PAGE) == PAGE
    assert osfile.read_at(holed, view, 300 * PAGE) == 0


def test_the_page_cache_is_told_right(tmp_path):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(64 * PAGE))
    fd = os.open(path, os.O_RDWR)
    os.fsync(fd)
    cache = osfile.PageCache()
    if cache.cached_bytes(fd, 0, PAGE) is None:
        pytest.skip("this kernel has no cachestat")
    assert cache.cached_bytes(fd, 0, 64 * PAGE) == 64 * PAGE
    osfile.forget(fd, 0, 32 * PAGE)
    assert cache.cached_bytes(fd, 0, 64 * PAGE) in (32 * PAGE, 64 * PAGE)  # tmpfs forgets nothing
    os.close(fd)


def test_space_is_reserved_without_changing_content(holed):
    if not osfile.fallocate(holed, 300 * PAGE):
        pytest.skip("this file system reserves nothing")
    assert os.fstat(holed).st_size == 300 * PAGE
    assert os.pread(holed, 2, PAGE - 1) == b"a\0"


@pytest.mark.parametrize("length", [PAGE, 1 << 20, (4 << 20) + PAGE])
def test_a_buffer_is_as_long_as_asked_for_and_aligned_for_direct_io(tmp_path, length):
    view = osfile.buffer(length)
    assert len(view) == length
    assert ctypes.addressof(ctypes.c_char.from_buffer(view)) % osfile.HUGE_PAGE_BYTES == 0
    path = tmp_path / "f"
    path.write_bytes(os.urandom(length))
    fd = os.open(path, os.O_RDONLY)
    direct = osfile.reopen_direct(fd)
    assert osfile.read_at(fd if direct is None else direct, view, 0) == length
    assert view.tobytes() == path.read_bytes()


def test_a_fork_while_a_read_is_under_way_takes_no_buffer_along():
    view = osfile.buffer(PAGE)
    at = ctypes.addressof(ctypes.c_char.from_buffer(view))
    flags = mapping_flags(at)
    assert "dc" in flags


def mapping_flags(address: int) -> list[str]:
    """VmFlags of the mapping that an address lies in (proc(5), smaps)."""
    inside = False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        words = line.split()
        if "-" in words[0] and ":" not in words[0]:
            start, end = (int(x, 16) for x in words[0].split("-"))
            inside = start <= address < end
        elif inside and words[0] == "VmFlags:":
            return words[1:]
    raise AssertionError("no such mapping")


def test_a_name_beside_a_long_one_fits_and_is_the_same_each_time(tmp_path):
    long, short = str(tmp_path / ("x" * 250)), str(tmp_path / "x")
    assert osfile.beside(short, ".goldcopy-tmp") == short + ".goldcopy-tmp"
    name = osfile.beside(long, ".goldcopy-tmp")
    assert name.endswith(".goldcopy-tmp") and os.path.dirname(name) == str(tmp_path)
    assert name == osfile.beside(long, ".goldcopy-tmp") != osfile.beside(long + "y", ".goldcopy-tmp")
    Path(name).touch()
