"""A replica is backed up under the peers' names, and what its slave_info file says sets up another replica."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.fronts import back_up, copied_back, prepare
from lab.server import LabServer, replicate, wait_caught_up

from .conftest import MakeServer

GTID = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")


def addressed(statement: str, primary: LabServer) -> str:
    """A CHANGE statement of the file, told where the primary is: that is what its reader has to add."""
    word = "SOURCE" if " SOURCE_" in statement else "MASTER"
    where = {"HOST": "'127.0.0.1'", "PORT": primary.port, "USER": "'repl'", "PASSWORD": "'repl'"}
    return statement.replace(" TO ", " TO " + "".join(f"{word}_{k}={v}, " for k, v in where.items()), 1)


def statements(backup: Path) -> list[str]:
    """What the slave_info file says."""
    text = next(backup.glob("*_slave_info")).read_text()
    return [line.rstrip(";") for line in text.splitlines()]


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("server_name", "channel", "options"),
    [("mariadb-10.11", "", ()), ("mariadb-10.11", "north", ()), ("mysql-8.0", "north", GTID)],
)
def test_another_replica_goes_on_where_the_backup_was_taken(
    server_name: str, channel: str, options: tuple[str, ...], make_server: MakeServer, lab_dir: Path
) -> None:
    """By position and by GTID, over the nameless channel and a named one; --safe-slave-backup gives the thread back."""
    log_updates = ("--log-slave-updates=1", *options)
    primary = make_server(server_name, *log_updates, folder="primary")
    replica = make_server(server_name, *log_updates, "--skip-slave-start", folder="replica")
    replicate(primary, replica)
    if channel and replica.mariadb:
        replica.sql(
            "STOP SLAVE", "RESET SLAVE ALL", f"CHANGE MASTER '{channel}' TO MASTER_HOST='127.0.0.1', MASTER_PORT="
            f"{primary.port}, MASTER_USER='repl', MASTER_PASSWORD='repl', MASTER_USE_GTID=slave_pos",
            f"START SLAVE '{channel}'",
        )  # fmt: skip
    elif channel:
        replica.sql(
            "STOP REPLICA", "RESET REPLICA ALL", "CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT="
            f"{primary.port}, SOURCE_USER='repl', SOURCE_PASSWORD='repl', GET_SOURCE_PUBLIC_KEY=1, "
            f"SOURCE_AUTO_POSITION=1 FOR CHANNEL '{channel}'", f"START REPLICA FOR CHANNEL '{channel}'",
        )  # fmt: skip
    primary.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO d.t VALUES (1)")
    arrived(primary, replica)
    backup = lab_dir / "backup"

    back_up(replica, backup, "--slave-info", "--safe-slave-backup")

    primary.sql("INSERT INTO d.t VALUES (2)")
    arrived(primary, replica)
    said = statements(backup)
    assert any("gtid" in line for line in said) == bool(channel)
    assert all(("'north'" in line) == bool(channel) for line in said if line.startswith("CHANGE"))
    replica.stop()
    prepare(replica, backup)
    replica.options += ["--relay-log=other"]
    fresh = copied_back(replica, backup, lab_dir / "fresh")
    forget = ["RESET SLAVE ALL"] if fresh.mariadb else ["RESET REPLICA ALL", *(["RESET MASTER"] if options else [])]
    key = "" if fresh.mariadb else ", GET_MASTER_PUBLIC_KEY=1"
    for statement in [*forget, *said]:
        if statement.startswith("CHANGE"):
            head, clause, tail = addressed(statement, primary).partition(" FOR CHANNEL")
            statement = head + key + clause + tail
        fresh.sql(statement)
    fresh.sql("START ALL SLAVES" if fresh.mariadb else "START REPLICA")
    primary.sql("INSERT INTO d.t VALUES (3)")
    arrived(primary, fresh)


def arrived(primary: LabServer, replica: LabServer) -> None:
    """Wait until the replica has the primary's rows, each once."""
    if not replica.mariadb:
        wait_caught_up(primary, replica)
    else:
        at = primary.sql("SELECT @@GLOBAL.gtid_binlog_pos")[0][0]
        assert replica.value(f"SELECT MASTER_GTID_WAIT('{at}', 60)") == 0
    assert replica.sql("SELECT id FROM d.t ORDER BY id") == primary.sql("SELECT id FROM d.t ORDER BY id")
