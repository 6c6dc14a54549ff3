"""The account that backs up: not let in, cut off, or put under limits that are meant for others."""

from __future__ import annotations

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql
import pytest

from lab import program
from lab.failures import Running, fails, no_backup, unhurt, well_said
from lab.server import LabServer

from .conftest import shared_server

USER = "keeper"


@pytest.fixture(scope="module", params=["mariadb-11.8", "mysql-9.7"])
def source(request: pytest.FixtureRequest) -> Iterator[LabServer]:
    with shared_server(
        request.param, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)",
        "INSERT INTO d.t (b) SELECT REPEAT('goldcopy', 1000) FROM mysql.help_topic LIMIT 700",
        "CREATE TABLE d.m (a INT, b LONGBLOB) ENGINE=MyISAM", "INSERT INTO d.m VALUES (0, REPEAT('m', 36000000))",
    ) as server:
        yield server


@pytest.fixture
def place(source: LabServer, place: Path) -> Iterator[Path]:
    """A folder for one test, and the account anew."""
    source.sql(f"CREATE USER {USER}@localhost IDENTIFIED BY ''", f"GRANT ALL ON *.* TO {USER}@localhost")
    yield place
    source.sql(f"DROP USER {USER}@localhost")


def arguments(server: LabServer, to: Path, *extra: str) -> list[str]:
    return ["backup", "--to", str(to), "--socket", str(server.socket), "--user", USER, *extra]


@pytest.mark.parametrize(
    ("how", "status", "hint"),
    [
        ("ACCOUNT LOCK", 3, "ACCOUNT UNLOCK"),
        ("PASSWORD EXPIRE", 3, "password"),
        ("WITH MAX_USER_CONNECTIONS 1", 3, "MAX_USER_CONNECTIONS"),
    ],
)
def test_an_account_that_is_kept_out_is_told_why(
    source: LabServer, place: Path, how: str, status: int, hint: str
) -> None:
    source.sql(f"ALTER USER {USER}@localhost {how}")
    fails(status, *arguments(source, place / "b"), hint=hint)
    no_backup(place / "b")
    unhurt(source)


def test_an_account_whose_queries_run_out_is_told_why_wherever_that_happens(source: LabServer, place: Path) -> None:
    told = 0
    for queries in range(4, 400, 7):
        source.sql(f"ALTER USER {USER}@localhost WITH MAX_QUERIES_PER_HOUR {queries}", "FLUSH USER_RESOURCES")
        done = program.run(*arguments(source, place / "b"), status=None)
        if done.returncode == 0:
            break
        assert done.returncode in (3, 5)
        well_said(done.stdout + done.stderr, "MAX_QUERIES_PER_HOUR")
        no_backup(place / "b")
        told += 1
    assert told >= 3 and (place / "b").is_dir()
    unhurt(source)


def test_an_account_that_must_use_tls_may_use_the_socket(source: LabServer, place: Path) -> None:
    source.sql(f"ALTER USER {USER}@localhost REQUIRE SSL")
    program.run(*arguments(source, place / "b"))


def test_a_server_that_is_full_is_told(source: LabServer, place: Path) -> None:
    source.sql(f"REVOKE ALL ON *.* FROM {USER}@localhost")  # else it may have the place that is kept for administrators
    with source.connect() as root, root.cursor() as cursor:
        cursor.execute("SELECT @@GLOBAL.max_connections")
        before = cursor.fetchone()[0]
        cursor.execute("SET GLOBAL max_connections = 10")
        held = []
        try:
            with pytest.raises(pymysql.err.OperationalError, match="Too many connections"):
                for _ in range(11):
                    held.append(source.connect(user=USER))
            fails(3, *arguments(source, place / "b"), hint="max_connections")
        finally:
            cursor.execute(f"SET GLOBAL max_connections = {before}")
            for connection in held:
                connection.close()
    no_backup(place / "b")
    unhurt(source)


IMPATIENT = (
    "wait_timeout = 1", "interactive_timeout = 1", "net_read_timeout = 1", "net_write_timeout = 1", "lock_wait_timeout = 1",
    "innodb_lock_wait_timeout = 1", "max_statement_time = 0.1", "idle_transaction_timeout = 1", "max_execution_time = 100",
)


