"""What stands in a backup's way: waited for, given up on or ended, within the limits that the user gives."""

from __future__ import annotations

import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from lab import program
from lab.failures import (
    INTERRUPTED,
    Running,
    Statement,
    backup_arguments,
    fails,
    no_backup,
    replica_runs,
    unhurt,
)
from lab.server import LabServer, kill_all, replicate, scratch, wait_caught_up

from .conftest import need, shared_server

FAMILIES = ["mariadb-10.11", "mysql-9.7"]
# keeps BACKUP STAGE FLUSH and FLUSH TABLES WITH READ LOCK from being given
LONG_WRITE = "INSERT INTO d.m SELECT SLEEP({}) FROM d.m LIMIT 1"
IN_TIME_S = 10.0


@pytest.fixture(scope="module", params=FAMILIES)
def source(request):
    with shared_server(
        request.param, "CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (0)",
        "CREATE TABLE d.t (a INT PRIMARY KEY, b INT)", "INSERT INTO d.t VALUES (1, 1)",
    ) as server:
        yield server


def in_time(started: float) -> None:
    assert time.monotonic() - started < IN_TIME_S


@pytest.mark.parametrize("source", ["mysql-9.7"], indirect=True)
def test_a_long_statement_in_the_way_is_given_up_on_in_time(source, place):
    with Statement(source, LONG_WRITE.format(60)) as query:
        time.sleep(1.2)
        started = time.monotonic()
        said = fails(
            5, *backup_arguments(source, place / "b", "--wait-queries-s", "2", "--wait-queries-longer-than-s", "1"),
            hint="--wait-queries-s",
        )
        in_time(started)
        assert "SLEEP" in said and query.running
        no_backup(place / "b")
        source.sql("CREATE TABLE d.at_once (a INT)", "DROP TABLE d.at_once")
    unhurt(source)


def test_a_lock_that_is_not_given_is_given_up_on_in_time(source, place):
    with Statement(source, LONG_WRITE.format(60)) as query:
        started = time.monotonic()
        said = fails(5, *backup_arguments(source, place / "b", "--lock-timeout-s", "2"), hint="--lock-timeout-s")
        in_time(started)
        assert "SLEEP" in said and query.running
        no_backup(place / "b")
        source.sql("SET SESSION lock_wait_timeout = 3", "CREATE TABLE d.at_once (a INT)", "DROP TABLE d.at_once")
    unhurt(source)


def test_a_statement_that_may_be_killed_is_killed(source, place):
    with Statement(source, LONG_WRITE.format(60)) as query:
        started = time.monotonic()
        said = program.backup(
            source, place / "b", None, "--kill-queries-s", "1", "--kill-query-type", "all"
        ).stderr
        in_time(started)
        assert "warning [kill-query]" in said and "SLEEP" in said
        assert not query.running
    program.run("check", str(place / "b"))
    unhurt(source)


@pytest.mark.parametrize("source", ["mariadb-10.11"], indirect=True)
def test_only_what_the_user_gave_up_is_killed(source, place):
    with Statement(source, LONG_WRITE.format(60)) as query:
        fails(
            5, *backup_arguments(
                source, place / "b", "--kill-queries-s", "1", "--kill-query-type", "select", "--lock-timeout-s", "4"
            ),
        )
        assert query.running
    unhurt(source)


@pytest.mark.parametrize("source", ["mysql-9.7"], indirect=True)
def test_a_short_patience_waits_for_a_statement_that_ends(source, place):
    with Statement(source, LONG_WRITE.format(4)) as query:
        time.sleep(1.2)
        program.backup(source, place / "b", None, "--wait-queries-s", "30", "--wait-queries-longer-than-s", "1")
        assert query.error == "" and not query.running
    program.run("check", str(place / "b"))


