"""What the ``.frm`` and ``.par`` files of a backup say: which tables of InnoDB there are, and their partitions.

``.frm``: two magic bytes, the engine's number at 3, that of the partitions at 61 (sql/unireg.cc,
build_frm_image). ``.par``: from 12 on the engines, then the length of the names and the names, each ended by a zero
byte (sql/ha_partition.cc, create_handler_file).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator

_MAGIC = b"\xfe\x01"
_ENGINE_AT, _PART_ENGINE_AT, _HEAD_BYTES = 3, 61, 64
_INNODB, _PARTITIONED = 12, 20
_FRM, _PAR, _IBD, _PART = ".frm", ".par", ".ibd", "#P#"


def defined_tablespaces(home: str, paths: Iterable[str]) -> Iterator[str]:
    """Names of the tablespace files that tables of InnoDB have among ``paths`` (relative to ``home``).

    A table whose tablespace was discarded, or that lies in the system tablespace, looks no different.
    """
    for path in paths:
        table = path.removesuffix(_FRM)
        if table == path:
            continue
        with open(os.path.join(home, path), "rb") as f:
            head = f.read(_HEAD_BYTES)
        if len(head) < _HEAD_BYTES or not head.startswith(_MAGIC):
            continue
        if head[_ENGINE_AT] == _INNODB:
            yield table + _IBD
        elif head[_ENGINE_AT] == _PARTITIONED and head[_PART_ENGINE_AT] == _INNODB:
            yield from (f"{table}{_PART}{name}{_IBD}" for name in _partitions(os.path.join(home, table + _PAR)))


def _partitions(path: str) -> list[str]:
    """As they stand in file names. A ``.par`` that is gone, or damaged, names none."""
    try:
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return []
    count = int.from_bytes(data[8:12], "little")
    names = data[16 + -(-count // 4) * 4 :].split(b"\0")
    return [os.fsdecode(name) for name in names[:count]]
