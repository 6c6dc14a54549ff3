"""Tablespaces that lie outside the data directory: restored to their places, elsewhere, or kept inside a backup.

On the source's own host a recovering server must never open the live file that redo, link files and dictionary name.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import program
from lab.server import LabServer

from .conftest import MakeServer

ROWS = [(1, "a"), (2, "b")]


@dataclass
class Case:
    """A running source with tables outside its data directory, in ``outside``, and a full backup of it."""

    source: LabServer
    outside: Path
    full: Path
    folder: Path

    def options(self, *directories: Path) -> list[str]:
        """The server options that let MySQL look into these directories."""
        return [] if self.source.mariadb else ["--innodb-directories=" + ";".join(map(str, directories))]

    def rows(self, server: LabServer) -> list[tuple[int, str]]:
        """All rows of all tables outside; every table holds the same."""
        tables = ["t", "p"] if self.source.mariadb else ["t", "p", "g"]
        found = [sorted(server.sql(f"SELECT * FROM db.{table}")) for table in tables]
        assert all(rows == found[0] for rows in found), found
        return found[0]


def _insert(server: LabServer, *rows: tuple[int, str]) -> None:
    for table in ("t", "p") if server.mariadb else ("t", "p", "g"):
        server.sql(*(f"INSERT INTO db.{table} VALUES ({number}, '{text}')" for number, text in rows))


@pytest.fixture(params=["mariadb-11.8", "mysql-9.7"])
def case(request: pytest.FixtureRequest, make_server: MakeServer, lab_dir: Path) -> Case:
    outside = lab_dir / "outside"
    outside.mkdir()
    options = () if request.param.startswith("mariadb") else (f"--innodb-directories={outside}",)
    source = make_server(request.param, *options)
    columns = "(id INT PRIMARY KEY, v VARCHAR(9)) ENGINE=InnoDB"
    parts = ", ".join(f"PARTITION p{i} DATA DIRECTORY='{outside}'" for i in (0, 1))
    source.sql(
        "CREATE DATABASE db", f"CREATE TABLE db.t {columns} DATA DIRECTORY='{outside}'",
        f"CREATE TABLE db.p {columns} PARTITION BY HASH(id) ({parts})",
    )
    if not source.mariadb:
        source.sql(
            f"CREATE TABLESPACE general ADD DATAFILE '{outside}/general.ibd' ENGINE=InnoDB",
            f"CREATE TABLE db.g {columns} TABLESPACE general",
        )
    _insert(source, *ROWS)
    full = lab_dir / "full"
    program.backup(source, full)
    return Case(source, outside, full, lab_dir)


def test_a_chain_is_restored_elsewhere_while_the_source_lives(case):
    _insert(case.source, (3, "c"))
    increment, elsewhere = case.folder / "increment", case.folder / "elsewhere"
    program.backup(case.source, increment, case.full)
    _insert(case.source, (4, "d"))
    target = LabServer(case.source.name, case.folder / "target", case.options(elsewhere))
    program.run(
        "restore", "--from", str(increment), "--datadir", str(target.datadir), "--mysqld", case.source.mysqld,
        "--map", f"{case.outside}={elsewhere}",
    )
    with target.start():
        assert case.rows(target) == [*ROWS, (3, "c")]
        _insert(target, (9, "x"))
    assert case.rows(case.source) == [*ROWS, (3, "c"), (4, "d")], "the live tables were touched"


def test_a_place_that_is_taken_is_not_overwritten(case):
    target = case.folder / "target"
    done = program.run(
        "restore", "--from", str(case.full), "--datadir", str(target), "--mysqld", case.source.mysqld, status=9
    )
    assert "--map" in done.stderr and not target.exists()
    assert case.rows(case.source) == ROWS


def test_a_backup_prepared_beside_its_living_source_goes_back_to_its_places(case):
    program.run("prepare", str(case.full), "--mysqld", case.source.mysqld)
    program.run("check", str(case.full))
    _insert(case.source, (3, "c"))
    assert case.rows(case.source) == [*ROWS, (3, "c")], "prepare touched the live tables"
    case.source.stop()
    shutil.rmtree(case.source.datadir)
    shutil.rmtree(case.outside)
    program.run("restore", "--from", str(case.full), "--datadir", str(case.source.datadir))
    case.source.start()
    assert case.rows(case.source) == ROWS
