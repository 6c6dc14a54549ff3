"""The oracle: has a restored server lost anything?

A restored server is right when it starts clean, CHECK TABLE finds nothing that it does not find on the source too,
the bank's books balance, and, once the source's binlog is replayed from the position that the backup recorded to a
quiesced end, every table, view, routine, trigger, event, user and sequence equals the source's.

The position is proved by the replay: a row event off by one either breaks it (an insert meets its own row, an
update finds none) or leaves a difference.
"""

from __future__ import annotations

import re
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lab import schema
from lab.schema import quote
from lab.server import LabServer, client

PURGE_TIMEOUT_S = 30.0
SYSTEM = ("information_schema", "performance_schema", "mysql", "sys", "PERCONA_SCHEMA")
_TEXT = {
    "char", "varchar", "tinytext", "text", "mediumtext", "longtext", "binary", "varbinary", "tinyblob", "blob",
    "mediumblob", "longblob", "enum", "set", "geometry", "point", "linestring", "polygon",
}


class Lost(AssertionError):
    """The restored server is not what it should be; the message says what is missing or differs."""


@dataclass(frozen=True)
class Table:
    """One table's content as a sum: rows, and the sum of a hash of each row, whatever their order."""

    rows: int
    total: int


@dataclass(frozen=True)
class State:
    """All that a server holds for its users, comparable between servers."""

    tables: dict[str, Table]
    definitions: dict[str, str]
    checks: dict[str, tuple[str, ...]] = field(compare=False)


# ------------------------------------------------------------------ sums of tables
def tables(server: LabServer) -> list[tuple[str, str, str]]:
    """(database, table, type) of all tables and sequences of users."""
    names = ",".join(f"'{n}'" for n in SYSTEM)
    return [
        (str(a), str(b), str(c))
        for a, b, c in server.sql(
            "SELECT table_schema, table_name, table_type FROM information_schema.tables"
            f" WHERE table_schema NOT IN ({names}) AND table_type IN ('BASE TABLE', 'SEQUENCE') ORDER BY 1, 2"
        )
    ]


def _row_hash(server: LabServer, database: str, table: str) -> str:
    """An SQL expression: a number made of all columns of a row, virtual ones too."""
    columns = server.sql(
        "SELECT column_name, data_type FROM information_schema.columns"
        f" WHERE table_schema = {_text(database)} AND table_name = {_text(table)} ORDER BY ordinal_position"
    )
    parts = []
    for name, kind in columns:
        column = quote(str(name))
        if kind in _TEXT:
            column = f"SHA2({column}, 224)"
        elif kind == "bit":
            column = f"{column} + 0"
        parts.append(f"IFNULL({column}, '~')")
    return f"CAST(CONV(LEFT(SHA2(CONCAT_WS(',', {', '.join(parts)}), 256), 15), 16, 10) AS UNSIGNED)"


def _text(value: str) -> str:
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def table_sum(server: LabServer, database: str, table: str) -> Table:
    """The Table of one table."""
    expression = _row_hash(server, database, table)
    rows, total = server.sql(
        "SET time_zone = '+00:00'", f"SELECT COUNT(*), COALESCE(SUM({expression}), 0) FROM {quote(database, table)}"
    )[0]
    return Table(int(rows), int(total))


def differing_rows(source: LabServer, restored: LabServer, name: str, limit: int = 3) -> str:
    """Which rows of a table only one of the two has, in words."""
    database, table = name.split("\0")
    found = [_hashes(server, database, table) for server in (source, restored)]
    out = []
    for label, mine, other in (("lost", found[0], found[1]), ("too much", found[1], found[0])):
        hashes = Counter(h for h, _ in mine)
        hashes.subtract(Counter(h for h, _ in other))
        rows = [text for h, text in mine if hashes[h] > 0]
        if rows:
            out.append(f"{len(rows)} rows {label}: " + " | ".join(rows[:limit]))
    return "; ".join(out) or "the rows are equal now: one of the two still changes"


def _hashes(server: LabServer, database: str, table: str) -> list[tuple[int, str]]:
    expression = _row_hash(server, database, table)
    rows = server.sql("SET time_zone = '+00:00'", f"SELECT {expression}, t.* FROM {quote(database, table)} t")
    return [(int(row[0]), ", ".join(str(v)[:30] for v in row[1:])) for row in rows]


