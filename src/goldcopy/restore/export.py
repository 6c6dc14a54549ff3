"""Make tables importable elsewhere: the server itself writes .cfg (and .cfp) beside every InnoDB tablespace.

``FLUSH TABLES ... FOR EXPORT`` writes them, and UNLOCK TABLES removes them again: so each gets a second name while
the tables are locked, and its own name back afterwards.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence

import pymysql
from pymysql.cursors import Cursor

from goldcopy.errors import RecoveryFailed
from goldcopy.events import Emit, Note, Phase, Warn
from goldcopy.image import osfile
from goldcopy.restore.served import Served, Table, asked, tables_of
from goldcopy.server.process import RecoveryRun

LOG_NAME = "goldcopy-export.log"
_KEPT = ".goldcopy-exported"
_WRITTEN = (".cfg", ".cfp")
_AT_ONCE = 100
_ROLLED_BACK = "Rolled back recovered transaction"
_MUST_ROLL_BACK = "which must be rolled back or cleaned up"
_ALL_ROLLED_BACK = "Rollback of non-prepared transactions completed"
_POLL_S, _PATIENCE_S = 0.05, 24 * 3600.0
_TABLES = (
    "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES"
    " WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE = 'InnoDB' AND TABLE_SCHEMA NOT IN ('mysql', 'information_schema',"
    " 'performance_schema', 'sys') ORDER BY TABLE_SCHEMA, TABLE_NAME"
)
_FULLTEXT = (
    "SELECT DISTINCT TABLE_SCHEMA, TABLE_NAME FROM information_schema.STATISTICS WHERE INDEX_TYPE = 'FULLTEXT'"
)


def export_tables(served: Served, emit: Emit) -> int:
    """Start a server on the directory, which rolls back what is open, and have every table exported.

    Returns how many tables have their files now. Raises RecoveryFailed. Tables that cannot be exported are told in a
    Warn; they do not stop the others.
    """
    emit(Phase("export", f"tables are prepared for import elsewhere by {served.mysqld}"))
    kept: dict[str, str] = {}
    try:
        with served.serve(LOG_NAME, emit) as run:
            _wait_for_rollback(run)
            count = _export(run, served.directory, emit, kept)
            run.stop()
            _tell_rollbacks(run.log_text(), emit)
    finally:
        for path, name in kept.items():
            os.rename(name, path)
    return count


def _wait_for_rollback(run: RecoveryRun) -> None:
    """The server answers before its background thread has rolled everything back: until then tables hold too much."""
    until = time.monotonic() + _PATIENCE_S
    while _MUST_ROLL_BACK in (text := run.log_text()) and _ALL_ROLLED_BACK not in text:
        if time.monotonic() > until:
            raise RecoveryFailed("the server does not get to the end of rolling back what was open")
        time.sleep(_POLL_S)


def _tell_rollbacks(text: str, emit: Emit) -> None:
    for line in text.splitlines():
        if _ROLLED_BACK in line:
            emit(Note(line[line.index(_ROLLED_BACK) :]))


def _export(run: RecoveryRun, directory: str, emit: Emit, kept: dict[str, str]) -> int:
    with asked(run) as cursor:
        _tell_prepared(cursor, emit)
        tables = tables_of(cursor, _TABLES)
        for table in tables_of(cursor, _FULLTEXT):
            if table in tables:
                emit(Warn("fulltext", f"{table.quoted}: fulltext indexes are not exported, IMPORT rebuilds them"))
        return sum(_flush(cursor, group, directory, emit, kept) for group in _groups(tables))


def _tell_prepared(cursor: Cursor, emit: Emit) -> None:
    cursor.execute("XA RECOVER")
    count = len(cursor.fetchall())
    if count:
        emit(
            Warn("xa-prepared", f"{count} XA PREPARED transaction(s) stay as they are: a table that one of them has"
                 " changed is exported with these changes half done")
        )


def _groups(tables: Sequence[Table]) -> Iterator[Sequence[Table]]:
    for at in range(0, len(tables), _AT_ONCE):
        yield tables[at : at + _AT_ONCE]


def _flush(cursor: Cursor, tables: Sequence[Table], directory: str, emit: Emit, kept: dict[str, str]) -> int:
    """Export some tables together; one that refuses is found by halving. ``kept``: see ``_keep_written``."""
    try:
        cursor.execute(f"FLUSH TABLES {', '.join(t.quoted for t in tables)} FOR EXPORT")
    except pymysql.Error as e:
        cursor.execute("UNLOCK TABLES")
        if len(tables) == 1:
            emit(Warn("export", f"{tables[0].quoted} cannot be exported: {e.args[-1]}"))
            return 0
        half = len(tables) // 2
        return sum(_flush(cursor, part, directory, emit, kept) for part in (tables[:half], tables[half:]))
    _keep_written(directory, kept)
    cursor.execute("UNLOCK TABLES")
    return len(tables)


def _keep_written(directory: str, kept: dict[str, str]) -> None:
    """The server removes its files with the lock: they get other names. ``kept``: path -> that name."""
    for path in _files(directory, _WRITTEN):
        name = osfile.beside(path, _KEPT)
        if os.path.exists(name):
            os.unlink(name)
        os.link(path, name)
        kept[path] = name


def _files(directory: str, suffixes: tuple[str, ...]) -> Iterator[str]:
    for entry in os.scandir(directory):
        if entry.is_dir(follow_symlinks=False):
            for name in os.listdir(entry.path):
                if name.endswith(suffixes):
                    yield os.path.join(entry.path, name)
