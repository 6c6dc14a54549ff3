"""The servers that people really run: other page sizes, encryption, other places, replicas, XA, imports.

Each variant takes a full and an increment under load, and loses nothing at either of them.
"""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lab import keys, program, schema
from lab.load import USUAL, Load
from lab.oracle import State, check_restored, snapshot
from lab.server import LabServer, replica_state, replicate, wait_caught_up

from .conftest import MakeServer, need

GTID = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON")
THROTTLE = ("--throttle-mb", "25")


@dataclass(frozen=True)
class Variant:
    """A server set up in another way, as data."""

    name: str
    server: str
    options: tuple[str, ...] = ()
    init: tuple[str, ...] = ()
    writers: tuple[str, ...] = USUAL
    seed: int = 1
    # what happens to the source between the full and the increment
    between: Callable[[LabServer], None] = field(default=lambda _server: None)


def make_undo_anew(server: LabServer) -> None:
    """Truncate both of MySQL's undo tablespaces, and make and drop others."""
    server.sql(
        "CREATE UNDO TABLESPACE third ADD DATAFILE 'third.ibu'", "CREATE UNDO TABLESPACE gone ADD DATAFILE 'gone.ibu'"
    )
    for name in ("innodb_undo_001", "innodb_undo_002", "gone"):
        server.sql(f"ALTER UNDO TABLESPACE {name} SET INACTIVE")
        _wait_for(server, f"SELECT state = 'empty' FROM information_schema.innodb_tablespaces WHERE name = '{name}'")
        if name != "gone":
            server.sql(f"ALTER UNDO TABLESPACE {name} SET ACTIVE")
    server.sql("DROP UNDO TABLESPACE gone")


def _wait_for(server: LabServer, question: str) -> None:
    pause = threading.Event()
    for _ in range(300):
        if server.value(question):
            return
        pause.wait(0.1)
    raise AssertionError(f"never true: {question}")


def resize_redo(server: LabServer) -> None:
    """Restart with a redo log of another size."""
    size = "--innodb-redo-log-capacity=32M" if not server.mariadb else "--innodb-log-file-size=24M"
    server.options.append(size if server.info.number >= (8,) or server.mariadb else "--innodb-log-file-size=7M")
    server.restart()


MARIADB_UNDO = (
    "--innodb-undo-log-truncate=ON", "--innodb-max-undo-log-size=10M", "--innodb-purge-rseg-truncate-frequency=1",
    "--innodb-log-file-size=48M",
)
VARIANTS = (
    Variant("4k pages", "mariadb-10.11", init=("--innodb-page-size=4k",), seed=41),
    Variant("64k pages", "mysql-9.7", init=("--innodb-page-size=64k",), seed=42),
    Variant("redo flushed once a second", "mariadb-11.8", ("--innodb-flush-log-at-trx-commit=0",), seed=43),
    Variant("redo written but not flushed", "mysql-8.0", ("--innodb-flush-log-at-trx-commit=2", *GTID), seed=44),
    Variant("undo truncation", "mariadb-10.11", MARIADB_UNDO, ("--innodb-undo-tablespaces=3",),
            ("bank", "rows", "giant", "giant"), seed=45),
    Variant("undo made anew", "mysql-9.7", GTID, writers=("bank", "giant"), between=make_undo_anew, seed=46),
    Variant("restart and redo resized", "mariadb-11.8", between=resize_redo, seed=47),
    Variant("restart and redo resized", "mysql-8.0", between=resize_redo, seed=48),
    Variant("restart and redo resized", "mysql-5.6", between=resize_redo, seed=49),
    Variant("lower case names", "mysql-8.0", init=("--lower-case-table-names=1",), seed=50),
    Variant("lower case names", "mariadb-10.11", ("--lower-case-table-names=1",), seed=51),
    Variant("strict checksums", "mariadb-10.5", ("--innodb-checksum-algorithm=strict_crc32",), seed=52),
)
each_variant = pytest.mark.parametrize(
    ("server_name", "variant"), [(v.server, v) for v in VARIANTS], ids=[f"{v.server}-{v.name}" for v in VARIANTS]
)


def full_and_increment(
    source: LabServer, folder: Path, writers: tuple[str, ...], seed: int,
    between: Callable[[LabServer], None] = lambda _server: None,
) -> tuple[list[Path], State]:
    """Both backups under load, and the state at the end."""
    full, increment = folder / "full", folder / "increment"
    with Load(source, seed, writers) as load:
        load.go_on(1.5)
        program.backup(source, full, None, *THROTTLE)
    between(source)
    with Load(source, seed + 500, writers) as load:
        load.go_on(1.5)
        program.backup(source, increment, full, *THROTTLE)
        load.go_on(0.5)
    return [full, increment], snapshot(source)


def judge_all(
    source: LabServer, chain: list[Path], want: State, folder: Path, *extra: str, expected: str = ""
) -> None:
    """Restore each backup with these options of ``goldcopy restore``, and let the oracle judge it."""
    for n, backup in enumerate(chain):
        with program.restore(source, backup, folder / f"r{n}", *extra) as restored:
            quick_start(restored)
            check_restored(
                want, restored, program.point(backup), source.binlogs(), source=source, expected=expected
            )