# ------------------------------------------------------------------ definitions
def definitions(server: LabServer) -> dict[str, str]:
    """The text of every definition, by what it is and its name."""
    out: dict[str, str] = {}
    for database in _databases(server):
        out[f"database {database}"] = str(server.sql(f"SHOW CREATE DATABASE {quote(database)}")[0][1])
    for database, table, _ in tables(server):
        text = str(server.sql(f"SHOW CREATE TABLE {quote(database, table)}")[0][1])
        out[f"table {database}.{table}"] = _without_places(text)
    return out | _code(server) | _accounts(server)


def _without_places(text: str) -> str:
    """A definition without what a replay or a restore to another place may change."""
    text = re.sub(r" AUTO_INCREMENT=\d+", "", text)
    return re.sub(r"DATA DIRECTORY ?= ?'[^']*'", "DATA DIRECTORY", text)


def _databases(server: LabServer) -> list[str]:
    return [str(d) for (d,) in server.sql("SHOW DATABASES") if str(d) not in SYSTEM and not str(d).startswith("#")]


def _code(server: LabServer) -> dict[str, str]:
    """Views, routines, triggers and events."""
    schemas = ",".join(f"'{n}'" for n in SYSTEM)
    asks = {
        "VIEW": f"SELECT table_schema, table_name FROM information_schema.views WHERE table_schema NOT IN ({schemas})",
        "TRIGGER": f"SELECT trigger_schema, trigger_name FROM information_schema.triggers"
                   f" WHERE trigger_schema NOT IN ({schemas})",
        "EVENT": f"SELECT event_schema, event_name FROM information_schema.events WHERE event_schema NOT IN ({schemas})",
    }
    for kind in ("PROCEDURE", "FUNCTION"):
        asks[kind] = (
            "SELECT routine_schema, routine_name FROM information_schema.routines"
            f" WHERE routine_type = '{kind}' AND routine_schema NOT IN ({schemas})"
        )
    column = {"VIEW": 1, "TRIGGER": 2, "EVENT": 3, "PROCEDURE": 2, "FUNCTION": 2}
    return {
        f"{kind.lower()} {database}.{name}": str(
            server.sql(f"SHOW CREATE {kind} {quote(str(database), str(name))}")[0][column[kind]]
        )
        for kind, ask in asks.items()
        for database, name in server.sql(ask)
    }


def _accounts(server: LabServer) -> dict[str, str]:
    """Users with their passwords' hashes and grants."""
    out = {}
    for user, host in server.sql("SELECT user, host FROM mysql.user"):
        who = f"{_text(str(user))}@{_text(str(host))}"
        try:
            grants = [str(row[0]) for row in server.sql(f"SHOW GRANTS FOR {who}")]
        except Exception as e:  # a role has no host, and shows its grants under its bare name
            grants = [str(getattr(e, "args", [e])[0])]
        if server.mariadb or server.info.number >= (5, 7):
            grants += [str(row[0]) for row in _create_user(server, who)]
        out[f"user {user}@{host}"] = "\n".join(sorted(grants))
    return out


def _create_user(server: LabServer, who: str) -> list[tuple[Any, ...]]:
    try:
        return server.sql(f"SHOW CREATE USER {who}")
    except Exception as e:
        return [(getattr(e, "args", [e])[0],)]


# ------------------------------------------------------------------ a server's state
def wait_for_purge(server: LabServer, timeout_s: float = PURGE_TIMEOUT_S) -> None:
    """Let purge go as far as it will: an idle MySQL leaves some history, and a prepared XA transaction holds it."""
    until, best, stalled = time.monotonic() + timeout_s, -1, 0
    while time.monotonic() < until and stalled < 5:
        found = re.search(r"History list length (\d+)", str(server.sql("SHOW ENGINE INNODB STATUS")[0][2]))
        length = int(found[1]) if found else 0
        if length < 5:
            return
        stalled = 0 if best < 0 or length < best else stalled + 1
        best = length
        time.sleep(0.2)


