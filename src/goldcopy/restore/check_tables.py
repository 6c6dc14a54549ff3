"""The indexes of a recovered directory, checked by its own server: CHECK TABLE on every InnoDB table.

The server runs read-only, so that nothing is changed, and one that falls over a damaged page leaves nothing to be
recovered: it is started again for the tables that are left. MariaDB 11.8 calls sound tables corrupt then, as long as
something is to be purged; under innodb_force_recovery=3 it changes no page either (see ``redo_only``). What no index
holds (undo, free pages, the dictionary's own tablespace) is checked by the pages' sums before.
"""

from __future__ import annotations

from collections.abc import Iterator

import pymysql
from pymysql.cursors import Cursor

from goldcopy.dialect import choose
from goldcopy.errors import BackupInvalid
from goldcopy.events import Emit, Note, Warn
from goldcopy.image.manifest import Manifest
from goldcopy.restore.redo_only import APPLY_ONLY
from goldcopy.restore.served import Served, Table, asked, tables_of
from goldcopy.restore.sums import page_damages

LOG_NAME = "goldcopy-check.log"
_TABLES = (
    "SELECT TABLE_SCHEMA, TABLE_NAME FROM information_schema.TABLES"
    " WHERE TABLE_TYPE = 'BASE TABLE' AND ENGINE = 'InnoDB' ORDER BY TABLE_SCHEMA, TABLE_NAME"
)
_SOUND = frozenset({"OK", "Table is already up to date"})
_VANISHED = frozenset({2006, 2013, 1053, 0})
_ABSENT = ("discarded", "is missing", "doesn't exist in engine")
"""Words about a table that has no file: by DISCARD TABLESPACE, or because a filter left it out of the backup."""


def check_tables(served: Served, manifest: Manifest | None, emit: Emit) -> int:
    """Check all tables, and before that the sums of all pages where ``manifest`` says which files hold any.

    Returns how many tables were checked. Raises BackupInvalid, after telling of each, when one is damaged.
    """
    emit(Note("Starting table checks"))
    damaged = [*_bad_spaces(manifest, served.directory, emit)] if manifest else []
    checked: set[Table] = set()
    while not _run(served, checked, damaged, emit):
        pass
    if damaged:
        raise BackupInvalid(
            f"Table check failed: damaged are {', '.join(damaged)}",
            hint="these tables cannot be relied on: use another backup, or restore and rebuild or drop them",
        )
    emit(Note(f"All table checks passed ({len(checked)} tables)"))
    return len(checked)


def _bad_spaces(manifest: Manifest, directory: str, emit: Emit) -> Iterator[str]:
    for space in manifest.spaces:
        emit(Note(f"verifying checksums of tablespace {space.path}"))
        bad = list(page_damages(manifest, directory, space))
        for damage in bad:
            emit(Warn("check-tables", f"tablespace {damage.path} is corrupted: {damage.what}"))
        if bad:
            yield space.path


def _run(served: Served, checked: set[Table], damaged: list[str], emit: Emit) -> bool:
    """Check what is not in ``checked`` by one run of the server. False: the server fell over the last one."""
    mariadb = choose(served.version, force=True).family == "mariadb"
    untouched = APPLY_ONLY if mariadb else ("--innodb-read-only=ON",)
    with served.serve(LOG_NAME, emit, *untouched) as run, asked(run) as cursor:
        for table in tables_of(cursor, _TABLES):
            if table in checked:
                continue
            emit(Note(f"Checking: {table.shown}"))
            checked.add(table)
            try:
                wrong = _wrong(cursor, table)
            except pymysql.Error as e:
                if e.args[0] not in _VANISHED:
                    raise
                wrong = "the server ended while it read the table"
                emit(Warn("check-tables", f"table {table.shown} is corrupted: {wrong}"))
                damaged.append(table.shown)
                return False
            if wrong:
                emit(Warn("check-tables", f"table {table.shown} is corrupted: {wrong}"))
                damaged.append(table.shown)
        run.stop()
    return True


def _wrong(cursor: Cursor, table: Table) -> str:
    """What CHECK TABLE finds wrong, "" for nothing."""
    cursor.execute(f"CHECK TABLE {table.quoted}")
    said = [(str(kind), str(text)) for _table, _op, kind, text in cursor.fetchall()]
    texts = [text for kind, text in said if kind in ("error", "warning") or (kind == "status" and text not in _SOUND)]
    return "" if any(word in text for text in texts for word in _ABSENT) else "; ".join(texts)