def test_a_server_that_cuts_off_who_is_idle_is_backed_up_all_the_same(source: LabServer, place: Path) -> None:
    known = [s for s in IMPATIENT if source.variable(s.split()[0])]
    before = {s.split()[0]: source.variable(s.split()[0]) for s in known}
    source.sql(*(f"SET GLOBAL {s}" for s in known))
    try:
        said = program.run(*arguments(source, place / "b", "--throttle-mb", "20"))
    finally:
        source.sql(*(f"SET GLOBAL {name} = {value}" for name, value in before.items()))
    seconds = [float(s) for s in re.findall(r"^ +([\d.]+)s ", said.stdout + said.stderr, re.MULTILINE)]
    assert max(seconds) > 3, "it was never idle for as long as they allow"


def ours(server: LabServer) -> list[int]:
    """Ids of the backup's connections, the oldest first."""
    return [int(i) for (i,) in server.sql(f"SELECT id FROM information_schema.processlist WHERE user = '{USER}' ORDER BY id")]


def kill(server: LabServer, which: list[int]) -> None:
    for connection in which:
        try:
            server.sql(f"KILL {connection}")
        except Exception as e:
            assert getattr(e, "args", [0])[0] == 1094, e  # it has gone by itself


@pytest.mark.parametrize(
    ("phase", "which"),
    [("guard ", "all"), ("copy ", "that with the locks"), ("copy ", "last"), ("lock ", "that with the locks")],
)
def test_killed_connections_are_noticed_and_nothing_is_held(
    source: LabServer, place: Path, phase: str, which: str
) -> None:
    """In each phase; the copy under the lock takes a while, for a table of MyISAM has just changed."""
    with changing(source, "UPDATE d.m SET a = a + 1"):
        run = Running(place, *arguments(source, place / "b", "--throttle-mb", "30"))
        run.wait_for(phase)
        time.sleep(0.0 if phase == "guard " else 0.4)
        found = ours(source)
        kill(source, found if which == "all" else found[-1:] if which == "last" else found[:1])
        killed = time.monotonic()
        status = run.end()
    unhurt(source)
    if which == "last" and source.variable("innodb_redo_log_capacity"):
        # it only keeps the redo for us
        assert status == 0
        program.run("check", str(place / "b"))
        return
    assert status == 5, run.said()
    assert phase != "copy " or time.monotonic() - killed < 4, "the copy went on in vain"
    assert "gone" in well_said(run.said(), "killed")
    no_backup(place / "b")


@contextmanager
def changing(server: LabServer, sql: str) -> Iterator[None]:
    """While the block runs, a statement runs again and again."""
    stop = threading.Event()

    def change() -> None:
        with server.connect() as connection, connection.cursor() as cursor:
            while not stop.wait(0.05):
                cursor.execute(sql)

    thread = threading.Thread(target=change)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(20)
    assert not thread.is_alive()


_POWERS = "-dac_override,-dac_read_search"
"""What lets root read any file."""


@pytest.mark.parametrize(
    ("source", "what"), [("mariadb-11.8", "d/t.ibd"), ("mysql-9.7", "d/t.ibd"), ("mysql-9.7", "binlog.[0-9]*")],
    indirect=["source"],
)
def test_a_file_that_may_not_be_read_is_named(source: LabServer, place: Path, what: str) -> None:
    """Of MariaDB no binlog is read."""
    without = ["setpriv", "--bounding-set", _POWERS, "--inh-caps", _POWERS, program.program()]
    files = [file for file in source.datadir.glob(what) if file.suffix != ".index"]
    modes = [file.stat().st_mode for file in files]
    try:
        for file in files:
            file.chmod(0)
        done = subprocess.run([*without, *arguments(source, place / "b")], capture_output=True, text=True, check=False)
    finally:
        for file, mode in zip(files, modes, strict=True):
            file.chmod(mode)
    assert done.returncode == 4, done.stderr
    assert any(f"cannot read {file}" in done.stderr for file in files)
    assert ("copying tablespaces" in done.stderr) == ("binlog" not in what)
    well_said(done.stderr, "as the account that the server runs as")
    no_backup(place / "b")
    unhurt(source)
