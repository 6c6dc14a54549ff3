"""Every failure that a user can meet: told once and clearly, and nothing is left held, half made or changed."""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path

import msgspec
import pytest

from goldcopy.commands.check import Check
from goldcopy.commands.check import run as check
from goldcopy.commands.restore import Restore
from goldcopy.commands.restore import run as restore
from goldcopy.errors import BackupInvalid
from goldcopy.formats.chunksum import RunningSum
from goldcopy.image.manifest import MANIFEST_NAME, dump, load
from lab import program
from lab.failures import (
    Running,
    backup_arguments,
    fails,
    no_backup,
    processes_about,
    small_disk,
    unhurt,
    well_said,
)
from lab.keys import ring_for
from lab.server import LabServer

from .conftest import folder_of_its_own, need, shared_server

SEED = 20261125
FAMILIES = ["mariadb-11.8", "mysql-9.7"]
SECRET = "s3cret-Pa55phrase"


def _server(name: str):
    return shared_server(
        name, "CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)",
        "INSERT INTO d.t (b) SELECT REPEAT('goldcopy', 1000) FROM mysql.help_topic LIMIT 400",
        "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (7)",
    )


@pytest.fixture(scope="module", params=FAMILIES)
def source(request):
    """A server that is not harmed by the tests that share it."""
    with _server(request.param) as server:
        yield server


@pytest.fixture(scope="module", params=["mariadb-10.11", "mysql-8.0"])
def mortal(request):
    """A server that tests may stop, kill and damage; each leaves it running."""
    with _server(request.param) as server:
        yield server


@pytest.fixture(scope="module")
def full(source):
    """A backup of ``source`` that no test changes."""
    with folder_of_its_own() as folder:
        program.backup(source, folder / "full")
        yield folder / "full"


def backup_fails(server: LabServer, to: Path, status: int, *extra: str, hint: str = "") -> str:
    """A backup that must fail. Nothing of it is left."""
    said = fails(status, *backup_arguments(server, to, *extra), hint=hint)
    no_backup(to)
    unhurt(server)
    return said


def restore_arguments(server: LabServer, of: Path, to: Path, *extra: str) -> list[str]:
    return ["restore", "--from", str(of), "--datadir", str(to), "--mysqld", server.mysqld, *extra]


# ------------------------------------------------------------------ who may, and where
def test_a_wrong_password(source, place):
    user = f"w{time.monotonic_ns()}"
    source.sql(f"CREATE USER {user}@localhost IDENTIFIED BY '{SECRET}'")
    said = fails(
        3, "backup", "--to", str(place / "b"), "--socket", str(source.socket), "--user", user, hint="--ask-password"
    )
    assert user in said
    no_backup(place / "b")
    unhurt(source)


def test_no_such_socket(place):
    said = fails(3, "backup", "--to", str(place / "b"), "--socket", str(place / "none.sock"), hint="--socket")
    assert "none.sock" in said
    no_backup(place / "b")


def test_the_missing_privilege_is_answered_with_the_grant_that_helps(source, place):
    user = f"p{time.monotonic_ns()}"
    source.sql(f"CREATE USER {user}@localhost")
    arguments = ["backup", "--to", str(place / "b"), "--socket", str(source.socket), "--user", user]
    said = fails(4, *arguments, hint="GRANT")
    no_backup(place / "b")
    unhurt(source)
    hint = re.findall(r"^HINT: (.*)$", said, re.MULTILINE)[0]
    source.sql(*[g for g in hint.split(";") if g.strip()])
    program.run(*arguments)
    program.run("check", str(place / "b"))


@pytest.mark.parametrize("source", ["mysql-9.7"], indirect=True)
def test_the_password_is_seen_nowhere(source, place):
    user = f"s{time.monotonic_ns()}"
    source.sql(f"CREATE USER {user}@localhost IDENTIFIED BY '{SECRET}'", f"GRANT ALL ON *.* TO {user}@localhost")
    options = place / "login.cnf"
    options.write_text(f"[client]\nuser={user}\npassword={SECRET}\nsocket={source.socket}\n")
    run = Running(
        place, "backup", "--to", str(place / "b"), "--defaults-file", str(options), "--verbose", "--throttle-mb", "40"
    )
    seen = 0
    while run.process.poll() is None:
        seen += 1
        assert not processes_about(SECRET)
        time.sleep(0.02)
    assert seen > 5 and run.end() == 0 and SECRET not in run.said()
    options.unlink()
    # the account's own hash is in mysql.*; the password in clear is nowhere
    assert subprocess.run(["grep", "-rlF", SECRET, str(place)], capture_output=True, check=False).stdout == b""


