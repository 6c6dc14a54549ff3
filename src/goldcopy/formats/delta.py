"""XtraBackup's increments: ``.delta`` files (clusters of changed pages) and the ``.meta`` text beside them.

A cluster is a header page and up to ``page_size / 4 - 1`` pages, numbers ascending (``peer-formats.md`` 3.1):

    header 0..3   ``xtra``, or ``XTRA`` in the last cluster
    header 4 * i  number of the i-th page of the cluster, i = 1..; 0xFFFFFFFF after the last if there is room

The readers (``xtrabackup_apply_delta`` of both families) look for cluster k at byte ``k * page_size / 4 *
page_size`` and insist that all but the last are full. So a cluster cannot be cut short to save memory: the
encoder hands out finished 1 MiB blocks with the offset each belongs to, and holds back only the one whose
header is still open: a cluster's first block comes after the rest of that cluster.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import msgspec

from goldcopy.formats import Family, ReadAt
from goldcopy.formats.innodb.page import Geometry

BLOCK_BYTES = 1 << 20
_MORE, _LAST = b"xtra", b"XTRA"
_END = b"\xff\xff\xff\xff"
_END_NUMBER = 0xFFFFFFFF


class Block(msgspec.Struct, frozen=True):
    """Finished bytes of a delta file. ``offset`` is a multiple of 1 MiB; only the last block is shorter."""

    offset: int
    data: bytearray


class DeltaEncoder:
    """Lays changed pages out as a ``.delta`` file, in at most two blocks of memory (2 MiB).

    Call ``add`` with ascending page numbers, then ``finish`` once; write every block that they return with
    ``pwrite``. ``size`` is the length of the file so far; ``pages`` how many were added.
    """

    def __init__(self, page_size: int) -> None:
        if page_size < 1024 or BLOCK_BYTES % page_size:
            raise ValueError(f"no page size: {page_size}")
        self._page_size = page_size
        self._room = page_size // 4 - 1
        self._open: dict[int, bytearray] = {}
        self._numbers: list[int] = []
        self._last_number = -1
        self.pages = 0
        self.size = 0
        self._start_cluster()

    def add(self, page_no: int, page: bytes | memoryview) -> list[Block]:
        """Append one page. Returns what is finished now. Raises ValueError unless numbers ascend."""
        if len(page) != self._page_size or page_no <= self._last_number:
            raise ValueError(f"page {page_no} ({len(page)} bytes) after page {self._last_number}")
        done = []
        if len(self._numbers) == self._room:
            done = self._seal(_MORE)
            self._start_cluster()
        self._numbers.append(page_no)
        self._last_number = page_no
        self.pages += 1
        self._put(page)
        return done if self.size % BLOCK_BYTES else done + self._finished()

    def finish(self) -> list[Block]:
        """Close the last cluster. Returns the remaining blocks, the file's last one cut to size."""
        blocks = self._seal(_LAST)
        blocks += [Block(index * BLOCK_BYTES, data) for index, data in sorted(self._open.items())]
        self._open = {}
        del blocks[-1].data[self.size - blocks[-1].offset :]
        return blocks

    def _start_cluster(self) -> None:
        self._header_at = self.size
        self._numbers = []
        self._put(bytes(self._page_size))

    def _put(self, page: bytes | memoryview) -> None:
        index, at = divmod(self.size, BLOCK_BYTES)
        block = self._open.get(index)
        if block is None:
            block = self._open[index] = bytearray(BLOCK_BYTES)
        block[at : at + self._page_size] = page
        self.size += self._page_size

    def _seal(self, mark: bytes) -> list[Block]:
        """Write the open header; its block may be finished by that."""
        numbers = struct.pack(f">{len(self._numbers)}I", *self._numbers)
        end = _END if len(self._numbers) < self._room else b""
        header = mark + numbers + end
        index, at = divmod(self._header_at, BLOCK_BYTES)
        self._open[index][at : at + len(header)] = header
        self._header_at = self.size
        return self._finished()

    def _finished(self) -> list[Block]:
        """Blocks that are full and hold no open header."""
        waiting = self._header_at // BLOCK_BYTES
        full = [i for i in self._open if i != waiting and (i + 1) * BLOCK_BYTES <= self.size]
        return [Block(i * BLOCK_BYTES, self._open.pop(i)) for i in sorted(full)]


def read_header(block: bytes | memoryview, page_size: int) -> tuple[list[int], bool]:
    """A cluster's header page -> (page numbers, whether it is the last cluster).

    The pages follow the header in this order, ``page_size`` bytes each. Raises ValueError on anything that is
    no header, and on a cluster that is not full although more follow.
    """
    mark = bytes(block[:4])
    if len(block) < page_size or mark not in (_MORE, _LAST):
        raise ValueError(f"a cluster header begins with {mark!r} ({len(block)} bytes)")
    numbers = list(struct.unpack_from(f">{page_size // 4 - 1}I", block, 4))
    if _END_NUMBER in numbers:
        if mark == _MORE:
            raise ValueError("a cluster that is not the last is not full")
        del numbers[numbers.index(_END_NUMBER) :]
    return numbers, mark == _LAST


def clusters(read: ReadAt, page_size: int) -> Iterator[tuple[list[int], int]]:
    """The clusters of a delta file: the page numbers of each, and where the first of its pages lies.

    Raises ValueError as ``read_header`` does.
    """
    offset, last = 0, False
    while not last:
        numbers, last = read_header(read(offset, page_size), page_size)
        offset += page_size
        yield numbers, offset
        offset += len(numbers) * page_size


class Meta(msgspec.Struct, frozen=True):
    """What ``.meta`` says of its delta. ``page_size``: bytes on disk. ``space_flags``: MySQL only."""

    page_size: int
    zip_size: int
    space_id: int
    space_flags: int = 0

    @classmethod
    def of(cls, geometry: Geometry) -> Meta:
        """Of a tablespace."""
        return cls(geometry.page_size, geometry.zip_size, geometry.space_id, geometry.flags)


def render_meta(meta: Meta, family: Family) -> str:
    """The text as the family's own tool writes it (mariadb-backup leaves a blank behind zip_size)."""
    if family == "mariadb":
        return f"page_size = {meta.page_size}\nzip_size = {meta.zip_size} \nspace_id = {meta.space_id}\n"
    return (
        f"page_size = {meta.page_size}\nzip_size = {meta.zip_size}\n"
        f"space_id = {meta.space_id}\nspace_flags = {meta.space_flags}\n"
    )


def parse_meta(text: str) -> Meta:
    """Read ``.meta``: ``key = value`` lines in any order. Raises ValueError without a usable page_size."""
    found: dict[str, int] = {}
    for line in text.splitlines():
        key, separator, value = line.partition("=")
        if separator and value.strip().isdecimal():
            found[key.strip()] = int(value)
    page_size = found.get("page_size", 0)
    if page_size < 1024 or BLOCK_BYTES % page_size:
        raise ValueError(f"no usable page_size in {text[:80]!r}")
    return Meta(page_size, found.get("zip_size", 0), found.get("space_id", 0), found.get("space_flags", 0))
