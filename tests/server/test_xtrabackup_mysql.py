"""xtrabackup's sequences on MySQL: what a runbook does between the backup and the day it is needed."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from goldcopy.compat.infofiles import Checkpoints, Info
from lab import keys
from lab.fronts import back_up, copied_back, ours, prepare, prepare_chain
from lab.server import LabServer

from .conftest import MakeServer, need

CREATE = "CREATE TABLE d.t (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(200)) ENGINE=InnoDB"
ROWS = "INSERT INTO d.t (v) SELECT REPEAT('x', 150) FROM information_schema.columns LIMIT 700"
KEY = "0123456789abcdef0123456789abcdef"


def with_rows(server: LabServer) -> None:
    """A database with a table that is worth a backup."""
    server.sql("CREATE DATABASE d", CREATE, ROWS)


def checksum(server: LabServer, table: str = "d.t") -> object:
    """What the server says of a table's rows."""
    return server.sql(f"CHECKSUM TABLE {table}")[0][1]


def fail(server: LabServer, to: Path, said: str, *more: str) -> None:
    """A backup that must not succeed, and why."""
    log = back_up(server, to, *more, status=1)
    assert said in log, log[-2000:]
    assert not (to / "xtrabackup_checkpoints").exists()


@pytest.mark.parametrize("how", ["OFF", "REDUCED"])
def test_indexes_are_built_while_nothing_keeps_ddl_away(how: str, make_server: MakeServer, lab_dir: Path) -> None:
    """MySQL writes their pages to the file and not to the redo: what was copied before them is copied again."""
    source = make_server("mysql-8.0")
    with_rows(source)
    source.sql(*(f"CREATE TABLE d.t{n} LIKE d.t" for n in range(4)), *[ROWS] * 6)
    source.sql(*(f"INSERT INTO d.t{n} SELECT * FROM d.t" for n in range(4)))
    stopped = threading.Event()

    def build() -> None:
        number = 0
        while not stopped.is_set():
            number += 1
            old = f", DROP INDEX j{number - 30}" if number > 30 else ""  # a table may have 64
            source.sql(
                f"ALTER TABLE d.t{number % 4} ADD INDEX i{number} (v)", f"ALTER TABLE d.t ADD INDEX i{number} (v, id)",
                f"ALTER TABLE d.t DROP INDEX i{number}, ADD INDEX j{number} (id, v){old}",
            )  # fmt: skip

    thread = threading.Thread(target=build)
    thread.start()
    try:
        back_up(source, lab_dir / "full", f"--lock-ddl={how}", "--throttle=40")
        one = (lab_dir / "one", f"--lock-ddl={how}", "--throttle=40", f"--incremental-basedir={lab_dir / 'full'}")
        back_up(source, *one)
    finally:
        stopped.set()
        thread.join()
    prepare(source, lab_dir / "full", "--apply-log-only")
    prepare(source, lab_dir / "full", f"--incremental-dir={lab_dir / 'one'}")
    with copied_back(source, lab_dir / "full", lab_dir / "copy") as copy:
        for table in ("t", "t0", "t1", "t2", "t3"):
            assert copy.sql(f"CHECK TABLE d.{table} EXTENDED")[0][3] == "OK"