# ------------------------------------------------------------------ the target
def test_a_target_that_is_not_empty_is_not_touched(source, place, full):
    (place / "b").mkdir()
    (place / "b" / "letter").write_text("dear")
    fails(9, *backup_arguments(source, place / "b"))
    fails(9, *restore_arguments(source, full, place / "b"), hint="--force-non-empty")
    assert os.listdir(place / "b") == ["letter"] and (place / "b" / "letter").read_text() == "dear"
    unhurt(source)


def test_a_target_that_cannot_be_written(source, place, full):
    with small_disk(place, 20) as disk:
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        for to in (disk / "new", disk, Path("/proc/none"), Path("/dev/null/b")):
            fails(9, *backup_arguments(source, to))
            fails(9, *restore_arguments(source, full, to))
        assert not (disk / "new").exists()
    unhurt(source)


def test_the_disk_is_full_while_copying(source, place):
    with small_disk(place, 30) as disk:
        for to in (disk / "b", disk):
            said = backup_fails(source, to, 10, hint="free space")
            assert "lock" not in re.findall(r"^ +[\d.]+s  (\w+) ", said, re.MULTILINE)


def test_the_disk_is_full_while_restoring(source, place, full):
    with small_disk(place, 30) as disk:
        fails(10, *restore_arguments(source, full, disk / "r"), hint="space")
        assert not (disk / "r").exists()
        (disk / "r").mkdir()
        fails(10, *restore_arguments(source, full, disk / "r"), hint="space")
        assert os.listdir(disk / "r") == []
    program.run("check", str(full))


def test_the_disk_is_full_while_recovering(source, place, full):
    room = program.info(full)["data_bytes"] + (6 << 20)
    with small_disk(place, 400) as disk:
        free = os.statvfs(disk)
        with (disk / "ballast").open("wb") as f:
            os.posix_fallocate(f.fileno(), 0, free.f_bavail * free.f_bsize - room)
        said = fails(10, *restore_arguments(source, full, disk / "r"), hint="room")
        assert "recover" in said
        assert not (disk / "r").exists()
    program.run("check", str(full))


# ------------------------------------------------------------------ the server goes away
@pytest.mark.parametrize("how", ["killed", "restarted", "shut down"])
def test_the_server_goes_away_during_the_copy(mortal, place, how):
    run = Running(place, *backup_arguments(mortal, place / "b", "--throttle-mb", "8"))
    run.wait_for("copy ")
    time.sleep(0.5)
    if how == "restarted":
        mortal.restart()
    else:
        mortal.kill9() if how == "killed" else mortal.stop()
    assert run.end() == 5, run.said()
    well_said(run.said())
    no_backup(place / "b")
    if how != "restarted":
        mortal.start()
    unhurt(mortal)


@pytest.mark.parametrize("phase", ["guard ", "lock ", "finish "])
def test_the_server_dies_in_another_phase(mortal, place, phase):
    run = Running(place, *backup_arguments(mortal, place / "b"))
    run.wait_for(phase)
    mortal.kill9()
    status = run.end()
    mortal.start()
    if status == 0:
        program.run("check", str(place / "b"))
    else:
        assert status in (3, 5), run.said()
        well_said(run.said())
        no_backup(place / "b")
    program.backup(mortal, place / "next")


