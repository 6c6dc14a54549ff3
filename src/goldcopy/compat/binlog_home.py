"""Where ``--copy-back`` puts the binlog that a backup of MySQL holds, so that the server goes on with its numbers.

The file keeps its name and lies where the server's binlogs will; the index is written anew, because it names the file
by its place (sql/binlog.cc, generate_new_name and the index file).
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from goldcopy.compat.infofiles import parse_binlog_info
from goldcopy.compat.peerdir import find_file, read_text

_INDEX = ".index"


@dataclass(frozen=True)
class BinlogHome:
    """``name``, ``index_name``: in the backup. ``path``: of the binlog; ``index``: of the index, which names it by
    ``entry``; all where the restored server has them."""

    name: str
    index_name: str
    path: str
    index: str
    entry: str


def binlog_home(home: str, datadir: str, log_bin: str, log_bin_index: str) -> BinlogHome | None:
    """The places, by the server's ``log_bin`` and ``log_bin_index``, "" = not set; None for a backup without binlog."""
    found = find_file(home, "binlog_info")
    name = os.path.basename(parse_binlog_info(read_text(os.path.join(home, found))).binlog_file) if found else ""
    index_name = name.rpartition(".")[0] + _INDEX
    if not (name and os.path.isfile(os.path.join(home, name)) and os.path.isfile(os.path.join(home, index_name))):
        return None
    datadir = os.path.abspath(datadir)
    base = os.path.join(datadir, os.path.splitext(log_bin)[0] or index_name.removesuffix(_INDEX))
    path = os.path.join(os.path.dirname(base), name)
    index = os.path.join(datadir, log_bin_index or os.path.splitext(base)[0])
    at_home = os.path.dirname(path) == datadir
    return BinlogHome(
        name, index_name, os.path.normpath(path), os.path.normpath(index.removesuffix(_INDEX) + _INDEX),
        f"./{name}" if at_home else os.path.normpath(path),
    )  # fmt: skip