def quick_start(server: LabServer) -> None:
    """Start a restored server; it is thrown away, so it need not sync."""
    server.start("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")


@pytest.mark.timeout(400)
@each_variant
def test_nothing_is_lost(server_name: str, variant: Variant, make_server: MakeServer, lab_dir: Path) -> None:
    source = make_server(server_name, *variant.options, init=variant.init)
    schema.setup(source, variant.seed)
    chain, want = full_and_increment(source, lab_dir, variant.writers, variant.seed, variant.between)
    judge_all(source, chain, want, lab_dir)


# ------------------------------------------------------------------ encryption
@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.5", "mysql-8.0", "mysql-9.7"])
def test_encrypted_servers_come_back_with_their_keys_only(server_name: str, lab_dir: Path) -> None:
    """What is encrypted, and by which key, changes all the time."""
    need(server_name)
    ring = keys.ring_for(server_name, lab_dir / "keys")
    source = LabServer(server_name, lab_dir / "source", ring.options, binary=ring.binary).create().start()
    schema.setup(source)
    source.sql(*ring.statements)
    chain, want = full_and_increment(source, lab_dir, (*USUAL, "cipher"), 60)
    secret = ring.secret()
    for path in chain[0].rglob("*"):
        assert not path.is_file() or secret not in path.read_bytes(), f"the key lies in the backup: {path}"
    judge_all(source, chain, want, lab_dir, *ring.restore_options)


# ------------------------------------------------------------------ other places
@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mysql-9.7", "mysql-5.6"])
def test_tablespaces_outside_the_data_directory_follow_the_map(server_name: str, lab_dir: Path) -> None:
    need(server_name)
    there, elsewhere = lab_dir / "there", lab_dir / "elsewhere"
    there.mkdir()

    def places(folder: Path) -> list[str]:
        return [f"--innodb-directories={folder}"] if server_name == "mysql-9.7" else []

    source = LabServer(server_name, lab_dir / "source", places(there)).create().start()
    schema.setup(source, remote=str(there))
    chain, want = full_and_increment(source, lab_dir, ("bank", "remote", "remote", "ddl"), 70)
    for n, backup in enumerate(chain):
        mapped = program.restore(
            source, backup, lab_dir / f"r{n}", "--map", f"{there}={elsewhere}{n}",
            options=places(Path(f"{elsewhere}{n}")),
        )
        with mapped as restored:
            quick_start(restored)
            check_restored(want, restored, program.point(backup), source.binlogs(), source=source)
        assert list(Path(f"{elsewhere}{n}").rglob("*.ibd"))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-9.7"])
def test_symlinked_data_directory_and_database(server_name: str, lab_dir: Path) -> None:
    need(server_name)
    real, link = lab_dir / "real", lab_dir / "link"
    real.mkdir()
    link.symlink_to(real)
    source = LabServer(server_name, lab_dir / "source", ["--symbolic-links=1"], datadir=link).create().start()
    schema.setup(source)
    if source.mariadb:  # MySQL 8 does not follow a database that is a link
        source.stop()
        shutil.move(real / "misc", lab_dir / "misc-elsewhere")
        (real / "misc").symlink_to(lab_dir / "misc-elsewhere")
        source.start()
    chain, want = full_and_increment(source, lab_dir, USUAL, 80)
    judge_all(source, chain, want, lab_dir)


