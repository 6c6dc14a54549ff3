"""The last binlog of MySQL 8.0 and newer comes back with the data, so that the restored server goes on with its numbers."""

from __future__ import annotations

from pathlib import Path

import pytest

from lab.fronts import back_up, ours, prepare
from lab.server import LabServer

from .conftest import MakeServer

GTIDS = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")


@pytest.mark.parametrize("server_name", ["mysql-8.0"])
def test_a_restored_server_goes_on_after_the_last_binlog(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """From a full backup and an increment, into directories of their own; all that was executed is known."""
    logs, elsewhere = lab_dir / "logs", lab_dir / "elsewhere"
    logs.mkdir()
    source = make_server(server_name, *GTIDS, f"--log-bin={logs}/bin")
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "FLUSH BINARY LOGS")
    full, increment = lab_dir / "full", lab_dir / "increment"
    back_up(source, full)
    source.sql("INSERT INTO d.t VALUES (1)", "FLUSH BINARY LOGS", "INSERT INTO d.t VALUES (2)")
    back_up(source, increment, f"--incremental-basedir={full}")
    executed, (last, _) = source.value("SELECT @@GLOBAL.gtid_executed"), source.position()
    source.stop()

    prepare(source, full, "--apply-log-only")
    prepare(source, full, f"--incremental-dir={increment}")
    places = [f"--log-bin={elsewhere}/bin", f"--log-bin-index={elsewhere}/i.index"]
    copy = LabServer(source.name, lab_dir / "copy", [*GTIDS, *places])
    ours("xtrabackup", "--no-defaults", "--copy-back", f"--target-dir={full}", f"--datadir={copy.datadir}", *places)

    assert [f.name for f in copy.datadir.glob("bin*")] == []
    assert (elsewhere / "i.index").read_text() == f"{elsewhere}/{last}\n"
    copy.start()
    names = [row[0] for row in copy.sql("SHOW BINARY LOGS")]
    assert names[0] == last
    assert int(names[-1].rpartition(".")[2]) == int(last.rpartition(".")[2]) + 1
    assert copy.value("SELECT @@GLOBAL.gtid_executed") == executed
    assert copy.value("SELECT COUNT(*) FROM d.t") == 2


@pytest.mark.parametrize("server_name", ["mysql-8.0"])
def test_undo_tablespaces_of_one_name_go_back_to_their_own_directories(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """One in the directory of undo tablespaces, one in another."""
    undo, other = lab_dir / "undo", lab_dir / "other"
    undo.mkdir()
    other.mkdir()
    places = [f"--innodb-undo-directory={undo}", f"--innodb-directories={other}"]
    source = make_server(server_name, init=places)
    source.sql(
        "CREATE UNDO TABLESPACE one ADD DATAFILE 'u.ibu'", f"CREATE UNDO TABLESPACE two ADD DATAFILE '{other}/u.ibu'"
    )
    backup = lab_dir / "backup"
    back_up(source, backup)
    source.stop()
    for file in (*undo.iterdir(), *other.iterdir()):
        file.unlink()

    prepare(source, backup)
    copy = LabServer(source.name, lab_dir / "copy", init=places)
    ours("xtrabackup", "--no-defaults", "--copy-back", f"--target-dir={backup}", f"--datadir={copy.datadir}", *places)

    assert sorted(f.name for f in undo.iterdir()) == ["u.ibu", "undo_001", "undo_002"]
    assert [f.name for f in other.iterdir()] == ["u.ibu"]
    copy.start()
    for name in ("one", "two"):
        copy.sql(f"ALTER UNDO TABLESPACE {name} SET INACTIVE", f"ALTER UNDO TABLESPACE {name} SET ACTIVE")
