"""The main job, shown: a server under load, backed up three times, damaged, brought back, and proved whole."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from lab import catalogue, fetch, program, schema
from lab.load import Load
from lab.oracle import State, check_restored, snapshot
from lab.server import LabServer, kill_all, scratch

SERVERS = {"mariadb": "mariadb-11.8", "mysql": "mysql-9.7"}
_STARTED = time.monotonic()


def say(text: str) -> None:
    """One line of the story, with the time since the beginning."""
    print(f"{time.monotonic() - _STARTED:6.1f} s  {text}", flush=True)


@contextlib.contextmanager
def step(text: str) -> Iterator[None]:
    """A step of the story, and how long it took."""
    say(text)
    started = time.monotonic()
    yield
    print(f"          ... {time.monotonic() - started:.1f} s", flush=True)


def _size(folder: Path) -> str:
    return f"{sum(p.stat().st_blocks * 512 for p in folder.rglob('*') if p.is_file()) / 1e6:.1f} MB"


def _fill(server: LabServer) -> None:
    schema.setup(server)
    for n in range(4):
        server.sql(
            "CREATE DATABASE IF NOT EXISTS shop",
            f"CREATE TABLE shop.orders{n} (id INT AUTO_INCREMENT PRIMARY KEY, item VARCHAR(70), KEY (item)) ENGINE=InnoDB",
            f"INSERT INTO shop.orders{n} (item) VALUES ('first')",
            *[f"INSERT INTO shop.orders{n} (item) SELECT SHA2(CONCAT(id, {n}, RAND()), 256) FROM shop.orders{n}"] * 15,
        )


def _backups(server: LabServer, folder: Path, load: Load) -> list[Path]:
    """A full and two increments while the load writes."""
    chain: list[Path] = []
    for name in ("full", "increment1", "increment2"):
        load.go_on(4)
        with step(f"goldcopy backup --to {name}" + (f" --base {chain[-1].name}" if chain else "")):
            program.backup(server, folder / name, chain[-1] if chain else None)
        facts = program.info(folder / name)
        print(f"          {_size(folder / name)}, {facts['pages']:,} pages, binlog {facts['binlog_file']}"
              f" {facts['binlog_position']}, locked for {facts['locked_s']:.2f} s", flush=True)
        chain.append(folder / name)
    load.go_on(4)
    return chain


def _damage(server: LabServer) -> None:
    server.sql("SET sql_log_bin = 0", "DROP TABLE bank.transfer", "DROP TABLE shop.orders2")
    server.kill9()
    gone = [p for p in sorted(server.datadir.rglob("*.ibd")) if p.parent.name in ("shop", "forms", "mysql")]
    for path in [*gone, server.datadir / "ibdata1"]:
        path.unlink()
    say(f"bank.transfer and shop.orders2 dropped, the server killed, {len(gone) + 1} of its files deleted")


def _prove(backup: Path, want: State, source: LabServer, folder: Path) -> str:
    """Restore one backup and let the oracle judge it; what was found, in words."""
    with step(f"goldcopy restore --from {backup.name}"):
        restored = program.restore(source, backup, folder)
    with step("start the server on it; CHECK TABLE; replay the binlog written since; compare everything"), restored:
        restored.start("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")
        held = check_restored(want, restored, program.point(backup), source.binlogs())
    return f"{backup.name} held {held} transfers"


def tell(name: str, folder: Path) -> None:
    """The whole story on one server."""
    with step(f"a fresh {name} below {folder}"):
        source = LabServer(name, folder / "source").create().start()
    with source:
        with step("fill it: tables of every row format and engine, partitions, odd names, code, users"):
            _fill(source)
        say("writers start: transfers between bank accounts, random rows, large transactions, DDL")
        with Load(source, seed=int(time.time()) % 100000) as load:
            chain = _backups(source, folder, load)
        with step("writers stop; remember what the server holds now"):
            want = snapshot(source)
        for backup in chain:
            with step(f"goldcopy check {backup.name}"):
                program.run("check", str(backup))
        _damage(source)
        found = [_prove(backup, want, source, folder / f"restored-{backup.name}") for backup in chain]
    rows = sum(t.rows for t in want.tables.values())
    say(f"PROVED on {name} {source.info.version}: every restore point started clean and consistent ({'; '.join(found)}),"
        f" and from each, with the binlog since, all {len(want.tables)} tables ({rows:,} rows) and"
        f" {len(want.definitions)} definitions came back exactly as they were: nothing is lost.")


def main(arguments: list[str]) -> int:
    """``demo [mysql]``."""
    kind = arguments[0] if arguments else "mariadb"
    if kind not in SERVERS:
        print("usage: scripts/demo [mysql]", file=sys.stderr)
        return 2
    name = SERVERS[kind]
    with step(f"fetch {name} (a real server, into a folder of its own)"):
        say(fetch.fetch(catalogue.by_name(name)))
    folder = scratch()
    try:
        tell(name, folder)
    finally:
        kill_all()
        shutil.rmtree(folder, ignore_errors=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
