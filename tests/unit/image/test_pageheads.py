"""An increment that looks at heads alone must see every page as it is, and survive a file that is cut meanwhile."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from goldcopy.image import osfile, pageheads
from goldcopy.image.pageheads import HEAD_BYTES, PageHeads

ROOM = 8 << 20


@pytest.fixture
def random_file(tmp_path: Path):
    path = tmp_path / "f"
    path.write_bytes(os.urandom(ROOM + (1 << 20)))
    fd = os.open(path, os.O_RDWR)
    yield fd, path.read_bytes()
    os.close(fd)


@pytest.mark.parametrize("page_size", [4096, 16384, 65536])
def test_heads_are_those_of_the_pages_and_nothing_else_is_touched(random_file, page_size):
    fd, data = random_file
    view = osfile.buffer(ROOM)
    heads = PageHeads(view)
    for offset, pages in ((0, ROOM // page_size), (1 << 20, ROOM // page_size), (ROOM, 3)):
        view[:] = bytes(ROOM)
        assert heads.read(fd, offset, pages, page_size)
        for i in range(ROOM // page_size):
            head = data[offset + i * page_size :][:HEAD_BYTES] if i < pages else bytes(HEAD_BYTES)
            assert view[i * page_size : (i + 1) * page_size] == head + bytes(page_size - HEAD_BYTES)


def test_a_file_that_was_cut_ends_nothing_but_the_look_at_it(random_file):
    fd, data = random_file
    view = osfile.buffer(ROOM)
    heads = PageHeads(view)
    assert heads.read(fd, 0, 512, 16384)
    os.ftruncate(fd, 100 * 16384)
    assert not heads.read(fd, 0, 512, 16384)
    assert heads.read(fd, 0, 100, 16384)
    assert view[:HEAD_BYTES] == data[:HEAD_BYTES]


def test_where_the_kernel_refuses_it_is_not_asked_again(random_file, monkeypatch):
    fd, _ = random_file
    calls = []

    def refuse(*_args):
        calls.append(1)
        pageheads.ctypes.set_errno(pageheads.errno.EPERM)
        return -1

    monkeypatch.setattr(pageheads, "_read", refuse)
    heads = PageHeads(osfile.buffer(ROOM))
    assert not heads.read(fd, 0, 10, 16384)
    assert not heads.read(fd, 0, 10, 16384)
    assert len(calls) == 1
