"""innodb_data_file_path: the files of the system tablespace, each with its size, in one text.

    PATH:SIZE[:autoextend[:max:SIZE]][;PATH:SIZE...]

A path may hold colons itself; a size may be followed by ``raw`` or ``newraw``, ``autoextend`` by MariaDB 11.2's
``autoshrink`` (``SysTablespace::parse_params``).
"""

from __future__ import annotations

import os
import re

import msgspec

DEFAULT = "ibdata1:12M:autoextend"
_PART = re.compile(
    r"(?P<path>.+?):(?P<sizes>\d+[KMG]?(?:new)?(?:raw)?(?::autoextend(?::autoshrink|:max:\d+[KMG]?)*)?)", re.IGNORECASE
)


class DataFile(msgspec.Struct, frozen=True):
    """``path``: as it is told, absolute or relative to innodb_data_home_dir. ``sizes``: what stands behind it."""

    path: str
    sizes: str

    @property
    def name(self) -> str:
        """What it is called in a backup."""
        return os.path.basename(self.path)


def data_files(text: str) -> tuple[DataFile, ...]:
    """The files in their order; of an empty text those that a server makes by default."""
    return tuple(_data_file(part) for part in (text or DEFAULT).split(";") if part)


def _data_file(part: str) -> DataFile:
    found = _PART.fullmatch(part)
    return DataFile(found["path"], found["sizes"]) if found else DataFile(part, DEFAULT.partition(":")[2])