@pytest.mark.parametrize("mortal", ["mariadb-10.11"], indirect=True)
@pytest.mark.parametrize("since", ["nothing", "beyond the base", "beyond the base's binlog"])
def test_the_server_was_set_back_since_the_base(mortal, place, since):
    mortal.stop()
    saved = place / "saved"
    shutil.copytree(mortal.datadir, saved)
    mortal.start()
    mortal.sql("INSERT INTO d.t (b) SELECT b FROM d.t LIMIT 200")
    mortal.restart()
    program.backup(mortal, place / "full")
    mortal.stop()
    _put_back(saved, mortal.datadir)
    mortal.start()
    if since != "nothing":
        time.sleep(2)  # a binlog tells its birth in whole seconds
        mortal.sql("INSERT INTO d.t (b) SELECT b FROM d.t LIMIT 600")
        mortal.restart()
    if since == "beyond the base's binlog":
        mortal.restart()
    said = backup_fails(mortal, place / "inc", 8, "--base", str(place / "full"), hint="full")
    assert "set back" in said


@pytest.mark.parametrize("server_name", ["mysql-8.0", "mariadb-11.8", "mysql-5.6"])
def test_a_server_set_back_that_has_gone_on_is_known_by_its_pages(server_name, make_server, lab_dir):
    """It wrote far past the base, to the same table and to others, and its new binlogs, if any, contradict nothing."""
    with_binlog = server_name == "mysql-8.0"
    binlog = ("--gtid-mode=ON", "--enforce-gtid-consistency=ON") if with_binlog else ("--skip-log-bin",)
    server = make_server(server_name, *binlog)
    row, grow = "(a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)", "(b) SELECT REPEAT('goldcopy', 900) FROM mysql.help_topic"
    server.sql("CREATE DATABASE d", *(f"CREATE TABLE d.{t} {row}" for t in "tuv"), f"INSERT INTO d.t {grow} LIMIT 400")
    server.restart()
    server.sql(*("FLUSH BINARY LOGS" for _ in range(3 * with_binlog)))
    program.backup(server, lab_dir / "first")
    server.stop()
    saved = lab_dir / "saved"
    shutil.copytree(server.datadir, saved)
    server.start()
    server.sql(f"INSERT INTO d.u {grow} LIMIT 60", "UPDATE d.t SET b = 'old' WHERE a < 9")
    server.kill9()
    server.start()
    # nothing is wrong yet: pages that a crash lost are on disk again when their checkpoint is
    program.backup(server, lab_dir / "second", lab_dir / "first")
    server.restart()
    program.backup(server, lab_dir / "third", lab_dir / "second")
    server.stop()
    _put_back(saved, server.datadir)
    server.start()
    server.sql(*("RESET MASTER", *["FLUSH BINARY LOGS"] * 5)[: 6 * with_binlog])
    server.sql(f"INSERT INTO d.v {grow} LIMIT 400", f"INSERT INTO d.t {grow} LIMIT 100", f"INSERT INTO d.v {grow}")
    server.restart()
    program.backup(server, lab_dir / "fourth", lab_dir / "first")
    assert "set back" in backup_fails(server, lab_dir / "inc", 8, "--base", str(lab_dir / "third"), hint="full")


@pytest.mark.parametrize("mortal", ["mariadb-10.11"], indirect=True)
def test_binlogs_that_were_thrown_away_are_no_reason_to_refuse_an_increment(mortal, place):
    program.backup(mortal, place / "full")
    time.sleep(2)
    mortal.sql("INSERT INTO d.t (b) SELECT b FROM d.t LIMIT 20", "FLUSH BINARY LOGS")
    mortal.sql(f"PURGE BINARY LOGS TO '{mortal.sql('SHOW BINARY LOGS')[-1][0]}'")
    program.backup(mortal, place / "one", place / "full")
    mortal.sql("RESET MASTER", "INSERT INTO d.t (b) SELECT b FROM d.t LIMIT 20")
    program.backup(mortal, place / "two", place / "one")


def _put_back(saved: Path, datadir: Path) -> None:
    """The content of all files as it was, in the files that are there: as a snapshot of the disk would."""
    for path in [p for p in datadir.rglob("*") if p.is_file() and not (saved / p.relative_to(datadir)).exists()]:
        path.unlink()
    for path in [p for p in saved.rglob("*") if p.is_file()]:
        with (datadir / path.relative_to(saved)).open("r+b" if (datadir / path.relative_to(saved)).exists() else "wb") as f:
            f.truncate()
            f.write(path.read_bytes())


