"""The peers' programs on our engine: what they take, the real tools restore, and so do ours."""

from __future__ import annotations

import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from lab import program, schema
from lab.fronts import TIMEOUT_S, back_up, copied_back, ours, point_of, prepare, prepare_chain
from lab.load import Load
from lab.oracle import check_restored, snapshot
from lab.server import LabServer

from .conftest import MakeServer
from .test_peer_directories import writers_for

KEY = "0123456789abcdef0123456789abcdef"


def real(server: LabServer, *arguments: str) -> None:
    """Run the server's own mariadb-backup."""
    tool = server.info.tool("mariadb-backup", "mariabackup")
    done = subprocess.run([tool, *arguments], check=False, timeout=TIMEOUT_S, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def really_copied_back(server: LabServer, prepared: Path, folder: Path) -> LabServer:
    """A server on what the real copy-back made of a prepared backup."""
    copy = LabServer(server.name, folder, server.options, init=server.init)
    real(server, "--copy-back", f"--target-dir={prepared}", f"--datadir={copy.datadir}")
    return copy.start()


@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.11"])
def test_the_real_tool_restores_what_we_took(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    """Under load with DDL: prepared and copied back by mariadb-backup."""
    source = make_server(server_name)
    schema.setup(source)
    backup = lab_dir / "backup"
    with Load(source, seed=11, writers=writers_for(server_name)) as load:
        load.go_on(1.5)
        back_up(source, backup)
    want, at = snapshot(source), point_of(backup)
    real(source, "--prepare", f"--target-dir={backup}")
    source.stop()

    check_restored(want, really_copied_back(source, backup, lab_dir / "copy"), at, source.binlogs())


def test_the_real_tool_lays_our_increment_over_our_base(make_server: MakeServer, lab_dir: Path) -> None:
    """With rows changed, but no table made, since the base."""
    source = make_server("mariadb-10.11")
    schema.setup(source)
    full, increment = lab_dir / "full", lab_dir / "increment"
    with Load(source, seed=14, writers=("bank", "rows")) as load:
        load.go_on(1.0)
        back_up(source, full)
        load.go_on(1.0)
        back_up(source, increment, f"--incremental-basedir={full}")
    want, at = snapshot(source), point_of(increment)
    real(source, "--prepare", f"--target-dir={full}")
    real(source, "--prepare", f"--target-dir={full}", f"--incremental-dir={increment}")
    source.stop()

    check_restored(want, really_copied_back(source, full, lab_dir / "copy"), at, source.binlogs())


@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-8.0"])
def test_a_chain_of_ours_is_restored_by_ours(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    """Full and two increments, one by the base's directory, one by its LSN; under load with DDL."""
    source = make_server(server_name)
    schema.setup(source)
    full, one, two = (lab_dir / n for n in ("full", "one", "two"))
    with Load(source, seed=12, writers=writers_for(server_name)) as load:
        load.go_on(1.0)
        back_up(source, full, "--parallel=2")
        load.go_on(1.0)
        back_up(source, one, f"--incremental-basedir={full}")
        load.go_on(1.0)
        checkpoints = dict(line.split(" = ") for line in next(one.glob("*_checkpoints")).read_text().splitlines())
        back_up(source, two, f"--incremental-lsn={checkpoints['to_lsn']}")
    want, at = snapshot(source), point_of(two)
    prepare_chain(source, [full, one, two])
    program.run("check", str(full))
    source.stop()

    check_restored(want, copied_back(source, full, lab_dir / "copy"), at, source.binlogs())


@pytest.mark.parametrize("server_name", ["mariadb-11.8", "mariadb-10.5"])
def test_the_real_mbstream_unpacks_what_we_stream(server_name: str, make_server: MakeServer, lab_dir: Path) -> None:
    """Under DDL, so that files are renamed and removed in the stream: mbstream 10.11 and later is told so and obeys;
    an older one leaves a list, which our prepare works off.
    """
    source = make_server(server_name)
    schema.setup(source)
    stream, theirs, mine = (lab_dir / n for n in ("backup.xb", "theirs", "mine"))
    with Load(source, seed=13, writers=writers_for(source.name)) as load, open(stream, "wb") as out:
        load.go_on(1.0)
        login = (f"--socket={source.socket}", "--user=root")
        ours("mariabackup", "--no-defaults", "--backup", "--stream=xbstream", *login, stdout=out)
    want = snapshot(source)
    reader = source.info.tool("mbstream", "mbstream")
    theirs.mkdir()
    with open(stream, "rb") as data:
        subprocess.run([reader, "-x", "-C", theirs], stdin=data, check=True)
    with open(stream, "rb") as data:
        ours("mbstream", "-x", "-C", str(mine), stdin=data)
    prepare(source, theirs)
    prepare(source, mine)
    names = [sorted(str(p.relative_to(d)) for p in d.rglob("*") if p.is_file()) for d in (theirs, mine)]
    assert names[0] == names[1]
    source.stop()

    copy = copied_back(source, theirs, lab_dir / "copy")

    check_restored(want, copy, point_of(theirs), source.binlogs())


def test_a_compressed_and_encrypted_stream_comes_back(make_server: MakeServer, lab_dir: Path) -> None:
    """MySQL, zstd and AES256: streamed, unpacked, decrypted, decompressed, prepared, copied back."""
    source = make_server("mysql-9.7")
    schema.setup(source)
    stream, directory = lab_dir / "backup.xb", lab_dir / "backup"
    secret = (f"--encrypt-key={KEY}",)
    with open(stream, "wb") as out:
        ours(
            "xtrabackup", "--no-defaults", "--backup", "--stream=xbstream", "--compress=zstd", "--encrypt=AES256",
            *secret, f"--socket={source.socket}", "--user=root", f"--extra-lsndir={lab_dir / 'lsn'}", stdout=out,
        )
    want = snapshot(source)
    assert KEY.encode() not in stream.read_bytes()
    assert KEY not in (lab_dir / "lsn" / "xtrabackup_info").read_text()
    with open(stream, "rb") as data:
        ours("xbstream", "-x", "-C", str(directory), stdin=data)
    assert (directory / "ibdata1.zst.xbcrypt").exists()
    unpack = ("--decrypt=AES256", *secret, "--decompress", "--remove-original", f"--target-dir={directory}")
    ours("xtrabackup", *unpack)
    assert not list(directory.rglob("*.zst*"))
    prepare(source, directory)
    at = point_of(directory)
    source.stop()

    check_restored(want, copied_back(source, directory, lab_dir / "copy"), at, source.binlogs())


def test_pipes_side_by_side_carry_a_backup(make_server: MakeServer, lab_dir: Path) -> None:
    """--fifo-streams under load with DDL: each pipe a stream of its own, read at once; the pipes are gone then."""
    source = make_server("mysql-9.7")
    schema.setup(source)
    pipes, directory = lab_dir / "pipes", lab_dir / "backup"
    pipes.mkdir()
    both = ("--fifo-streams=3", f"--fifo-dir={pipes}")
    with Load(source, seed=16, writers=writers_for(source.name)) as load, ThreadPoolExecutor(1) as pool:
        load.go_on(1.0)
        reader = pool.submit(ours, "xbstream", "-x", "-C", str(directory), "--parallel=3", *both)
        back_up(source, lab_dir / "unused", "--compress=lz4", "--parallel=2", *both)
        reader.result()
    assert not list(pipes.iterdir())
    want = snapshot(source)
    ours("xtrabackup", "--decompress", "--remove-original", f"--target-dir={directory}")
    at = point_of(directory)
    assert "format = xbstream\n" in (directory / "xtrabackup_info").read_text()
    prepare(source, directory)
    source.stop()

    check_restored(want, copied_back(source, directory, lab_dir / "copy"), at, source.binlogs())


@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-8.0"])
def test_one_table_of_a_partial_backup_can_be_imported(
    server_name: str, make_server: MakeServer, lab_dir: Path
) -> None:
    """--tables takes it alone, --export makes it importable."""
    source = make_server(server_name)
    create = "CREATE TABLE d.t1 (id INT PRIMARY KEY AUTO_INCREMENT, v VARCHAR(99)) ENGINE=InnoDB"
    source.sql("CREATE DATABASE d", create, "CREATE TABLE d.t2 LIKE d.t1")
    for _ in range(3):
        source.sql("INSERT INTO d.t1 (v) SELECT REPEAT('x', 90) FROM information_schema.columns LIMIT 500")
    want = source.sql("CHECKSUM TABLE d.t1")
    backup = lab_dir / "backup"
    back_up(source, backup, "--tables=^d[.]t1$")
    assert {p.name for p in (backup / "d").iterdir() if p.suffix == ".ibd"} == {"t1.ibd"}
    assert not (backup / "sys").exists()

    prepare(source, backup, "--export")

    source.sql("DROP TABLE d.t1", create, "ALTER TABLE d.t1 DISCARD TABLESPACE")
    for suffix in (".ibd", ".cfg"):
        shutil.copy(backup / "d" / f"t1{suffix}", source.datadir / "d")
    source.sql("ALTER TABLE d.t1 IMPORT TABLESPACE")
    assert source.sql("CHECKSUM TABLE d.t1") == want


def test_history_names_the_base_of_an_increment(make_server: MakeServer, lab_dir: Path) -> None:
    """--history writes a row that --incremental-history-name finds; the row says what happened."""
    source = make_server("mariadb-10.11")
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    back_up(source, lab_dir / "full", "--history=monday")
    source.sql("INSERT INTO d.t VALUES (1)")
    back_up(source, lab_dir / "one", "--incremental-history-name=monday", "--history=tuesday")
    rows = source.sql(
        "SELECT name, incremental, partial, format, compressed, innodb_from_lsn FROM mysql.mariadb_backup_history"
        " ORDER BY innodb_to_lsn, name"
    )
    first = dict(line.split(" = ") for line in (lab_dir / "full/xtrabackup_checkpoints").read_text().splitlines())
    assert rows == [
        ("monday", "N", "N", "file", "N", 0),
        ("tuesday", "Y", "N", "file", "N", int(first["to_lsn"])),
    ]


def test_a_commit_is_in_the_backup_whenever_it_was_acknowledged(make_server: MakeServer, lab_dir: Path) -> None:
    """Under innodb_flush_log_at_trx_commit = 2, MariaDB 10.11's FLUSH ENGINE LOGS syncs nothing."""
    source = make_server("mariadb-10.11", "--innodb-flush-log-at-trx-commit=2")
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    backup = lab_dir / "backup"
    lost = []
    for number in range(4):
        source.sql(f"INSERT INTO d.t VALUES ({number})")
        back_up(source, backup)
        prepare(source, backup)
        with copied_back(source, backup, lab_dir / "copy") as copy:
            if copy.value("SELECT MAX(id) FROM d.t") != number:
                lost.append(number)
        shutil.rmtree(backup)
        shutil.rmtree(lab_dir / "copy")
    assert lost == []


def test_a_backup_that_fails_leaves_an_empty_directory_and_no_lock(make_server: MakeServer, lab_dir: Path) -> None:
    """A lock that is not given in time: scripts find the directory, and nothing in it that looks like a backup."""
    source = make_server("mariadb-10.11")
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (id INT PRIMARY KEY) ENGINE=InnoDB")
    holder = source.connect()
    holder.cursor().execute("LOCK TABLES d.t WRITE")
    backup = lab_dir / "backup"

    log = back_up(source, backup, "--ftwrl-wait-timeout=1", status=1)

    assert "FATAL ERROR" in log
    assert list(backup.iterdir()) == []
    holder.cursor().execute("INSERT INTO d.t VALUES (1)")
    holder.cursor().execute("UNLOCK TABLES")
    source.sql("CREATE TABLE d.u (id INT PRIMARY KEY)")
