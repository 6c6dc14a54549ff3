"""The main job: a full backup and three increments under load, and nothing lost at any of the four restore points."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from lab import program, schema
from lab.fronts import back_up, prepare
from lab.load import USUAL, Load
from lab.oracle import State, check_restored, snapshot
from lab.server import LabServer

from .conftest import MakeServer


@dataclass(frozen=True)
class Row:
    """One line of the matrix. ``parallel`` and ``writers`` differ so that no two runs are alike."""

    server: str
    options: tuple[str, ...] = ()
    init: tuple[str, ...] = ()
    parallel: int = 2
    throttle_mb: float = 12.0
    increments: int = 3
    seed: int = 1


GTID = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
MATRIX = (
    Row("mariadb-11.8", seed=118),
    Row("mariadb-10.11", parallel=4, seed=1011),
    Row("mysql-9.7", GTID, seed=97),
    Row("mysql-8.0", parallel=1, seed=80),
    Row("mariadb-10.5", seed=105),
    Row("mysql-5.6", seed=56),
)


def take_chain(source: LabServer, folder: Path, row: Row, load: Load) -> list[Path]:
    """A full and its increments, taken while the load writes."""
    chain: list[Path] = []
    for n in range(row.increments + 1):
        load.go_on(1.0)
        to = folder / f"backup{n}"
        program.backup(
            source, to, chain[-1] if chain else None, "--parallel", str(row.parallel),
            "--throttle-mb", str(row.throttle_mb),
        )
        chain.append(to)
    load.go_on(1.0)
    return chain


def judge(source: LabServer, backup: Path, want: State, folder: Path, *extra: str, ignore: tuple[str, ...] = ()) -> int:
    """Restore a backup beside the source, and have the oracle look at it."""
    with program.restore(source, backup, folder, *extra) as restored:
        restored.start("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")
        return check_restored(want, restored, program.point(backup), source.binlogs(), source=source, ignore=ignore)


@pytest.mark.timeout(600)
@pytest.mark.parametrize(
    ("server_name", "row"), [(r.server, r) for r in MATRIX], ids=[f"{r.server}-{r.parallel}threads" for r in MATRIX]
)
def test_nothing_is_lost_at_any_restore_point(
    server_name: str, row: Row, make_server: MakeServer, lab_dir: Path
) -> None:
    source = make_server(server_name, *row.options, init=row.init)
    schema.setup(source, row.seed)
    writers = (*USUAL, "archive") if schema.with_archive(source) else USUAL
    written = source.status("Innodb_os_log_written")
    with Load(source, row.seed, writers) as load:
        chain = take_chain(source, lab_dir, row, load)
    written = source.status("Innodb_os_log_written") - written
    want = snapshot(source)
    print(f"{server_name}: {written / 1e6:.0f} MB of redo written, {len(want.tables)} tables")
    transfers = []
    for n, backup in enumerate(chain):
        started = time.monotonic()
        program.run("check", str(backup))
        transfers.append(judge(source, backup, want, lab_dir / f"r{n}"))
        print(f"restore point {n}: {transfers[-1]} transfers, {time.monotonic() - started:.1f} s")
    assert transfers == sorted(set(transfers)), "each backup must be later than the one before"
    assert written > 2 * 12e6, "the redo log must have wrapped, or this proves little"


def redo_bytes(datadir: Path) -> int:
    """Room that the redo log takes on the disk."""
    return sum(f.stat().st_blocks * 512 for f in (datadir / "#innodb_redo").iterdir())


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mysql-9.7"])
def test_what_is_recovered_keeps_no_room_for_redo_to_come(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """A server keeps its whole innodb_redo_log_capacity in files: a hundred backups of it would, too."""
    source = make_server(server_name)
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY)", "INSERT INTO d.t VALUES (1)")
    program.backup(source, lab_dir / "ours")
    back_up(source, lab_dir / "theirs")
    prepare(source, lab_dir / "theirs", "--export")
    with program.restore(source, lab_dir / "ours", lab_dir / "restored") as restored:
        left = {d.name: redo_bytes(d) >> 20 for d in (restored.datadir, lab_dir / "theirs")}
        assert all(mb < 8 for mb in left.values()), left
        restored.start("--innodb-read-only", "--skip-log-bin")
        assert restored.sql("SELECT id FROM d.t") == [(1,)]
        restored.restart("--innodb-redo-log-capacity=64M")
        restored.sql("INSERT INTO d.t VALUES (2)")
        assert not restored.errors()