# ------------------------------------------------------------------ redo that is gone
def test_redo_overwritten_before_it_was_copied_says_what_to_raise(mortal, place):
    overrun(mortal, place)


@pytest.mark.parametrize("server_name", ["mariadb-10.5", "mysql-5.6"])
def test_redo_of_older_servers_overwritten_before_it_was_copied(server_name, place):
    for server in _server(server_name):
        overrun(server, place)


def overrun(mortal, place):
    """A backup that sleeps while the server's redo goes round."""
    rows = mortal.value("SELECT COUNT(*) FROM d.t")
    run = Running(place, *backup_arguments(mortal, place / "b", "--throttle-mb", "8", "--no-redo-consumer"))
    run.wait_for("copy ")
    run.signal(signal.SIGSTOP)
    try:
        for _ in range(12):
            mortal.sql("INSERT INTO d.t (b) SELECT b FROM d.t LIMIT 400")
    finally:
        run.signal(signal.SIGCONT)
    assert run.end() == 6, run.said()
    setting = "innodb_redo_log_capacity" if mortal.variable("innodb_redo_log_capacity") else "innodb_log_file_size"
    said = well_said(run.said(), setting)
    assert re.search(rf"HINT: .*{setting} to \d+M", said), said
    no_backup(place / "b")
    mortal.sql(f"DELETE FROM d.t ORDER BY a DESC LIMIT {mortal.value('SELECT COUNT(*) FROM d.t') - rows}")
    unhurt(mortal)


# ------------------------------------------------------------------ bases
@pytest.mark.parametrize("source", ["mariadb-11.8"], indirect=True)
def test_a_base_that_cannot_be_used(source, place, full):
    damaged, prepared, nothing = place / "damaged", place / "prepared", place / "nothing"
    shutil.copytree(full, damaged)
    _flip(damaged / MANIFEST_NAME, 2000)
    shutil.copytree(full, prepared)
    program.run("prepare", str(prepared), "--mysqld", source.mysqld)
    for base in (nothing, damaged, prepared):
        said = backup_fails(source, place / "inc", 8, "--base", str(base))
        assert base.name in said


@pytest.mark.parametrize("source", ["mysql-9.7"], indirect=True)
def test_a_base_of_another_server(source, place, full):
    with LabServer(source.name, place / "other").create().start() as other:
        assert "another server" in backup_fails(other, place / "inc", 8, "--base", str(full), hint="full")


@pytest.mark.parametrize("source", ["mariadb-11.8"], indirect=True)
def test_an_increment_whose_base_is_gone_or_another_one_is_refused_whole(source, place, full):
    base, inc = place / "base", place / "inc"
    shutil.copytree(full, base)
    program.backup(source, inc, base)
    for do in (
        lambda: shutil.move(base, place / "elsewhere"),
        lambda: program.backup(source, base),
        lambda: (base / MANIFEST_NAME).write_bytes((base / MANIFEST_NAME).read_bytes()[:-1]),
    ):
        do()
        fails(8, *restore_arguments(source, inc, place / "r"))
        fails(8, "check", str(inc))
        fails(8, "prepare", str(inc), "--mysqld", source.mysqld)
        assert not (place / "r").exists()


