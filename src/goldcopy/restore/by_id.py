"""Redo applied by tablespace id alone, for a server that replays renames by name (MySQL 5.6).

Its recovery renames a tablespace again whenever one of the old name has the id of the record and the new name is free
(fil0fil.cc, fil_op_log_parse_or_replay). Our files have their final names from the start: one that came back to a name
it had left (partitions exchanged twice, tables swapped) is taken away from it again, and the table is lost. So redo is
applied, without rollback (see ``redo_only``), while every tablespace has a name that no record knows; then all get
their own back, and a log without records takes the place of the one that was applied.

The server is killed when all pages are on disk: a clean shutdown waits for transactions that nobody rolls back.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Iterator, Sequence

from pymysql.cursors import Cursor

from goldcopy.dialect import choose
from goldcopy.errors import RecoveryFailed
from goldcopy.events import Emit
from goldcopy.formats import Lsn
from goldcopy.formats.redo import LogFile, Window
from goldcopy.image.manifest import Manifest
from goldcopy.restore.materialise import Placement
from goldcopy.restore.redo_files import write_empty_logs
from goldcopy.restore.redo_only import APPLY_ONLY, refuse_corrupt
from goldcopy.restore.served import asked
from goldcopy.server.process import RecoveryRun

_FLUSH_FAST = "--innodb-io-capacity=20000"
_PREFIX = "goldcopy-"
_KINDS = (".ibd", ".isl")
"""A table elsewhere has a link file in the data directory, and its name in memory from there."""

_STALL_S, _POLL_S = 120.0, 0.05


def apply_by_id(
    manifest: Manifest, window: Window, placement: Placement, program: str, options: Sequence[str], log: str, emit: Emit
) -> tuple[str, list[LogFile]]:
    """Apply the redo that lies in the data directory. Returns what the server said, and the new log's files.

    ``log``: where the server writes its messages. It misses every table by name, but must not have passed over a
    corrupt page: PageCorrupt. May be called again after a run that was cut off. Raises RecoveryFailed and what
    ``RecoveryRun`` raises.
    """
    with _nameless(manifest, placement):
        with RecoveryRun(program, placement.datadir, [*options, *APPLY_ONLY, _FLUSH_FAST], log, emit) as run:
            run.wait_ready()
            with asked(run) as cursor:
                _wait_for_flush(cursor)
                source = choose(manifest.server.version, force=True).lsn
                cursor.execute(source.sql)
                _, reached = source.parse(cursor.fetchall())
            text = run.log_text()
        refuse_corrupt(text)
        logs = write_empty_logs(window, Lsn(max(reached, window.end)), placement.datadir)
    return text, logs


def _wait_for_flush(cursor: Cursor) -> None:
    """Until no page is dirty: an idle server writes them all."""
    fewest, since = None, time.monotonic()
    while dirty := _dirty_pages(cursor):
        if fewest is None or dirty < fewest:
            fewest, since = dirty, time.monotonic()
        if time.monotonic() - since > _STALL_S:
            raise RecoveryFailed(f"the server still keeps {dirty} pages in memory after {_STALL_S:.0f} s")
        time.sleep(_POLL_S)


def _dirty_pages(cursor: Cursor) -> int:
    cursor.execute("SHOW GLOBAL STATUS LIKE 'Innodb_buffer_pool_pages_dirty'")
    return int(cursor.fetchall()[0][1])


@contextlib.contextmanager
def _nameless(manifest: Manifest, placement: Placement) -> Iterator[None]:
    """While the block runs, tablespaces in database directories are called after their ids."""
    try:
        for own, neutral in _names(manifest, placement):
            _rename(own, neutral)
        yield
    finally:
        for own, neutral in _names(manifest, placement):
            _rename(neutral, own)


def _names(manifest: Manifest, placement: Placement) -> Iterator[tuple[str, str]]:
    for space in manifest.spaces:
        database, _, file = space.path.rpartition("/")
        # one whose page 0 is only in the redo has no id yet: the server makes it, under the name of its record
        if not database or not file.endswith(".ibd") or space.stored == "raw":
            continue
        own = os.path.join(placement.datadir, space.path.removesuffix(".ibd"))
        neutral = os.path.join(placement.datadir, database, f"{_PREFIX}{space.space_id}")
        for kind in _KINDS:
            yield own + kind, neutral + kind


def _rename(old: str, new: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.rename(old, new)