def check_tables(server: LabServer) -> dict[str, tuple[str, ...]]:
    """What CHECK TABLE ... EXTENDED says of each table, the server's own too, that it does not find in order."""
    own = server.sql(
        "SELECT table_name FROM information_schema.tables WHERE table_schema = 'mysql' AND table_type = 'BASE TABLE'"
    )
    names = [(d, t) for d, t, _ in tables(server)] + [("mysql", str(t)) for (t,) in own]
    out = {}
    with server.connect() as connection, connection.cursor() as cursor:
        for database, table in names:
            cursor.execute(f"CHECK TABLE {quote(database, table)} EXTENDED")
            said = tuple(str(row[3]) for row in cursor.fetchall() if not _harmless(str(row[3])))
            if said:
                out[f"{database}.{table}"] = said
    return out


def _harmless(said: str) -> bool:
    return said in ("OK", "Table is already up to date") or "doesn't support" in said


def snapshot(server: LabServer, *, check: bool = True) -> State:
    """The state of a quiesced server."""
    wait_for_purge(server)
    sums = {f"{d}\0{t}": table_sum(server, d, t) for d, t, _ in tables(server)}
    return State(sums, definitions(server), check_tables(server) if check else {})


def compare(
    want: State, got: State, *, ignore: Iterable[str] = (), explain: Callable[[str], str] | None = None
) -> list[str]:
    """What differs, a line each. ``ignore``: ``database.table`` not to look at."""
    ignored, out = set(ignore), []
    for name in sorted(want.tables.keys() | got.tables.keys()):
        shown = name.replace("\0", ".")
        a, b = want.tables.get(name), got.tables.get(name)
        if a == b or shown in ignored:
            continue
        if a is None or b is None:
            out.append(f"table {shown}: {'lost' if b is None else 'should not be there'} ({(a or b).rows} rows)")  # type: ignore[union-attr]
        else:
            why = explain(name) if explain else ""
            out.append(f"table {shown}: {a.rows} rows became {b.rows}, or their content differs. {why}")
    for name in sorted(want.definitions.keys() | got.definitions.keys()):
        x, y = want.definitions.get(name), got.definitions.get(name)
        if x != y and name.removeprefix("table ") not in ignored:
            out.append(f"{name}: {'lost' if y is None else 'too much' if x is None else f'was {x!r}, is {y!r}'}")
    return out


# ------------------------------------------------------------------ the bank
def check_bank(server: LabServer) -> int:
    """Verify invariant and ledger. Returns the number of transfers. Raises Lost."""
    total, count = server.sql("SELECT SUM(balance), COUNT(*) FROM bank.account")[0]
    if (int(total or 0), count) != (schema.ACCOUNTS * schema.BALANCE, schema.ACCOUNTS):
        raise Lost(f"the bank has {count} accounts with {total}: money was made or lost")
    wrong = server.sql(
        "SELECT a.id, a.balance, COALESCE(l.change_, 0) FROM bank.account a LEFT JOIN (SELECT id, SUM(d) AS change_ FROM"
        " (SELECT source AS id, -amount AS d FROM bank.transfer UNION ALL SELECT target, amount FROM bank.transfer) x"
        f" GROUP BY id) l ON l.id = a.id WHERE a.balance <> {schema.BALANCE} + COALESCE(l.change_, 0)"
    )
    if wrong:
        raise Lost(f"{len(wrong)} accounts do not agree with the ledger: (id, balance, change) {wrong[:3]}")
    return int(server.value("SELECT COUNT(*) FROM bank.transfer") or 0)


# ------------------------------------------------------------------ the replay
def replay(server: LabServer, binlogs: list[Path], position: int, *, stop: int = 0) -> None:
    """Run the events of ``binlogs`` on the server, from ``position`` in the first. Raises Lost when one fails."""
    reader = client(server.info, "mariadb-binlog", "mysqlbinlog")
    command = [reader, f"--start-position={position}", *map(str, binlogs)]
    if stop:
        command.insert(1, f"--stop-position={stop}")
    if not server.mariadb:
        command.insert(1, "--skip-gtids")
    writer = [client(server.info, "mariadb", "mysql"), "-uroot", f"--socket={server.socket}", "--binary-mode",
              "--max-allowed-packet=1G", "--comments"]
    with (server.base / "binlog.err").open("w+") as complaints:
        source = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=complaints)
        done = subprocess.run(writer, stdin=source.stdout, capture_output=True, check=False)
        assert source.stdout
        source.stdout.close()
        source.wait()
        complaints.seek(0)
        said = complaints.read()
    if done.returncode:
        error = done.stderr.decode(errors="replace").strip()
        raise Lost(f"the source's binlog does not fit the restored data (position {position}): {error[-600:]}")
    if source.returncode:
        raise Lost(f"the binlog cannot be read from {binlogs[0].name}:{position}: {said[-600:]}")