# ------------------------------------------------------------------ damage in the backup
def _flip(path: Path, at: int, bit: int = 3) -> None:
    with path.open("r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ (1 << bit)]))


def _silent(_event: object) -> None:
    pass


def test_one_flipped_bit_in_any_file_is_found_and_named(source, place, full):
    rng = random.Random(SEED)
    inc = place / "inc"
    program.backup(source, inc, full)
    everything = sorted(p for top in (full, inc) for p in top.rglob("*") if p.is_file() and p.stat().st_size)
    for path in everything:
        top = full if full in path.parents else inc
        own = top == full or path.suffix in (".delta", ".meta") or path.name.startswith("goldcopy.")
        # what an increment holds besides is stored as in a full backup: some of it will do
        if own or rng.random() < 0.1:
            at, bit = rng.randrange(path.stat().st_size), rng.randrange(8)
            where = f"{path} byte {at} bit {bit} (seed {SEED})"
            _flip(path, at, bit)
            try:
                with pytest.raises(BackupInvalid) as found:
                    check(Check(directory=str(top), chain=False), _silent)
                assert path.name in found.value.message and found.value.hint, where
                read_by_restore = path.suffix != ".meta" and path.name != "goldcopy.binlog_tail"
                if read_by_restore and (rng.random() < 0.15 or path.name.startswith("goldcopy.")):
                    with pytest.raises(BackupInvalid):
                        restore(Restore(from_=str(top), datadir=str(place / "r"), recover=False), _silent)
                    assert not (place / "r").exists(), where
            except BaseException:
                print(where)
                raise
            finally:
                _flip(path, at, bit)
    program.run("check", str(inc))


def test_a_file_cut_short_or_missing_is_found_and_not_restored(source, place, full):
    rng = random.Random(SEED)
    mine = place / "b"
    shutil.copytree(full, mine)
    names = sorted(p for p in mine.rglob("*") if p.is_file() and p.stat().st_size)
    wanted = {p.name for p in names if p.name.startswith(("goldcopy.", "ibdata", "t.ibd", "m.MYD"))}
    for path in [p for p in names if p.name in wanted] + rng.sample(names, 3):
        was = path.read_bytes()
        for now in (was[: rng.randrange(len(was))], was + b"\0", None):
            path.write_bytes(now) if now is not None else path.unlink()
            with pytest.raises(BackupInvalid) as found:
                check(Check(directory=str(mine)), _silent)
            assert path.name in found.value.message
            # recovery reads the binlog tail
            if path.name != "goldcopy.binlog_tail" and (now is None or len(now) < len(was)):
                with pytest.raises(BackupInvalid):
                    restore(Restore(from_=str(mine), datadir=str(place / "r"), recover=False), _silent)
                assert not (place / "r").exists()
        path.write_bytes(was)
    program.run("check", str(mine))


def test_a_damaged_manifest_is_no_backup_to_any_command(source, place, full):
    mine = place / "b"
    shutil.copytree(full, mine)
    _flip(mine / MANIFEST_NAME, 100)
    for command in (
        ["info", str(mine)], ["check", str(mine)], ["prepare", str(mine)],
        ["restore", "--from", str(mine), "--datadir", str(place / "r")],
    ):
        fails(8, *command)
    assert not (place / "r").exists()


# ------------------------------------------------------------------ recovery
def test_a_recovery_that_fails_leaves_target_and_backup_as_they_were(source, place, full):
    mine = place / "b"
    shutil.copytree(full, mine)
    _cut_redo(source, mine)
    program.run("check", str(mine))
    before = {p: p.stat().st_mtime_ns for p in mine.rglob("*")}
    # blocks of 512 bytes carry sums of their own: there the hole is found before the server is asked
    status = 11 if source.mariadb else 8
    fails(status, *restore_arguments(source, mine, place / "r"))
    assert not (place / "r").exists()
    fails(status, "prepare", str(mine), "--mysqld", source.mysqld)
    assert {p: p.stat().st_mtime_ns for p in mine.rglob("*")} == before
    assert not (place / "b.preparing").exists()


def test_a_server_that_dies_in_recovery_leaves_target_and_backup_as_they_were(source, place, full):
    dies = place / Path(source.mysqld).name
    dies.write_text(f'#!/bin/sh\ncase "$*" in *--version*) exec {source.mysqld} "$@";; esac\necho "[ERROR] no" >&2; kill -9 $$\n')
    dies.chmod(0o755)
    said = fails(11, "restore", "--from", str(full), "--datadir", str(place / "r"), "--mysqld", str(dies))
    assert "[ERROR] no" in said
    assert not (place / "r").exists()
    program.run("check", str(full))


def _cut_redo(server: LabServer, directory: Path) -> None:
    """Zeros where the second half of the redo window was, with sums that agree: a hole that only recovery finds."""
    path = directory / "goldcopy.redo"
    size = path.stat().st_size
    keep = size // 2 // 512 * 512
    data = path.read_bytes()[:keep] + bytes(size - keep)
    path.write_bytes(data)
    sums = RunningSum()
    sums.add(memoryview(data))
    manifest = load(str(directory))
    cut = msgspec.structs.replace(manifest, redo=msgspec.structs.replace(manifest.redo, sums=sums.text()))
    (directory / MANIFEST_NAME).write_bytes(b"".join(dump(cut)))


# ------------------------------------------------------------------ what the server has
def _rot(server: LabServer) -> tuple[Path, int]:
    """Garbage in a cold page of d.cold. Returns its file and the page."""
    server.sql(
        "DROP TABLE IF EXISTS d.cold", "CREATE TABLE d.cold (a INT PRIMARY KEY AUTO_INCREMENT, b VARCHAR(2000))",
        "INSERT INTO d.cold (b) SELECT REPEAT('c', 1900) FROM mysql.help_topic LIMIT 600",
    )
    server.stop()
    path = server.datadir / "d" / "cold.ibd"
    page = 50
    with path.open("r+b") as f:
        f.seek(page * 16384 + 5000)
        f.write(b"rotten")
    (server.datadir / "ib_buffer_pool").unlink(missing_ok=True)
    server.start()
    return path, page


@pytest.mark.parametrize("mortal", ["mariadb-10.11"], indirect=True)
def test_a_rotten_page_on_the_server_stops_the_backup_or_is_listed(mortal, place):
    _, page = _rot(mortal)
    try:
        said = backup_fails(mortal, place / "b", 7, hint="listed")
        assert "cold.ibd" in said and str(page) in said and str(page * 16384) in said
        program.backup(mortal, place / "listed", None, "--on-corrupt", "list")
        facts = program.info(place / "listed")
        assert facts["verified"] is False
        assert any("cold.ibd" in w and str(page) in w for w in facts["warnings"])
        program.run("check", str(place / "listed"))
    finally:
        mortal.sql("DROP TABLE d.cold")


def test_a_file_of_an_unknown_engine_is_named(source, place):
    strange = source.datadir / "d" / "strange.xyz"
    strange.write_bytes(b"who am I")
    try:
        said = program.backup(source, place / "b").stderr
    finally:
        strange.unlink()
    assert re.search(r"^warning \[unknown-file\]: d/strange.xyz", said, re.MULTILINE)
    assert any("strange.xyz" in w for w in program.info(place / "b")["warnings"])
    assert (place / "b" / "d" / "strange.xyz").read_bytes() == b"who am I"


# ------------------------------------------------------------------ keys
@pytest.mark.parametrize("name", ["mariadb-11.8", "mysql-9.7"])
def test_without_its_keys_an_encrypted_backup_is_not_restored(place, name):
    need(name)
    ring = ring_for(name, place / "keys")
    with LabServer(name, place / "source", ring.options, binary=ring.binary).create().start() as server:
        encrypted = "ENCRYPTED=YES" if server.mariadb else "ENCRYPTION='Y'"
        server.sql("CREATE DATABASE d", f"CREATE TABLE d.e (a INT) {encrypted}", "INSERT INTO d.e VALUES (1), (2)")
        program.backup(server, place / "b")
        server.stop()
        arguments = [*restore_arguments(server, place / "b", place / "r"), *ring.restore_options]
        moved = ring.file.rename(place / "moved")
        fails(12, *arguments, hint="--server-option" if server.mariadb else "--keyring")
        assert not (place / "r").exists()
        fails(12, "prepare", str(place / "b"), "--mysqld", server.mysqld, *ring.restore_options)
        program.run("check", str(place / "b"))
        assert not (place / "b.preparing").exists()
        ring.file.unlink(missing_ok=True)
        moved.rename(ring.file)
        program.run(*arguments)


# ------------------------------------------------------------------ who reads of it
def test_a_backup_does_not_fail_because_nobody_reads_of_it(source, place):
    for number, extra in enumerate((["--json"], [])):
        to = place / f"b{number}"
        stream = ">/dev/full" if number else "| head -n 1"
        said = subprocess.run(
            ["bash", "-c", f'"$@" 2>&1 {stream}; exit ${{PIPESTATUS[0]}}', "bash", program.program(),
             *backup_arguments(source, to, *extra)], capture_output=True, text=True, check=False,
        )
        assert said.returncode == 0 and "Traceback" not in said.stdout + said.stderr, said
        program.run("check", str(to))
