"""Backups taken by the real mariadb-backup, prepared and restored by us: nothing may be lost, nothing else touched."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import msgspec
import pytest

from goldcopy.compat.copyback import CopyBackRequest, copy_back
from goldcopy.compat.infofiles import Checkpoints, Info
from goldcopy.compat.prepare import PrepareRequest, prepare
from goldcopy.dialect.peers import peer_of
from goldcopy.errors import BackupInvalid, KeyMissing, TargetRefused
from goldcopy.events import Event, Note, silent
from goldcopy.image.manifest import dump, load
from lab import program, schema
from lab.fronts import point_of
from lab.load import USUAL, Load
from lab.oracle import check_restored, snapshot
from lab.server import LabServer

from .conftest import MakeServer

BETWEEN_S = 1.5
# a BINLOG statement with a row of a sequence crashes MariaDB 10.5, and the replay consists of them
WITHOUT_SEQUENCES = tuple(w for w in USUAL if w != "misc")


def writers_for(server_name: str) -> tuple[str, ...]:
    """The writers whose work this server can replay from its binlog."""
    return WITHOUT_SEQUENCES if server_name == "mariadb-10.5" else USUAL


def real_backup(server: LabServer, to: Path, base: Path | None = None, *extra: str) -> Path:
    """Take a backup with the server's own mariadb-backup, which gives up when tables are renamed meanwhile."""
    based = [f"--incremental-basedir={base}"] if base else []
    for _attempt in range(6):
        done = subprocess.run(
            [server.info.tool("mariadb-backup", "mariabackup"), "--no-defaults", "--backup", f"--target-dir={to}",
             *based, "--user=root", f"--socket={server.socket}", f"--datadir={server.datadir}", *extra],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode == 0:
            return to
        shutil.rmtree(to, ignore_errors=True)
    raise AssertionError(done.stderr[-3000:])


def real_prepare(server: LabServer, target: Path) -> None:
    """Prepare with the server's own mariadb-backup."""
    done = subprocess.run(
        [server.info.tool("mariadb-backup", "mariabackup"), "--prepare", f"--target-dir={target}"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]


def our_prepare(server: LabServer, target: Path, increment: Path | None = None, **rest: object) -> list[str]:
    """Prepare with our code. Returns the notes it made."""
    said: list[str] = []

    def emit(event: Event) -> None:
        if isinstance(event, Note) and not event.detail:
            said.append(event.text)

    wishes = PrepareRequest(
        target_dir=str(target), incremental_dir=str(increment or ""), mysqld=server.mysqld, **rest  # type: ignore[arg-type]
    )
    prepare(wishes, emit)
    return said


def take_chain(server: LabServer, root: Path, increments: int, load: Load) -> list[Path]:
    """A full backup and increments, the load going on."""
    chain: list[Path] = []
    for number in range(increments + 1):
        time.sleep(BETWEEN_S)
        load.check()
        chain.append(real_backup(server, root / f"b{number}", chain[-1] if chain else None))
    return chain


def restored(server: LabServer, prepared: Path, folder: Path, **places: str) -> LabServer:
    """A server started on what copy-back made of a prepared backup."""
    fresh = LabServer(server.name, folder, server.options, init=server.init)
    copy_back(CopyBackRequest(target_dir=str(prepared), datadir=str(fresh.datadir), parallel=2, **places), silent)
    return fresh.start()


def tree(folder: Path) -> dict[str, bytes]:
    """Every file with its content."""
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.11", "mariadb-10.5"])
def test_a_chain_of_the_real_tool_is_restored_exactly(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """Under load with DDL and tables elsewhere, the source alive all the time: full + 3 increments, none prepared."""
    undo = ("--innodb-undo-tablespaces=3",)
    source = make_server(server_name, init=undo)
    remote = lab_dir / "remote"
    remote.mkdir()
    schema.setup(source, remote=str(remote))
    source.sql("CREATE TABLE bank.pending (id INT PRIMARY KEY) ENGINE=InnoDB")
    source.sql("XA START 'x'", "INSERT INTO bank.pending VALUES (1)", "XA END 'x'", "XA PREPARE 'x'")
    open_one = source.connect(autocommit=False)
    open_one.cursor().execute("INSERT INTO bank.pending VALUES (2)")
    with Load(source, seed=5, writers=(*writers_for(server_name), "remote")) as load:
        full, *increments = take_chain(source, lab_dir, 3, load)
        kept = [tree(inc) for inc in increments]
        said = our_prepare(source, full)
        for increment in increments:
            said += our_prepare(source, full, increment, parallel=2)
    open_one.rollback()
    source.sql("XA ROLLBACK 'x'")
    want = snapshot(source)
    source.stop()
    remote.rename(lab_dir / "remote-of-source")

    copy = restored(source, full, lab_dir / "copy")

    assert any(line.startswith("Last binlog file ./binlog.") and ", position " in line for line in said)
    assert not any("Rolled back recovered" in line for line in said)
    assert [tree(inc) for inc in increments] == kept, "an increment was changed by being applied"
    assert copy.sql("XA RECOVER"), "an XA PREPARED transaction was lost"
    assert copy.value("SELECT COUNT(*) FROM bank.pending WHERE id = 2") == 0
    assert (remote / "forms" / "remote.ibd").exists()
    check_restored(want, copy, point_of(increments[-1]), source.binlogs())


@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.5"])
def test_what_the_real_tool_prepared_takes_our_increments_too(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """The base prepared by mariadb-backup (10.5 leaves an empty redo log), twice prepared by us, then an increment."""
    source = make_server(server_name)
    schema.setup(source)
    with Load(source, seed=6, writers=writers_for(server_name)) as load:
        full, increment = take_chain(source, lab_dir, 1, load)
    want = snapshot(source)
    real_prepare(source, full)
    our_prepare(source, full)
    our_prepare(source, full)
    our_prepare(source, full, increment, check_tables=True)
    source.stop()
    assert ((full / "ib_logfile0").stat().st_size == 0) == (server_name == "mariadb-10.5")
    check_restored(want, restored(source, full, lab_dir / "copy"), point_of(increment), source.binlogs())


_CHILD = """
import sys
from goldcopy.compat.infofiles import Checkpoints, Info
from goldcopy.compat.prepare import PrepareRequest, prepare
from goldcopy.events import silent
prepare(PrepareRequest(target_dir=sys.argv[1], incremental_dir=sys.argv[2], mysqld=sys.argv[3]), silent)
"""


@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mariadb-10.5"])
def test_a_prepare_killed_at_any_moment_is_finished_by_running_it_again(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """kill -9 again and again, while marks are applied, pages laid over, redo recovered."""
    source = make_server(server_name)
    schema.setup(source)
    with Load(source, seed=7, writers=writers_for(server_name)) as load:
        full, increment = take_chain(source, lab_dir, 1, load)
    want = snapshot(source)
    moments = random.Random(8)
    for step in ("", str(increment)):
        killed = 0
        while killed < 6:
            child = subprocess.Popen([sys.executable, "-c", _CHILD, str(full), step, source.mysqld])
            time.sleep(moments.uniform(0.15, 1.1))
            if child.poll() is not None:
                break
            child.send_signal(signal.SIGKILL)
            child.wait()
            killed += 1
        if child.returncode == 0:
            continue
        if step:
            # only the same increment may go on: without it the directory is neither the old nor the new state
            if (full / "goldcopy.increment").exists():
                with pytest.raises(BackupInvalid):
                    our_prepare(source, full)
            our_prepare(source, full, increment)
        else:
            our_prepare(source, full)
    source.stop()
    check_restored(want, restored(source, full, lab_dir / "copy"), point_of(increment), source.binlogs())


@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.11", "mariadb-10.5"])
def test_exported_tables_can_be_imported_elsewhere(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    """Plain, compressed, partitioned and tables with foreign keys."""
    source = make_server(server_name)
    source.sql(
        "CREATE DATABASE d", "USE d",
        "CREATE TABLE d.p (id INT PRIMARY KEY, v VARCHAR(50)) ENGINE=InnoDB",
        "CREATE TABLE d.c (id INT PRIMARY KEY, p INT, FOREIGN KEY (p) REFERENCES d.p (id)) ENGINE=InnoDB",
        "CREATE TABLE d.z (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB ROW_FORMAT=COMPRESSED",
        "CREATE TABLE d.`a-b` (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB PAGE_COMPRESSED=1",
        "CREATE TABLE d.x (id INT PRIMARY KEY) ENGINE=InnoDB",
        "INSERT INTO d.p SELECT seq, REPEAT('p', 20) FROM seq_1_to_2000",
        "INSERT INTO d.c SELECT id, id FROM d.p",
        "INSERT INTO d.z SELECT id, REPEAT(v, 30) FROM d.p",
        "INSERT INTO d.`a-b` SELECT id, REPEAT(v, 30) FROM d.p",
    )
    creates = {t: source.sql(f"SHOW CREATE TABLE d.`{t}`")[0][1] for t in ("p", "c", "z", "a-b")}
    open_one = source.connect(autocommit=False)
    open_one.cursor().execute("DELETE FROM d.p WHERE id > 1000 AND id NOT IN (SELECT p FROM d.c)")
    open_one.cursor().execute("UPDATE d.z SET v = 'open'")
    # what is not committed may stay in memory; a commit after it brings it to the log
    source.sql("XA START 'x'", "INSERT INTO d.x VALUES (5)", "XA END 'x'", "XA PREPARE 'x'")
    source.sql("INSERT INTO d.p VALUES (0, 'p')")
    full = real_backup(source, lab_dir / "full")
    open_one.rollback()
    want = {t: source.sql(f"CHECKSUM TABLE d.`{t}`")[0][1] for t in creates}

    said = our_prepare(source, full, export=True)

    assert any(line.startswith("Rolled back recovered transaction") for line in said)
    other = make_server(server_name, folder="other")
    with other.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SET foreign_key_checks = 0")
        cursor.execute("CREATE DATABASE d")
        cursor.execute("USE d")
        for table, create in creates.items():
            cursor.execute(create)
            cursor.execute(f"ALTER TABLE `{table}` DISCARD TABLESPACE")
            for suffix in (".ibd", ".cfg"):
                name = table.replace("-", "@002d") + suffix
                shutil.copy(full / "d" / name, other.datadir / "d" / name)
            cursor.execute(f"ALTER TABLE `{table}` IMPORT TABLESPACE")
    assert {t: other.sql(f"CHECKSUM TABLE d.`{t}`")[0][1] for t in creates} == want


def test_a_partial_backup_is_prepared_without_complaint(make_server: MakeServer, lab_dir: Path) -> None:
    """Tables that the filter left out are missing on purpose."""
    source = make_server("mariadb-10.11")
    source.sql(
        "CREATE DATABASE d", "USE d", "CREATE TABLE d.t1 (id INT PRIMARY KEY) ENGINE=InnoDB",
        "CREATE TABLE d.t2 (id INT PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO d.t1 SELECT seq FROM seq_1_to_999",
        "INSERT INTO d.t2 SELECT seq FROM seq_1_to_999",
    )
    full = real_backup(source, lab_dir / "full", None, "--tables=^d[.]t1$")
    source.sql("DELETE FROM d.t1 WHERE id > 500", "INSERT INTO d.t2 VALUES (5000)")
    increment = real_backup(source, lab_dir / "inc", full, "--tables=^d[.]t1$")
    said = our_prepare(source, full)
    said += our_prepare(source, full, increment, export=True)
    assert not any("Operating system error" in line or "Could not find" in line for line in said)
    assert sorted(p.name for p in (full / "d").glob("*.cfg")) == ["t1.cfg"]


def test_an_encrypted_backup_needs_its_keys_and_says_so(make_server: MakeServer, lab_dir: Path) -> None:
    """Without the key file nothing is changed; with it everything is there."""
    keys = lab_dir / "keys.txt"
    keys.write_text("1;770A8A65DA156D24EE2A093277530142\n")
    options = (
        "--plugin-load-add=file_key_management", f"--file-key-management-filename={keys}", "--innodb-encrypt-tables=ON",
        "--innodb-encrypt-log=ON", "--innodb-encryption-threads=2",
    )  # fmt: skip
    source = make_server("mariadb-10.11", *options)
    schema.setup(source)
    with Load(source, seed=9) as load:
        full, increment = take_chain(source, lab_dir, 1, load)
    want = snapshot(source)
    source.stop()
    before = tree(full)
    keys.rename(lab_dir / "hidden")
    with pytest.raises(KeyMissing):
        our_prepare(source, full)
    assert tree(full) == before
    (lab_dir / "hidden").rename(keys)
    our_prepare(source, full)
    our_prepare(source, full, increment)
    check_restored(want, restored(source, full, lab_dir / "copy"), point_of(increment), source.binlogs())


def test_move_back_uses_the_backup_up_and_copy_back_never_overwrites(make_server: MakeServer, lab_dir: Path) -> None:
    """Data, undo, Aria and system files each in a place of their own."""
    source = make_server("mariadb-10.11", init=("--innodb-undo-tablespaces=3",))
    source.sql(
        "CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB", "INSERT INTO d.t VALUES (1)",
    )  # fmt: skip
    full = real_backup(source, lab_dir / "full")
    source.stop()
    our_prepare(source, full)
    places = {name: str(lab_dir / name) for name in ("undo_dir", "aria_log_dir", "data_home_dir")}
    copy = LabServer(
        source.name, lab_dir / "copy",
        [f"--innodb-undo-directory={places['undo_dir']}", f"--aria-log-dir-path={places['aria_log_dir']}",
         f"--innodb-data-home-dir={places['data_home_dir']}"], init=source.init,
    )  # fmt: skip
    request = CopyBackRequest(target_dir=str(full), datadir=str(copy.datadir), move=True, **places)
    copy_back(request, silent)
    assert {p.name for p in full.iterdir() if p.is_file()} == {
        "backup-my.cnf", "xtrabackup_checkpoints", "xtrabackup_binlog_info",
    }  # fmt: skip
    assert (lab_dir / "undo_dir" / "undo001").exists()
    assert (lab_dir / "aria_log_dir" / "aria_log_control").exists()
    assert (lab_dir / "data_home_dir" / "ibdata1").exists()
    assert copy.start().value("SELECT COUNT(*) FROM d.t") == 1
    copy.stop()
    with pytest.raises(TargetRefused, match="is not empty"):
        copy_back(request, silent)


def test_increments_are_refused_out_of_order(make_server: MakeServer, lab_dir: Path) -> None:
    """Unprepared base, an increment left out, an increment alone."""
    source = make_server("mariadb-11.8")
    source.sql("CREATE DATABASE d", "USE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    full = real_backup(source, lab_dir / "full")
    chain = [full]
    for number in (1, 2):
        source.sql("USE d", f"INSERT INTO d.t SELECT seq + {number}0000 FROM seq_1_to_9999")
        source.restart()
        chain.append(real_backup(source, lab_dir / f"inc{number}", chain[-1]))
    with pytest.raises(BackupInvalid, match="applying incremental backup needs a prepared target"):
        our_prepare(source, full, chain[1])
    our_prepare(source, full)
    before = tree(full)
    with pytest.raises(BackupInvalid, match="This incremental backup seems not to be proper for the target"):
        our_prepare(source, full, chain[2])
    assert tree(full) == before
    our_prepare(source, full, chain[1])
    our_prepare(source, full, chain[1])
    our_prepare(source, full, chain[2])
    with pytest.raises(BackupInvalid, match="This incremental backup seems not to be proper for the target"):
        our_prepare(source, full, chain[1])
    assert os.path.exists(full / "mariadb_backup_checkpoints")


def as_theirs(backup: Path) -> Path:
    """A backup of ours in the layout of XtraBackup's directories."""
    manifest = load(str(backup))
    peer = peer_of(manifest.server.family, manifest.server.version)
    (backup / "xtrabackup_checkpoints").write_text(Checkpoints.of(manifest).render(peer))
    (backup / "xtrabackup_info").write_text(Info.of(manifest, mariadb=False).render(peer))
    (backup / "goldcopy.redo").rename(backup / "xtrabackup_logfile")
    redo = msgspec.structs.replace(manifest.redo, stored_as="xtrabackup_logfile")
    (backup / "goldcopy.manifest").write_bytes(b"".join(dump(msgspec.structs.replace(manifest, redo=redo))))
    return backup


@pytest.mark.parametrize("server_name", ["mysql-9.7", "mysql-8.0", "mysql-5.6"])
def test_increments_of_mysql_are_merely_overlaid_and_recovered_once(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """Redo-only passes for a full backup and two increments, the last pass recovers; --rollback-prepared-trx."""
    source = make_server(server_name)
    schema.setup(source)
    source.sql("CREATE TABLE bank.pending (id INT PRIMARY KEY) ENGINE=InnoDB")
    # 5.6 rolls it back as soon as its session ends
    survives = server_name != "mysql-5.6"
    if survives:
        source.sql("XA START 'x','y',7", "INSERT INTO bank.pending VALUES (1)", "XA END 'x','y',7", "XA PREPARE 'x','y',7")
    chain: list[Path] = []
    with Load(source, seed=12) as running:
        for number in range(3):
            time.sleep(BETWEEN_S)
            running.check()
            program.backup(source, lab_dir / f"b{number}", chain[-1] if chain else None)
            chain.append(lab_dir / f"b{number}")
    point = program.point(chain[-1])
    full, *increments = map(as_theirs, chain)
    our_prepare(source, full, apply_log_only=True)
    for increment in increments:
        our_prepare(source, full, increment, apply_log_only=True)
    with pytest.raises(BackupInvalid, match="not fully prepared"):
        copy_back(CopyBackRequest(target_dir=str(full), datadir=str(lab_dir / "early")), silent)
    our_prepare(source, full, rollback_prepared=True)
    our_prepare(source, full)
    copy = restored(source, full, lab_dir / "copy")
    assert not copy.sql("XA RECOVER")
    # here it is decided outside of the binlog, as in the backup
    if survives:
        source.sql("SET SESSION sql_log_bin = 0", "XA ROLLBACK 'x','y',7")
    want = snapshot(source)
    source.stop()
    check_restored(want, copy, point, source.binlogs())


@pytest.mark.parametrize("server_name", ["mysql-9.7", "mysql-5.6"])
def test_exported_tables_of_mysql_can_be_imported_elsewhere(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """Also beside a table that shares a tablespace with others, which nobody can export."""
    source = make_server(server_name)
    schema.setup(source)
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB")
    source.sql("CREATE TABLE d.`z-1` (id INT PRIMARY KEY, v TEXT) ENGINE=InnoDB ROW_FORMAT=COMPRESSED")
    values = ",".join(f"({n}, REPEAT('{n}', 40))" for n in range(500))
    source.sql(f"INSERT INTO d.t VALUES {values}", f"INSERT INTO d.`z-1` VALUES {values}")
    creates = {t: source.sql(f"SHOW CREATE TABLE d.`{t}`")[0][1] for t in ("t", "z-1")}
    want = {t: source.sql(f"CHECKSUM TABLE d.`{t}`")[0][1] for t in creates}
    program.backup(source, lab_dir / "full")
    full = as_theirs(lab_dir / "full")
    our_prepare(source, full, export=True)
    other = make_server(server_name, folder="other")
    with other.connect() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE DATABASE d")
        cursor.execute("USE d")
        for table, create in creates.items():
            cursor.execute(create)
            cursor.execute(f"ALTER TABLE `{table}` DISCARD TABLESPACE")
            for suffix in (".ibd", ".cfg"):
                name = table.replace("-", "@002d") + suffix
                shutil.copy(full / "d" / name, other.datadir / "d" / name)
            cursor.execute(f"ALTER TABLE `{table}` IMPORT TABLESPACE")
    assert {t: other.sql(f"CHECKSUM TABLE d.`{t}`")[0][1] for t in creates} == want