def test_a_long_ddl_in_the_way_is_an_error_in_time(source, place):
    """DDL waits for an open transaction; the backup's DDL lock waits for both."""
    with source.connect(autocommit=False) as holder, holder.cursor() as cursor:
        cursor.execute("SELECT * FROM d.t")
        with Statement(source, "ALTER TABLE d.t ADD COLUMN z INT, ALGORITHM=COPY") as ddl:
            started = time.monotonic()
            said = fails(5, *backup_arguments(source, place / "b", "--lock-timeout-s", "2"), hint="--lock-timeout-s")
            in_time(started)
            assert "ALTER TABLE d.t" in said and ddl.running
            no_backup(place / "b")
    unhurt(source)


# ------------------------------------------------------------------ replicas
@pytest.fixture(scope="module", params=FAMILIES)
def pair(request):
    """A source and its replica, on which a temporary table can be open: statements, not rows, are replicated."""
    need(request.param)
    folder = scratch()
    format_ = ["--binlog-format=STATEMENT"]
    source = LabServer(request.param, folder / "source", format_).create().start()
    replica = LabServer(request.param, folder / "replica", format_).create().start()
    replicate(source, replica)
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY)")
    wait_caught_up(source, replica)
    yield source, replica
    kill_all()
    shutil.rmtree(folder, ignore_errors=True)


def open_temporary_table(source: LabServer, replica: LabServer):
    connection = source.connect()
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE d.tmp (a INT)")
        cursor.execute("INSERT INTO d.tmp VALUES (1)")
    wait_caught_up(source, replica)
    return connection


def runs_again(replica: LabServer, within_s: float = 10) -> None:
    until = time.monotonic() + within_s
    while not replica_runs(replica):
        assert time.monotonic() < until, "the replica's SQL thread stands still"
        time.sleep(0.1)


def test_open_temporary_tables_are_given_up_on_and_the_replica_runs_again(pair, place):
    source, replica = pair
    with open_temporary_table(source, replica):
        started = time.monotonic()
        fails(
            5, *backup_arguments(replica, place / "b", "--safe-replica", "--safe-replica-timeout-s", "3"),
            hint="--safe-replica-timeout-s",
        )
        in_time(started)
        assert replica_runs(replica)
        no_backup(place / "b")
    unhurt(replica)


def test_open_temporary_tables_are_waited_for(pair, place):
    source, replica = pair
    connection = open_temporary_table(source, replica)
    run = Running(place, *backup_arguments(replica, place / "b", "--safe-replica"))
    time.sleep(1.5)
    assert run.process.poll() is None and "copy " not in run.said()
    connection.close()
    assert run.end() == 0, run.said()
    assert replica_runs(replica)
    program.run("check", str(place / "b"))
    wait_caught_up(source, replica)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize("moment", ["waiting", "copying"])
def test_however_it_ends_the_replica_runs_again(pair, place, number, moment):
    source, replica = pair
    arguments = backup_arguments(replica, place / "b", "--safe-replica", "--throttle-mb", "20")
    if moment == "waiting":
        with open_temporary_table(source, replica):
            run = Running(place, *arguments)
            time.sleep(1.0)
            run.signal(number)
            status = run.end()
            runs_again(replica)
    else:
        run = Running(place, *arguments)
        run.wait_for("copy ")
        assert not replica_runs(replica)
        run.signal(number)
        status = run.end()
        runs_again(replica)
    assert status == (-signal.SIGKILL if number == signal.SIGKILL else INTERRUPTED), run.said()
    if number == signal.SIGKILL:
        assert program.run("info", str(place / "b"), status=None).returncode == 8
    else:
        no_backup(place / "b")
    unhurt(replica)


def test_a_failed_backup_of_a_replica_leaves_it_running(pair, place):
    _, replica = pair
    taken = place / "b"
    taken.mkdir()
    (taken / "full").write_text("")
    fails(9, *backup_arguments(replica, taken, "--safe-replica"))
    assert replica_runs(replica)
    with Statement(replica, "DO SLEEP(0)"):
        fails(8, *backup_arguments(replica, Path(os.devnull).parent / "shm" / f"b{os.getpid()}", "--safe-replica",
                                   "--base", str(place)))
    assert replica_runs(replica)
    unhurt(replica)