@pytest.mark.parametrize("server_name", ["mysql-5.6", "mysql-8.0", "mysql-9.7"])
def test_a_partial_backup_recovers_although_a_transaction_on_what_it_lacks_was_open(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """Its rollback meets a table that is not there; the kept one comes back whole."""
    source = make_server(server_name)
    with_rows(source)
    source.sql("CREATE TABLE d.left_out LIKE d.t", "INSERT INTO d.left_out SELECT * FROM d.t")
    holder = source.connect()
    holder.cursor().execute("START TRANSACTION")
    holder.cursor().execute("DELETE FROM d.left_out")
    want, backup = checksum(source), lab_dir / "backup"
    back_up(source, backup, "--tables=^d[.]t$")
    holder.close()
    source.stop()

    prepare(source, backup)

    assert not (backup / "d" / "left_out.ibd").exists()
    assert checksum(copied_back(source, backup, lab_dir / "copy")) == want


def test_a_partial_backup_has_the_definitions_of_its_tables_that_are_not_innodbs(
    make_server: MakeServer, lab_dir: Path
) -> None:
    """Without its .sdi file, which tells 16 characters of its name, nobody could import a MyISAM table."""
    source, backup = make_server("mysql-8.0"), lab_dir / "backup"
    long = "name_of_more_than_sixteen"
    source.sql("CREATE DATABASE d")
    for table in ("t", "t_1", long, f"{long}_2"):
        source.sql(f"CREATE TABLE d.{table} (id INT PRIMARY KEY) ENGINE=MyISAM", f"INSERT INTO d.{table} VALUES (1)")
    back_up(source, backup, f"--databases=d.t d.{long}")
    there = {re.sub(r"_\d+\.sdi$", ".sdi", p.name) for p in (backup / "d").iterdir()}
    assert there == {"t.MYD", "t.MYI", "t.sdi", f"{long}.MYD", f"{long}.MYI", f"{long[:16]}.sdi"}

    source.sql("DROP DATABASE d", "CREATE DATABASE d")
    prepare(source, backup)
    shutil.copytree(backup / "d", source.datadir / "d", dirs_exist_ok=True)
    source.sql("USE d", "IMPORT TABLE FROM 'd/*.sdi'")
    assert source.sql(f"SELECT t.id FROM d.t JOIN d.{long} USING (id)") == [(1,)]


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mysql-9.7"])
def test_a_chain_by_name_survives_redo_only_passes_and_is_moved_back(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """--history, two increments by it, --apply-log-only on all but the last, --move-back into an occupied directory."""
    source = make_server(server_name)
    with_rows(source)
    full, one, two = (lab_dir / n for n in ("full", "one", "two"))
    # the backup's own session must not depend on what is set for everybody's
    source.sql(
        "CREATE USER b@localhost",
        "GRANT BACKUP_ADMIN, PROCESS, RELOAD, LOCK TABLES, REPLICATION CLIENT ON *.* TO b@localhost",
        "GRANT SELECT ON performance_schema.* TO b@localhost", "GRANT ALL ON PERCONA_SCHEMA.* TO b@localhost",
        "SET GLOBAL init_connect = 'SET autocommit = 0'", "SET GLOBAL sql_mode = 'ANSI_QUOTES,NO_BACKSLASH_ESCAPES'",
    )  # fmt: skip
    back_up(source, full, "--user=b", "--history=night")
    source.sql(ROWS, "CREATE TABLE d.later LIKE d.t", "INSERT INTO d.later SELECT * FROM d.t")
    back_up(source, one, "--incremental-history-name=night", "--history=night")
    source.sql(ROWS, "ALTER TABLE d.later ADD COLUMN w INT DEFAULT 7")
    uuid = source.value("SELECT uuid FROM PERCONA_SCHEMA.xtrabackup_history ORDER BY innodb_to_lsn DESC LIMIT 1")
    back_up(source, two, f"--incremental-history-uuid={uuid}")
    want = checksum(source), checksum(source, "d.later")
    source.stop()

    prepare(source, full, "--apply-log-only")
    prepare(source, full, "--apply-log-only", f"--incremental-dir={one}")
    prepare(source, full, f"--incremental-dir={two}")

    assert Checkpoints.parse((full / "xtrabackup_checkpoints").read_text()).backup_type == "full-prepared"
    fresh = LabServer(source.name, lab_dir / "copy", source.options)
    fresh.datadir.mkdir(parents=True)
    (fresh.datadir / "lost+found").mkdir()
    move = ("--no-defaults", "--move-back", f"--target-dir={full}", f"--datadir={fresh.datadir}")
    assert "is not empty" in ours("xtrabackup", *move, status=1).stderr
    ours("xtrabackup", *move, "--force-non-empty-directories")
    assert not (full / "d" / "t.ibd").exists()
    fresh.start()
    assert (checksum(fresh), checksum(fresh, "d.later")) == want


def test_packed_files_may_stay_beside_what_was_unpacked(make_server: MakeServer, lab_dir: Path) -> None:
    """--decrypt and --decompress keep the originals unless told otherwise: a full and an increment are prepared."""
    source = make_server("mysql-8.0")
    with_rows(source)
    full, one = lab_dir / "full", lab_dir / "one"
    secret = ("--encrypt=AES256", f"--encrypt-key={KEY}")
    back_up(source, full, "--compress=lz4", *secret, f"--extra-lsndir={lab_dir / 'lsn'}")
    source.sql(ROWS)
    back_up(source, one, "--compress=zstd", *secret, f"--incremental-basedir={lab_dir / 'lsn'}")
    want = checksum(source)
    source.stop()

    for directory in (full, one):
        ours(
            "xtrabackup", "--decrypt=AES256", f"--encrypt-key={KEY}", "--decompress", f"--target-dir={directory}"
        )
        assert list(directory.rglob("*.xbcrypt"))
    prepare(source, full, "--apply-log-only")
    prepare(source, full, f"--incremental-dir={one}")

    copy = copied_back(source, full, lab_dir / "copy")
    assert checksum(copy) == want
    assert not list(copy.datadir.rglob("*.xbcrypt"))


def test_backups_inside_the_data_directory_are_no_databases(make_server: MakeServer, lab_dir: Path) -> None:
    """Else the second would hold the first, and itself, and a restore would mix their files."""
    source = make_server("mysql-8.0")
    with_rows(source)
    one, two = source.datadir / "one", source.datadir / "two"
    back_up(source, one)
    back_up(source, two)
    source.stop()

    assert (two / "d" / "t.ibd").exists()
    assert not (one / "one").exists()
    assert not (two / "one").exists()
    assert not (two / "two").exists()


def test_a_file_that_awaits_its_import_is_no_hindrance(make_server: MakeServer, lab_dir: Path) -> None:
    """It says that it is the table that it was exported from: of the two the server's own is backed up."""
    source = make_server("mysql-9.7")
    with_rows(source)
    source.sql("CREATE TABLE d.copy LIKE d.t", "ALTER TABLE d.copy DISCARD TABLESPACE")
    with source.connect() as connection, connection.cursor() as cursor:
        cursor.execute("FLUSH TABLES d.t FOR EXPORT")
        shutil.copy(source.datadir / "d" / "t.ibd", source.datadir / "d" / "copy.ibd")
    (source.datadir / "d" / "linked.ibd").hardlink_to(source.datadir / "d" / "t.ibd")
    full, increment = lab_dir / "full", lab_dir / "increment"

    log = back_up(source, full)
    source.sql("ALTER TABLE d.copy IMPORT TABLESPACE", "INSERT INTO d.t SELECT NULL, 'later' FROM d.t LIMIT 1")
    back_up(source, increment, f"--incremental-basedir={full}")

    assert all(f"d/{name}.ibd: it says that it is tablespace" in log for name in ("copy", "linked"))
    sums = checksum(source), checksum(source, "d.copy")
    source.stop()
    fresh = copied_back(source, prepare_chain(source, [full, increment]), lab_dir / "fresh")
    assert (checksum(fresh), checksum(fresh, "d.copy")) == sums


def test_a_position_that_a_replica_cannot_know_is_not_written(make_server: MakeServer, lab_dir: Path) -> None:
    """Parallel appliers without commit order have gaps behind what they report."""
    source = make_server(
        "mysql-8.0", "--replica-parallel-workers=3", "--replica-preserve-commit-order=OFF", "--skip-replica-start"
    )
    with_rows(source)
    back_up(source, lab_dir / "no_replica", "--slave-info")
    source.sql("CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_USER='nobody', SOURCE_PORT=1")

    fail(source, lab_dir / "backup", "requires GTID enabled for a multi-threaded slave", "--slave-info")


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mysql-9.7"])
def test_encrypted_tables_come_back_with_their_key_ring_and_not_without(server_name: str, lab_dir: Path) -> None:
    """The plugin's file is named by --keyring-file-data, the component's is found by the server's program."""
    need(server_name)
    ring = keys.ring_for(server_name, lab_dir / "keys")
    options = (f"--keyring-file-data={ring.file}",) if server_name == "mysql-8.0" else ()
    source = LabServer(server_name, lab_dir / "source", ring.options, binary=ring.binary).create().start()
    with_rows(source)
    source.sql("ALTER TABLE d.t ENCRYPTION = 'Y'", ROWS)
    backup = lab_dir / "backup"
    back_up(source, backup)
    want = checksum(source)
    source.stop()
    hidden = ring.file.rename(lab_dir / "hidden")

    call = ("--prepare", f"--target-dir={backup}", f"--mysqld={source.mysqld}", *options)
    before = {p: p.stat().st_mtime_ns for p in backup.rglob("*") if p.is_file()}
    log = ours("xtrabackup", *call, status=1).stderr
    assert "key" in log.partition("[ERROR]")[2].lower(), log[-2000:]
    assert before == {p: p.stat().st_mtime_ns for p in before}
    ring.file.unlink(missing_ok=True)
    hidden.rename(ring.file)
    ours("xtrabackup", *call)

    copy = LabServer(server_name, lab_dir / "copy", ring.options, binary=ring.binary)
    ours("xtrabackup", "--no-defaults", "--copy-back", f"--target-dir={backup}", f"--datadir={copy.datadir}")
    assert checksum(copy.start()) == want


@pytest.mark.parametrize("decide", [True, False])
def test_prepared_transactions_stay_unless_they_are_to_be_rolled_back(
    decide: bool, make_server: MakeServer, lab_dir: Path
) -> None:
    """--rollback-prepared-trx."""
    source = make_server("mysql-8.0")
    with_rows(source)
    session = source.connect()
    for statement in ("XA START 'x'", "INSERT INTO d.t (id, v) VALUES (900001, 'x')", "XA END 'x'", "XA PREPARE 'x'"):
        session.cursor().execute(statement)
    backup = lab_dir / "backup"
    back_up(source, backup)
    source.stop()

    prepare(source, backup, *(["--rollback-prepared-trx"] if decide else []))

    copy = copied_back(source, backup, lab_dir / "copy")
    assert len(copy.sql("XA RECOVER")) == (0 if decide else 1)
    assert copy.value("SELECT COUNT(*) FROM d.t WHERE id = 900001") == 0


def test_an_altered_checkpoints_file_stops_the_prepare(make_server: MakeServer, lab_dir: Path) -> None:
    """An LSN that the redo log does not reach: the backup is cut short, or the file another's."""
    source = make_server("mysql-8.0")
    with_rows(source)
    backup = lab_dir / "backup"
    back_up(source, backup)
    source.stop()
    path = backup / "xtrabackup_checkpoints"
    lines = path.read_text().splitlines()
    path.write_text("\n".join("to_lsn = 99999999999" if line.startswith("to_lsn") else line for line in lines) + "\n")

    log = ours("xtrabackup", "--prepare", f"--target-dir={backup}", f"--mysqld={source.mysqld}", status=1).stderr

    assert "xtrabackup_checkpoints: does not say what was written" in log


@pytest.mark.parametrize("server_name", ["mysql-9.7"])
def test_the_size_told_is_the_room_that_the_backup_takes(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """In the log and in the info file beside the backup, to the byte; a compressed one tells what it becomes as well."""
    source = make_server(server_name)
    with_rows(source)
    plain, packed, lsns = lab_dir / "plain", lab_dir / "packed", lab_dir / "lsns"

    log = back_up(source, plain, f"--extra-lsndir={lsns}")

    info = Info.parse((lsns / "xtrabackup_info").read_text())
    assert info.tool_command.startswith("--no-defaults --backup --target-dir=")
    told = info.backup_size
    taken = sum(f.stat().st_size for f in plain.rglob("*") if f.is_file())
    assert taken == told
    assert f"({told} bytes)" in log
    assert "Uncompressed backup size" not in log

    log = back_up(source, packed, "--compress=zstd", f"--extra-lsndir={lsns}")

    info = Info.parse((lsns / "xtrabackup_info").read_text())
    taken = sum(f.stat().st_size for f in packed.rglob("*") if f.is_file())
    assert taken == info.backup_size
    assert "Compression ratio: " in log
    ours("xtrabackup", "--decompress", "--remove-original", f"--target-dir={packed}")
    assert sum(f.stat().st_size for f in packed.rglob("*") if f.is_file()) == info.uncompressed_backup_size


@pytest.mark.parametrize("server_name", ["mysql-5.6", "mysql-8.0"])
def test_statistics_tell_every_index_of_a_table_and_its_partitions(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """By the names that the dictionary has, wherever this server keeps it; what was deleted does not count."""
    source = make_server(server_name)
    with_rows(source)
    source.sql("ALTER TABLE d.t ADD KEY by_v (v(20)) PARTITION BY HASH (id) PARTITIONS 2")
    source.sql("DELETE FROM d.t WHERE id > 400")
    rows = int(str(source.sql("SELECT COUNT(*) FROM d.t")[0][0]))
    back_up(source, lab_dir / "backup")
    source.stop()
    prepare(source, lab_dir / "backup")

    asked = ("--no-defaults", "--stats", "--tables=^d[.]t$", f"--datadir={lab_dir / 'backup'}")
    told = ours("xtrabackup", *asked).stdout.decode()

    tables = re.findall(r"table: (\S+), index: (\w+), .*\n(?:.*\n)*?        leaf pages: recs=(\d+)", told)
    found = {(name.lower(), index) for name, index, _ in tables if name.startswith("d/")}
    assert found == {(f"d/t#p#p{n}", index) for n in (0, 1) for index in ("PRIMARY", "by_v")}
    assert sum(int(n) for name, index, n in tables if index == "PRIMARY" and name.startswith("d/")) == rows


@pytest.mark.parametrize("server_name", ["mysql-8.0"])
def test_a_command_line_that_means_another_server_is_refused(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """A data directory that is not there; one that the server calls otherwise is only worth a word."""
    source = make_server(server_name)
    fail(source, lab_dir / "a", "points to nonexistent directory", f"--datadir={lab_dir}/none")
    assert "has different values" in back_up(source, lab_dir / "b", f"--datadir={lab_dir}", "--parallel=-1")


def test_a_last_pass_that_was_cut_off_is_finished_by_the_same_command(make_server: MakeServer, lab_dir: Path) -> None:
    """Killed, or told to end, while it looks, while the server recovers; nothing of that is left in the backup."""
    source = make_server("mysql-8.0")
    with_rows(source)
    full, one = lab_dir / "full", lab_dir / "one"
    back_up(source, full)
    source.sql(ROWS, "FLUSH BINARY LOGS", ROWS)
    back_up(source, one, f"--incremental-basedir={full}")
    want = checksum(source)
    source.stop()
    prepare(source, full, "--apply-log-only")
    prepare(source, full, "--apply-log-only", f"--incremental-dir={one}")
    program = Path(sys.executable).parent / "xtrabackup"
    command = [program, "--prepare", f"--target-dir={full}", f"--mysqld={source.mysqld}"]
    for after_s, number in ((0.3, signal.SIGTERM), (1.2, signal.SIGKILL), (1.8, signal.SIGTERM), (1.0, signal.SIGKILL)):
        running = subprocess.Popen(command, stderr=subprocess.PIPE)
        time.sleep(after_s)
        running.send_signal(number)
        log = running.communicate()[1].decode()
        assert running.returncode in (-number, 130, 0), log
        assert "Traceback" not in log
        assert number != signal.SIGTERM or not running.returncode or "the same command goes on" in log

    prepare(source, full)

    binlogs = [path.name for path in full.glob("binlog.0*")]
    assert binlogs == (full / "xtrabackup_binlog_info").read_text().split()[:1]
    copy = copied_back(source, full, lab_dir / "copy")
    assert checksum(copy) == want
    assert not list(copy.datadir.glob("goldcopy*"))
