"""The peers' options about locks, patience and memory, where something really stands in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab.failures import Statement, unhurt
from lab.fronts import back_up, copied_back, prepare
from lab.server import LabServer

from .conftest import shared_server

# keeps BACKUP STAGE FLUSH and FLUSH TABLES WITH READ LOCK from being given
LONG_WRITE = "INSERT INTO d.m SELECT SLEEP({}) FROM d.m LIMIT 1"
IN_TIME_S = 12.0
SERVERS = ["mariadb-10.11", "mysql-8.0", "mysql-5.6"]
XTRABACKUPS = ["mysql-8.0", "mysql-5.6"]


@pytest.fixture(scope="module", params=SERVERS)
def source(request: pytest.FixtureRequest) -> Iterator[LabServer]:
    with shared_server(
        request.param, "CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (0)",
        "CREATE TABLE d.t (a INT PRIMARY KEY, b INT) ENGINE=InnoDB", "INSERT INTO d.t VALUES (1, 1)",
    ) as server:
        yield server


def given_up_on(server: LabServer, to: Path, *options: str) -> str:
    """A backup that fails in time. Returns the log; neither a backup nor a lock is left."""
    started = time.monotonic()
    log = back_up(server, to, *options, status=1)
    assert time.monotonic() - started < IN_TIME_S
    assert not list(to.iterdir())
    return log


def test_a_long_statement_is_given_up_on(source: LabServer, place: Path) -> None:
    with Statement(source, LONG_WRITE.format(60)) as statement:
        time.sleep(1.2)
        patience = ("--ftwrl-wait-timeout=2", "--ftwrl-wait-threshold=1", "--ftwrl-wait-query-type=all")
        assert "SLEEP" in given_up_on(source, place / "b", *patience)
        assert statement.running
        source.sql("CREATE TABLE d.at_once (a INT)", "DROP TABLE d.at_once")
    unhurt(source)


def test_a_short_statement_is_waited_for(source: LabServer, place: Path) -> None:
    with Statement(source, LONG_WRITE.format(4)) as statement:
        time.sleep(1.2)
        back_up(source, place / "b", "--ftwrl-wait-timeout=30", "--ftwrl-wait-threshold=1")
        assert statement.error == "" and not statement.running


def test_a_long_statement_is_killed_where_that_was_asked_for(source: LabServer, place: Path) -> None:
    with Statement(source, LONG_WRITE.format(60)) as statement:
        back_up(source, place / "b", "--kill-long-queries-timeout=1", "--kill-long-query-type=all")
        assert not statement.running
    unhurt(source)


def test_a_long_ddl_is_given_up_on(source: LabServer, place: Path) -> None:
    """It waits for an open transaction, and the backup for both."""
    option = "--lock-ddl-timeout=2" if source.name == "mysql-8.0" else "--ftwrl-wait-timeout=2"
    with source.connect(autocommit=False) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT * FROM d.t")
        with Statement(source, "ALTER TABLE d.t ADD COLUMN z INT, ALGORITHM=COPY") as ddl:
            time.sleep(0.3)
            assert "ALTER TABLE d.t" in given_up_on(source, place / "b", option)
            assert ddl.running
    unhurt(source)


@pytest.mark.parametrize("option", ["--no-lock", "--no-backup-locks"])
def test_nothing_is_locked_where_that_was_asked_for(source: LabServer, place: Path, option: str) -> None:
    log = back_up(source, place / "b", option)
    assert option != "--no-lock" or "FLUSH TABLES WITH READ LOCK" not in log
    prepare(source, place / "b")
    with copied_back(source, place / "b", place / "copy") as copy:
        assert copy.value("SELECT COUNT(*) FROM d.t") == 1


@pytest.mark.parametrize("source", XTRABACKUPS, indirect=True)
def test_the_buffer_pools_list_is_dumped_before_the_backup(source: LabServer, place: Path) -> None:
    before = source.variable("innodb_buffer_pool_dump_pct")
    dump = source.datadir / "ib_buffer_pool"
    dump.unlink(missing_ok=True)
    share = [] if source.name == "mysql-5.6" else ["--dump-innodb-buffer-pool-pct=100"]
    back_up(source, place / "b", "--dump-innodb-buffer-pool", "--dump-innodb-buffer-pool-timeout=20", *share)
    assert (place / "b" / "ib_buffer_pool").read_bytes() == dump.read_bytes() != b""
    assert source.variable("innodb_buffer_pool_dump_pct") == before


@pytest.mark.parametrize("source", ["mysql-8.0"], indirect=True)
def test_the_memory_that_recovery_wants_is_told_and_taken(source: LabServer, place: Path) -> None:
    back_up(source, place / "b", "--estimate-memory=ON")
    told = dict(
        line.split(" = ") for line in (place / "b" / "xtrabackup_checkpoints").read_text().splitlines() if " = " in line
    )
    assert int(told["redo_memory"]) > 0 and "redo_frames" in told
    prepare(source, place / "b", "--use-free-memory-pct=20")
