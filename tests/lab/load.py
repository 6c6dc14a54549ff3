"""The load: writers in processes of their own, each paced, seeded, and replayable from a row binlog.

    with Load(server, seed=7) as load: ...      # stop() at the end; a writer that died fails it
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pymysql

from lab import schema
from lab.ddl import DdlWriter
from lab.schema import Kind, kind_of, noise, quote
from lab.server import LabServer

DEADLOCK, LOCK_WAIT, DUPLICATE = 1213, 1205, 1062
# the server could not run it now, nothing of it happened: table being redefined (159: seen by an older snapshot), DDL
# conflict, log too small for a blob, changed by another since MariaDB's snapshot (innodb_snapshot_isolation), deleted
# by another from a CSV table
PASSING = {DEADLOCK, LOCK_WAIT, DUPLICATE, 1412, 159, 1297, 1030, 1206, 1118, 1020, 1032}
WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa"]


class LoadFailed(Exception):
    """A writer ended by itself: something is wrong with the server or with the writer."""


# ------------------------------------------------------------------ the writers, each one step at a time
@dataclass
class Writer:
    """One connection and its random numbers. ``step`` does one thing, in one transaction."""

    connection: Any
    rng: random.Random
    kind: Kind
    steps: int = 0

    def run(self, *statements: str) -> None:
        """Execute statements on the writer's connection."""
        with self.connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)

    def end(self, rollback_share: float) -> None:
        """Commit, or roll back in this share of cases."""
        if self.rng.random() < rollback_share:
            self.connection.rollback()
        else:
            self.connection.commit()


class Bank(Writer):
    """Transfers: money is neither made nor lost, and the ledger says how each balance came about."""

    def step(self) -> None:
        """One transfer."""
        a, b = self.rng.sample(range(schema.ACCOUNTS), 2)
        amount = self.rng.randint(1, 50)
        self.run(
            f"UPDATE bank.account SET balance = balance - {amount} WHERE id = {a}",
            f"UPDATE bank.account SET balance = balance + {amount} WHERE id = {b}",
            "INSERT INTO bank.transfer (source, target, amount, note) VALUES"
            f" ({a}, {b}, {amount}, '{noise(self.rng, self.rng.randrange(150))}')",
        )
        self.end(0.15)


class Rows(Writer):
    """Random reads and writes on a table of each row format."""

    def step(self) -> None:
        """A few rows of a few tables."""
        tables = list(schema.row_tables(self.kind))
        for _ in range(self.rng.randint(1, 5)):
            self.run(self._one(f"forms.{self.rng.choice(tables)}", self.rng.randint(1, schema.ROWS)))
        self.end(0.1)

    def _one(self, table: str, row: int) -> str:
        rng, dice = self.rng, self.rng.random()
        if dice < 0.3:
            return f"UPDATE {table} SET k = k + 1 WHERE id = {row}"
        if dice < 0.55:
            return f"UPDATE {table} SET c = '{noise(rng, rng.randrange(90))}', f = {rng.random()} WHERE id = {row}"
        if dice < 0.65:
            return f"UPDATE {table} SET big = '{noise(rng, rng.randrange(20000))}' WHERE id = {row}"
        if dice < 0.75:
            return f"SELECT SUM(k) FROM {table} WHERE id BETWEEN {row} AND {row + 50}"
        if dice < 0.85:
            return f"DELETE FROM {table} WHERE id = {row}"
        return (
            f"REPLACE INTO {table} (id, k, c, pad, at) VALUES ({row}, {rng.randrange(999)}, '{noise(rng, 50)}',"
            f" '{noise(rng, 20)}', '2024-01-01 00:00:00' + INTERVAL {rng.randrange(10**7)} SECOND)"
        )