# ------------------------------------------------------------------ prepared XA
@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-9.7", "mysql-8.0"])
def test_a_prepared_xa_transaction_survives_and_can_still_be_committed(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    source = make_server(server_name)
    schema.setup(source)
    source.sql("CREATE TABLE misc.pledged (id INT PRIMARY KEY) ENGINE=InnoDB")
    source.sql("XA START 'pledge'", "INSERT INTO misc.pledged VALUES (1)", "XA END 'pledge'", "XA PREPARE 'pledge'")
    chain, want = full_and_increment(source, lab_dir, ("bank", "bank", "rows"), 90)
    for n, backup in enumerate(chain):
        with program.restore(source, backup, lab_dir / f"r{n}") as restored:
            quick_start(restored)
            check_restored(want, restored, program.point(backup), source.binlogs(), source=source)
            assert [row[3] for row in restored.sql("XA RECOVER")] in (["pledge"], [b"pledge"])
            restored.sql("XA COMMIT 'pledge'")
            assert restored.sql("SELECT id FROM misc.pledged") == [(1,)]


# ------------------------------------------------------------------ a replica as the source
@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mysql-8.0", "mysql-9.7"])
def test_a_replica_can_be_the_source(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    primary = make_server(server_name, folder="primary")
    replica = make_server(server_name, "--log-slave-updates=1", folder="source")
    replicate(primary, replica)
    schema.setup(primary)
    wait_caught_up(primary, replica)
    full, increment = lab_dir / "full", lab_dir / "increment"
    with Load(primary, 95) as load:
        load.go_on(2)
        program.backup(replica, full, None, *THROTTLE, "--safe-replica")
        load.go_on(2)
        program.backup(replica, increment, full, *THROTTLE)
    wait_caught_up(primary, replica)
    state = replica_state(replica)
    assert state["Replica_SQL_Running"] == "Yes", "the backup left the replica stopped"
    want = snapshot(replica)
    # it must not go on replicating while it is judged, and its relay logs are in no backup
    replica.options += ["--skip-slave-start", "--relay-log-recovery=1"]
    judge_all(replica, [full, increment], want, lab_dir, expected=r"\[Repl\]")


# ------------------------------------------------------------------ IMPORT TABLESPACE
def make_donor(server: LabServer, aside: Path) -> None:
    """A table whose files can be imported, kept aside, and an empty table to import them into."""
    aside.mkdir()
    body = "(id INT PRIMARY KEY, v VARCHAR(80), KEY (v)) ENGINE=InnoDB"
    rows = ",".join(f"({n}, REPEAT('{n % 10}', 60))" for n in range(3000))
    server.sql(
        f"CREATE TABLE misc.donor {body}", f"INSERT INTO misc.donor VALUES {rows}", f"CREATE TABLE misc.imported {body}"
    )
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES misc.donor FOR EXPORT")
        for suffix in ("ibd", "cfg"):
            shutil.copy(server.datadir / f"misc/donor.{suffix}", aside / f"imported.{suffix}")
        cursor.execute("UNLOCK TABLES")


def import_it(server: LabServer, aside: Path) -> None:
    """Import, unlogged: a replay has no files to import, so the rows must be in the backup or they are lost."""
    with server.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET sql_log_bin = 0")
        cursor.execute("ALTER TABLE misc.imported DISCARD TABLESPACE")
        for suffix in ("ibd", "cfg"):
            shutil.copy(aside / f"imported.{suffix}", server.datadir / f"misc/imported.{suffix}")
        cursor.execute("ALTER TABLE misc.imported IMPORT TABLESPACE")


@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.11", "mysql-9.7", "mariadb-10.5", "mysql-5.6"])
def test_a_table_imported_between_full_and_increment_is_in_the_increment(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    source = make_server(server_name)
    schema.setup(source)
    make_donor(source, lab_dir / "aside")
    chain, want = full_and_increment(
        source, lab_dir, ("bank", "rows", "ddl"), 100, lambda s: import_it(s, lab_dir / "aside")
    )
    judge_all(source, chain[1:], want, lab_dir)


@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.11", "mariadb-10.5"])
def test_a_table_imported_during_the_backup_is_in_it(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    # MySQL's backup lock makes IMPORT wait; MariaDB lets it run, with pages that no LSN tells apart
    source = make_server(server_name)
    schema.setup(source)
    make_donor(source, lab_dir / "aside")
    backup = lab_dir / "full"
    with Load(source, 110, ("bank", "rows", "ddl")) as load:
        load.go_on(1)
        failure: list[BaseException] = []
        worker = threading.Thread(target=_back_up_slowly, args=(source, backup, failure))
        worker.start()
        for _ in range(4):
            load.go_on(0.7)
            if worker.is_alive():
                import_it(source, lab_dir / "aside")
        worker.join()
    assert not failure, failure
    judge_all(source, [backup], snapshot(source), lab_dir)


def _back_up_slowly(source: LabServer, to: Path, failure: list[BaseException]) -> None:
    try:
        program.backup(source, to, None, "--throttle-mb", "12")
    except BaseException as e:
        failure.append(e)


# ------------------------------------------------------------------ directories of their own
@pytest.mark.timeout(400)
@pytest.mark.parametrize("server_name", ["mysql-9.7", "mariadb-11.8"])
def test_system_undo_and_redo_in_directories_of_their_own(server_name: str, lab_dir: Path) -> None:
    need(server_name)
    folders = {n: lab_dir / n for n in ("system", "undo", "redo")}
    for folder in folders.values():
        folder.mkdir()
    init = (
        f"--innodb-data-home-dir={folders['system']}", "--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",
        f"--innodb-undo-directory={folders['undo']}", f"--innodb-log-group-home-dir={folders['redo']}",
    )
    source = LabServer(server_name, lab_dir / "source", init=init).create(cached=False).start()
    schema.setup(source)
    chain, want = full_and_increment(source, lab_dir, USUAL, 120)
    maps = [part for n, folder in folders.items() for part in ("--map", f"{folder}={lab_dir}/restored-{n}")]
    moved = tuple(option.replace(f"{lab_dir}/", f"{lab_dir}/restored-") for option in init)
    for n, backup in enumerate(chain):
        for name in folders:
            shutil.rmtree(lab_dir / f"restored-{name}", ignore_errors=True)
            (lab_dir / f"restored-{name}").mkdir()
        restored = program.restore(source, backup, lab_dir / f"r{n}", *maps)
        restored.init = list(moved)
        with restored:
            quick_start(restored)
            check_restored(want, restored, program.point(backup), source.binlogs(), source=source)