def binlogs_from(files: list[Path], first: str) -> list[Path]:
    """The binlogs from ``first`` on. Raises Lost when it is not among them."""
    names = [f.name for f in files]
    if first not in names:
        raise Lost(f"the recorded binlog {first!r} is none of the source's: {names}")
    return files[names.index(first):]


# ------------------------------------------------------------------ the whole judgement
@dataclass
class Point:
    """Where in the source's binlog a backup says that it stands, as ``goldcopy info --json`` tells."""

    binlog_file: str
    binlog_position: int
    gtid: str = ""


def check_restored(
    want: State, restored: LabServer, point: Point, binlogs: list[Path], *, source: LabServer | None = None,
    ignore: Iterable[str] = (), bank: bool = True, expected: str = "",
) -> int:
    """Judge a restored, running server. Returns the transfers it held before the replay. Raises Lost.

    ``want``: the state of the quiesced source. ``source``: if it still runs, messages can name the rows that differ.
    ``expected``: a regular expression for errors in the server's log that any such restore makes.
    """
    errors = [e for e in restored.errors() if not (expected and re.search(expected, e))]
    if errors:
        raise Lost(f"the restored server complains: {errors[:5]}")
    if point.gtid and not restored.mariadb:
        _check_gtid(restored, point.gtid)
    transfers = check_bank(restored) if bank else 0
    _compare_checks(want, restored)
    restored.sql("SET GLOBAL event_scheduler = OFF")
    replay(restored, binlogs_from(binlogs, point.binlog_file), point.binlog_position)
    if bank:
        check_bank(restored)
    explain = (lambda name: differing_rows(source, restored, name)) if source else None
    found = compare(want, snapshot(restored, check=False), ignore=ignore, explain=explain)
    if found:
        raise Lost(f"{len(found)} differences after the replay:\n  " + "\n  ".join(found[:20]))
    return transfers


def _check_gtid(restored: LabServer, gtid: str) -> None:
    """The server's own executed set is the recorded one."""
    has = str(restored.value("SELECT @@global.gtid_executed")).replace("\n", "")
    equal = restored.value(f"SELECT GTID_SUBSET('{gtid}', '{has}') AND GTID_SUBSET('{has}', '{gtid}')")
    if not equal:
        raise Lost(f"gtid_executed of the restored server is {has!r}, recorded was {gtid!r}")


def _compare_checks(want: State, restored: LabServer) -> None:
    """CHECK TABLE finds nothing that the source's does not find too.

    MariaDB's purge leaves delete-marked records in indexes over virtual columns, which no query ever sees; CHECK
    warns of them, on the source as on the copy, but not of the same ones at different times.
    """
    wait_for_purge(restored)
    of_source = {_orphan(text) for texts in want.checks.values() for text in texts} - {""}
    virtual = _virtual_indexes(restored)
    found = {}
    for name, texts in check_tables(restored).items():
        new = set(texts) - set(want.checks.get(name, ()))
        bad = {t for t in new if not (_orphan(t) and (of_source or (name, _orphan(t)) in virtual))}
        if bad:
            found[name] = sorted(bad)
    if found:
        raise Lost(f"CHECK TABLE EXTENDED: {dict(list(found.items())[:5])}")


def _orphan(said: str) -> str:
    """The index in which CHECK TABLE found a delete-marked record without a row; empty for any other complaint."""
    match = re.search(r"Clustered index record not found for index `([^`]*)`.*info_bits=32", said, re.S)
    return match[1] if match else ""


def _virtual_indexes(server: LabServer) -> set[tuple[str, str]]:
    """(database.table, index) of indexes over generated columns."""
    if not server.mariadb:
        return set()
    rows = server.sql(
        "SELECT CONCAT(s.table_schema, '.', s.table_name), s.index_name FROM information_schema.statistics s"
        " JOIN information_schema.columns c USING (table_schema, table_name, column_name)"
        " WHERE c.generation_expression IS NOT NULL"
    )
    return {(str(a), str(b)) for a, b in rows}