class Burner(Writer):
    """Large transactions whose redo is large and whose binlog is small: they make the redo log wrap."""

    def step(self) -> None:
        """Move a stretch of an index about."""
        low = self.rng.randrange(schema.BURN_ROWS // 2)
        self.run(f"UPDATE forms.burn SET k = k + 1 WHERE id BETWEEN {low} AND {low + schema.BURN_ROWS // 2}")
        self.end(0.2)


class Misc(Writer):
    """Foreign keys, fulltext, partitions, generated columns, code, odd names and every other engine."""

    def step(self) -> None:
        """One of each in turn; all else commits by itself."""
        rng, n = self.rng, self.steps
        text = noise(rng, 20)
        self.run(f"INSERT INTO misc.hashed (y, v) VALUES ({rng.randrange(100)}, '{text}')")
        turn: list[tuple[int, Callable[[], str]]] = [
            (2, lambda: f"INSERT INTO misc.subbed (y, v) VALUES ({rng.randrange(100)}, '{text}')"),
            (3, self._child),
            (5, lambda: f"INSERT INTO misc.words (t) VALUES ('{' '.join(rng.choices(WORDS, k=20))}')"),
            (5, lambda: f"INSERT INTO misc.keyless VALUES ({rng.randrange(9)}, '{text}')"),
            (7, lambda: f"INSERT INTO misc.mine1 (v) VALUES ('{text}')"),
            (9, lambda: f"INSERT INTO misc.merged (v) VALUES ('{text}')"),
            (11, lambda: f"INSERT INTO misc.commas VALUES ({n}, '{text}')"),
            (11, lambda: f"CALL misc.note_it('{text}')"),
            (13, self._odd),
            (25, lambda: "DELETE FROM misc.child ORDER BY id LIMIT 5"),
            (40, lambda: f"DELETE FROM misc.parent WHERE id = {rng.randint(151, 199)}"),
            (41, lambda: f"INSERT IGNORE INTO misc.parent VALUES ({rng.randint(151, 199)}, {n})"),
        ]
        if self.kind.virtual:
            turn.append((3, lambda: f"INSERT INTO misc.generated (a, b) VALUES ({rng.randrange(99)}, '{text}')"))
        if self.kind.mariadb:
            turn += [(7, lambda t=t: f"INSERT INTO misc.{t} (v) VALUES ('{text}')") for t in ("aria", "aria_plain")]
        if self.kind.replays_sequences:
            turn.append((6, lambda: "SELECT NEXTVAL(misc.seq)"))
        for every, make in turn:
            if n % every == 0:
                self.run(make())

    def _child(self) -> str:
        size = self.rng.randint(10, 60000)
        return f"INSERT INTO misc.child (pid, b) VALUES ({self.rng.randrange(150)}, '{noise(self.rng, size)}')"

    def _odd(self) -> str:
        table = quote(schema.ODD_DATABASE, schema.ODD_TABLE)
        return f"INSERT INTO {table} (`ключ`) VALUES ('{self.rng.choice('жзийк')}{self.steps}')"


class Archive(Writer):
    """Inserts into what cannot update; only where the schema has it."""

    def step(self) -> None:
        """One row."""
        self.run(f"INSERT INTO misc.archived VALUES ({self.steps}, '{noise(self.rng, 40)}')")


class Giant(Writer):
    """Transactions that touch every row of a table, so that undo grows and is truncated."""

    def step(self) -> None:
        """Rewrite a table."""
        table = self.rng.choice(["t_dynamic", "t_compact", "burn"])
        column = "pad" if table == "burn" else "c"
        self.run(f"UPDATE forms.{table} SET {column} = CONCAT(LEFT(SHA2(CONCAT(id, {self.steps}), 256), 36))")
        self.end(0.3)


class Remote(Writer):
    """Rows in the tables that lie outside the data directory or share a tablespace."""

    def step(self) -> None:
        """A row each."""
        text, n = noise(self.rng, 30), self.steps
        shared = ["in_shared1", "in_shared2", "in_far"] if not self.kind.mariadb and self.kind.number >= (5, 7) else []
        self.run(*[f"INSERT INTO forms.{t} (v) VALUES ('{text}')" for t in ("remote", *shared)])
        self.run(f"REPLACE INTO forms.remote_parts VALUES ({n % 500}, '{text}')")
        if n % 60 == 30:
            self.run("ALTER TABLE forms.remote FORCE")
        if n % 60 == 45:
            self.run("ALTER TABLE forms.remote_parts REBUILD PARTITION p1")


class Cipher(Writer):
    """Encryption switched on and off: of tables and tablespaces, of redo and undo, and by MariaDB's own threads."""

    def step(self) -> None:
        """One switch; those of the server's variables reach no binlog, and need no replay."""
        rng = self.rng
        table = f"forms.{rng.choice(['t_compact', 't_dynamic', 't_redundant', 't_paged', 'burn'])}"
        self.run(*rng.choice(self._of_mariadb(table) if self.kind.mariadb else self._of_mysql(table)))

    def _of_mariadb(self, table: str) -> list[list[str]]:
        wish, key = self.rng.choice(["YES", "NO", "DEFAULT"]), self.rng.choice([1, 2])
        zipped = f"ALTER TABLE forms.t_zip8 ENCRYPTED={wish}"
        usual = f"SET GLOBAL innodb_encrypt_tables = {self.rng.choice(['ON', 'OFF'])}"
        threads = f"SET GLOBAL innodb_encryption_threads = {self.rng.choice([1, 2, 4])}"
        return [[f"ALTER TABLE {table} ENCRYPTED={wish} ENCRYPTION_KEY_ID={key}"], [zipped], [usual, threads], [usual]]

    def _of_mysql(self, table: str) -> list[list[str]]:
        wish, switch = self.rng.choice("YN"), self.rng.choice(["ON", "OFF"])
        space = self.rng.choice(["shared_ts", "shared_ts", "mysql"])
        return [
            [f"ALTER TABLE {table} ENCRYPTION='{wish}'"],
            [f"ALTER TABLESPACE {space} ENCRYPTION='{wish}'"],
            ["ALTER INSTANCE ROTATE INNODB MASTER KEY"],
            [f"SET GLOBAL innodb_redo_log_encrypt = {switch}"],
            [f"SET GLOBAL innodb_undo_log_encrypt = {switch}"],
        ]


class Ddl(Writer):
    """Tables that come and go and change shape."""

    ddl: DdlWriter | None = None

    def step(self) -> None:
        """One statement of DDL, or a few rows for a table that has none yet."""
        self.ddl = self.ddl or DdlWriter(self.run, self.rng, self.kind)
        self.ddl.step()


# name -> (class, steps a second, autocommit)
WRITERS: dict[str, tuple[type[Writer], float, bool]] = {
    "bank": (Bank, 50, False),
    "rows": (Rows, 25, False),
    "misc": (Misc, 25, True),
    "burn": (Burner, 4, False),
    "ddl": (Ddl, 5, True),
    "cipher": (Cipher, 4, True),
    "giant": (Giant, 2, False),
    "remote": (Remote, 15, True),
    "archive": (Archive, 10, True),
}
USUAL = ("bank", "bank", "rows", "misc", "burn", "ddl")


# ------------------------------------------------------------------ a writer's process
class _Stop(Exception):
    pass


def _loop(writer: Writer, pace_s: float) -> dict[str, int]:
    """Step until SIGTERM; refusals that mean nothing happened are counted and passed over."""
    stopping: list[int] = []
    signal.signal(signal.SIGTERM, lambda *_: stopping.append(1))
    refused, next_at = 0, time.monotonic()
    while not stopping:
        writer.steps += 1
        try:
            writer.step()  # type: ignore[attr-defined]
        except pymysql.err.MySQLError as e:
            if not e.args or e.args[0] not in PASSING:
                raise
            refused += 1
            writer.connection.rollback()
        next_at = max(next_at + pace_s, time.monotonic() - 1)
        time.sleep(max(0.0, min(next_at - time.monotonic(), 1.0)))
    writer.connection.rollback()
    return {"steps": writer.steps, "refused": refused}


def _process(arguments: list[str]) -> None:
    parser = argparse.ArgumentParser()
    for name, kind in (("writer", str), ("socket", str), ("seed", int), ("pace", float), ("kind", json.loads)):
        parser.add_argument(name, type=kind)
    given = parser.parse_args(arguments)
    maker, rate, autocommit = WRITERS[given.writer]
    connection = pymysql.connect(
        unix_socket=given.socket, user="root", autocommit=autocommit, charset="utf8mb4", ssl_disabled=True
    )
    with connection.cursor() as cursor:
        cursor.execute("SET SESSION foreign_key_checks = 1")
    kind = Kind(given.kind["mariadb"], tuple(given.kind["number"]), given.kind["page_size"])
    writer = maker(connection, random.Random(given.seed), kind)
    print(json.dumps(_loop(writer, 1 / (rate * given.pace))), flush=True)


# ------------------------------------------------------------------ all of them
@dataclass
class Load:
    """Writers on a server. ``pace`` 1.0 leaves one of two cores to the backup."""

    server: LabServer
    seed: int = 0
    writers: tuple[str, ...] = USUAL
    pace: float = 1.0
    log: Path | None = None
    processes: list[tuple[str, subprocess.Popen[str]]] = field(default_factory=list)

    def start(self) -> Load:
        """Start the writers, and wait until each has begun."""
        kind = kind_of(self.server)
        described = json.dumps({"mariadb": kind.mariadb, "number": kind.number, "page_size": kind.page_size})
        print(f"load: writers {','.join(self.writers)}, seed {self.seed}", flush=True)
        environment = dict(os.environ, PYTHONPATH=str(Path(__file__).resolve().parents[1]))
        for n, name in enumerate(self.writers):
            command = [sys.executable, "-m", "lab.load", name, str(self.server.socket), str(self.seed * 100 + n),
                       str(self.pace), described]
            process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                env=environment,
            )
            self.processes.append((name, process))
        return self

    def check(self) -> None:
        """Raise LoadFailed when a writer has ended by itself."""
        for name, process in self.processes:
            if process.poll() is not None:
                raise LoadFailed(f"writer {name} (seed {self.seed}) died: {process.communicate()[1][-2000:]}")

    def go_on(self, seconds: float) -> None:
        """Let the writers write for so long. Raises LoadFailed when one of them has ended."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            time.sleep(min(0.5, seconds))
            self.check()

    def stop(self) -> dict[str, dict[str, int]]:
        """End the writers; what each did. Raises LoadFailed."""
        self.check()
        for _, process in self.processes:
            process.terminate()
        done: dict[str, dict[str, int]] = {}
        for n, (name, process) in enumerate(self.processes):
            out, err = process.communicate(timeout=90)
            if process.returncode or not out.strip():
                raise LoadFailed(f"writer {name} (seed {self.seed}) ended badly: {err[-2000:]}")
            done[f"{name}{n}"] = json.loads(out.strip().splitlines()[-1])
        self.processes.clear()
        return done

    def abandon(self) -> None:
        """End the writers, whatever has become of them."""
        for _, process in self.processes:
            process.kill()
            process.communicate()
        self.processes.clear()

    def __enter__(self) -> Load:
        return self.start()

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None and self.processes:
            self.stop()
        self.abandon()


if __name__ == "__main__":
    _process(sys.argv[1:])
