"""The server's binlogs as witnesses: they tell whether it was set back to an older state since a backup was taken.

A snapshot of the volume that was rolled back, or files copied over the old ones, leave the data's identity as it was;
and once the server has written past the backup's LSN, LSNs tell nothing either.
"""

from __future__ import annotations

import os
import struct

from goldcopy.server.instance import Instance

_MAGIC = b"\xfebin"
_TIMESTAMP = struct.Struct("<I")
_CLOCK_S = 1.0
"""Events carry whole seconds."""


def contradiction(instance: Instance, file: str, position: int, at_s: float) -> str:
    """How the binlogs contradict that the server stood at ``file``, ``position`` at the time ``at_s`` (Unix time).

    "" when they do not, or show nothing: no binlog, purged, made anew since (RESET MASTER), encrypted, renamed.
    """
    names = _listed(instance)
    if not (file and names) or _base(names[0]) != _base(file):
        return ""
    first = _created_s(instance.binlog_path(names[0]))
    if first is None or first > at_s - _CLOCK_S:
        return ""
    if _number(file) > _number(names[-1]):
        return f"its binlogs end with {names[-1]}"
    if file not in names:
        return ""
    path = instance.binlog_path(file)
    if os.path.getsize(path) < position:
        return f"its {file} is shorter than that"
    created = _created_s(path)
    return f"its {file} was begun after that" if created is not None and created > at_s + _CLOCK_S else ""


def _listed(instance: Instance) -> list[str]:
    index = instance.variables.get("log_bin_index", "")
    try:
        with open(os.path.join(instance.datadir, index), encoding="utf-8", errors="surrogateescape") as f:
            return [os.path.basename(line.strip()) for line in f if line.strip()]
    except OSError:
        return []


def _created_s(path: str) -> int | None:
    """Time of a binlog's first event, Unix time; None when it cannot be read."""
    try:
        with open(path, "rb") as f:
            head = f.read(len(_MAGIC) + _TIMESTAMP.size)
    except OSError:
        return None
    if len(head) < len(_MAGIC) + _TIMESTAMP.size or not head.startswith(_MAGIC):
        return None
    created: int = _TIMESTAMP.unpack_from(head, len(_MAGIC))[0]
    return created


def _base(name: str) -> str:
    return name.rpartition(".")[0]


def _number(name: str) -> int:
    digits = name.rpartition(".")[2]
    return int(digits) if digits.isdigit() else 0
