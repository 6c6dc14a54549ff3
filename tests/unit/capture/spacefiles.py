"""Makes tablespace files as servers would, small and with sums that are right, for tests of the copier."""

from __future__ import annotations

import os
import random
import struct
from dataclasses import dataclass
from pathlib import Path

from fastcrc import crc32

from goldcopy.server.files import FileRef, file_ref

crc = crc32.iscsi
SS = {4096: 3, 8192: 4, 16384: 5, 32768: 6, 65536: 7}


@dataclass(frozen=True)
class Kind:
    """A way to lay out pages. ``name``: full (MariaDB), crc32, zip (both families)."""

    name: str
    page_size: int = 16384

    @property
    def family(self) -> str:
        return "mariadb" if self.name == "full" else "mysql"

    @property
    def flags(self) -> int:
        if self.name == "full":
            return 16 | SS[self.page_size]
        if self.name == "zip":
            return 0x21 | (self.page_size // 512).bit_length() - 1 << 1
        return 0 if self.page_size == 16384 else SS[self.page_size] << 6

    def page(self, number: int, space_id: int, lsn: int, seed: int = 0, page_type: int = 17855) -> bytes:
        n = self.page_size
        page = bytearray(random.Random((number, space_id, lsn, seed).__hash__()).randbytes(n))
        struct.pack_into(">I", page, 4, number)
        struct.pack_into(">QH", page, 16, lsn, page_type)
        struct.pack_into(">QI", page, 26, 0, space_id)
        if number == 0:
            struct.pack_into(">I", page, 38, space_id)
            struct.pack_into(">I", page, 54, self.flags)
        return self.sealed(page)

    def sealed(self, page: bytearray) -> bytes:
        n = self.page_size
        low = page[20:24]
        if self.name == "full":
            page[n - 8 : n - 4] = low
            struct.pack_into(">I", page, n - 4, crc(bytes(page[: n - 4])))
        elif self.name == "crc32":
            page[n - 4 :] = low
            struct.pack_into(">I", page, 0, crc(bytes(page[4:26])) ^ crc(bytes(page[38 : n - 8])))
        else:
            total = crc(bytes(page[4:16])) ^ crc(bytes(page[24:26])) ^ crc(bytes(page[34:]))
            struct.pack_into(">I", page, 0, total)
        return bytes(page)


def write_space(
    path: Path, kind: Kind, pages: int, *, space_id: int = 7, lsn: int = 1000, lsns: dict[int, int] | None = None
) -> FileRef:
    """A whole tablespace; ``lsns`` gives single pages another LSN, None in it makes a page of zeros."""
    given = lsns or {}
    with path.open("wb") as f:
        for number in range(pages):
            f.write(kind.page(number, space_id, given.get(number, lsn)))
    return listed(path)


def listed(path: Path, name: str = "") -> FileRef:
    """The file as a listing has it, under any name in the backup."""
    ref = file_ref(name or path.name, "", link=str(path))
    assert ref is not None
    return ref


def overwrite(path: str | Path, offset: int, data: bytes) -> None:
    """Change bytes in place, as a server would."""
    fd = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(fd, data, offset)
    finally:
        os.close(fd)
