"""Interrupted at any moment: what is left is a whole backup or none, and a server that nobody holds."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lab import program
from lab.failures import (
    INTERRUPTED,
    Running,
    Statement,
    backup_arguments,
    heed_signals,
    no_backup,
    processes_about,
    unhurt,
    well_said,
)
from lab.server import LabServer

from .conftest import folder_of_its_own, shared_server

SEED = 20261125
SOFT = (signal.SIGINT, signal.SIGTERM)


@pytest.fixture(scope="module", params=["mariadb-11.8", "mysql-9.7"])
def source(request):
    with shared_server(
        request.param, "CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (0)",
        "CREATE TABLE d.t (a INT PRIMARY KEY AUTO_INCREMENT, b LONGTEXT)",
        "INSERT INTO d.t (b) SELECT REPEAT('goldcopy', 1000) FROM mysql.help_topic LIMIT 700",
    ) as server:
        yield server


def finished_or_gone(run: Running, target: Path) -> bool:
    """It ended as an interrupted backup must, or its backup was whole before. Returns whether it was interrupted."""
    status = run.end()
    assert status in (0, INTERRUPTED), run.said()
    if status:
        well_said(run.said())
    if (target / "goldcopy.manifest").exists():
        assert status == 0 or "backup complete" not in run.said()
        program.run("check", str(target))
        return False
    no_backup(target)
    return True


def test_a_signal_at_any_moment_leaves_a_whole_backup_or_none(source: LabServer, place: Path):
    rng = random.Random(SEED)
    started = time.monotonic()
    program.backup(source, place / "measure")
    usual_s = time.monotonic() - started
    for number in range(8):
        target = place / f"b{number}"
        run = Running(place, *backup_arguments(source, target))
        run.wait_for("guard")
        time.sleep(rng.random() * usual_s * 0.7)
        run.signal(SOFT[number % 2])
        finished_or_gone(run, target)
        unhurt(source)


@pytest.mark.parametrize("phase", ["guard", "copy", "lock", "finish"])
def test_a_signal_at_the_start_of_each_phase(source: LabServer, place: Path, phase: str):
    target = place / "b"
    run = Running(place, *backup_arguments(source, target))
    run.wait_for(phase)
    run.signal(SOFT[len(phase) % 2])
    finished_or_gone(run, target)
    unhurt(source)


@pytest.mark.parametrize("source", ["mysql-9.7"], indirect=True)
@pytest.mark.parametrize("number", (*SOFT, signal.SIGHUP))
def test_a_signal_in_the_middle_of_a_long_copy(source: LabServer, place: Path, number: signal.Signals):
    run = Running(place, *backup_arguments(source, place / "b", "--throttle-mb", "10"))
    run.wait_for("copy ")
    time.sleep(0.5)
    asked = time.monotonic()
    run.signal(number)
    assert finished_or_gone(run, place / "b")
    assert time.monotonic() - asked < 5
    unhurt(source)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_under_a_peers_name_a_signal_leaves_neither_a_lock_nor_a_backup(source, place, number):
    name, target = "mariabackup" if source.mariadb else "xtrabackup", place / "b"
    run = Running(
        place, "--no-defaults", "--backup", f"--target-dir={target}", f"--socket={source.socket}", "--user=root",
        "--throttle=1", name=name,
    )
    run.wait_for("opying ")
    time.sleep(0.3)
    run.signal(number)
    assert run.end() == INTERRUPTED, run.said()
    assert "interrupted by" in run.said() and "Traceback" not in run.said()
    assert "completed OK!" not in run.said()
    assert not list(target.glob("*_checkpoints")) and not (target / "goldcopy.manifest").exists()
    unhurt(source)


def test_a_signal_while_a_lock_is_waited_for(source: LabServer, place: Path):
    """The one statement that can take hours must not take the user hostage."""
    with Statement(source, "INSERT INTO d.m SELECT SLEEP(20) FROM d.m LIMIT 1"):
        run = Running(place, *backup_arguments(source, place / "b"))
        run.wait_for("guard" if source.mariadb else "lock ")
        time.sleep(1.0)
        run.signal(signal.SIGTERM)
        assert finished_or_gone(run, place / "b")
    unhurt(source)


@pytest.mark.parametrize("source", ["mariadb-11.8"], indirect=True)
def test_more_signals_while_giving_back_change_nothing(source: LabServer, place: Path):
    run = Running(place, *backup_arguments(source, place / "b", "--throttle-mb", "10"))
    run.wait_for("copy ")
    time.sleep(0.3)
    for number in (*SOFT, *SOFT):
        run.signal(number)
        time.sleep(0.002)
    assert finished_or_gone(run, place / "b")
    unhurt(source)


def test_killed_at_any_moment_leaves_no_lock_and_no_backup(source: LabServer, place: Path):
    rng = random.Random(SEED)
    for number in range(4):
        target = place / f"b{number}"
        run = Running(place, *backup_arguments(source, target))
        run.wait_for("guard")
        time.sleep(rng.random() * 0.5)
        run.signal(signal.SIGKILL)
        killed = run.end() != 0
        unhurt(source)
        if killed:
            done = program.run("info", str(target), status=None)
            assert done.returncode == 8 or not program.run("check", str(target)).returncode
            if done.returncode == 8 and target.exists() and os.listdir(target):
                program.run("restore", "--from", str(target), "--datadir", str(place / "r"), status=8)
                assert "HINT" in program.run(*backup_arguments(source, target), status=9).stderr
    program.backup(source, place / "next")
    program.run("check", str(place / "next"))


# ------------------------------------------------------------------ restore and prepare
@pytest.fixture(scope="module")
def taken(source):
    with folder_of_its_own() as folder:
        program.backup(source, folder / "b")
        yield folder / "b"


@pytest.mark.parametrize(("phase", "found_empty"), [("restore", True), ("recover", False)])
def test_an_interrupted_restore_leaves_the_target_as_it_was(source, place, taken, phase, found_empty):
    target = place / "r"
    if found_empty:
        target.mkdir()
    run = Running(place, "restore", "--from", str(taken), "--datadir", str(target), "--mysqld", source.mysqld)
    run.wait_for(phase + " ")
    time.sleep(0.05 if phase == "restore" else 0.15)
    run.signal(signal.SIGTERM)
    assert run.end() == INTERRUPTED, run.said()
    well_said(run.said())
    assert target.exists() == found_empty
    assert not found_empty or not os.listdir(target)
    program.run("check", str(taken))


@pytest.mark.parametrize("source", ["mariadb-11.8"], indirect=True)
@pytest.mark.parametrize("phase", ["restore", "recover", "finish"])
def test_an_interrupted_prepare_leaves_the_backup_as_it_was(source, place, taken, phase):
    mine = place / "b"
    shutil.copytree(taken, mine)
    run = Running(place, "prepare", str(mine), "--mysqld", source.mysqld)
    run.wait_for(phase + " ")
    run.signal(signal.SIGINT)
    status = run.end()
    assert status in (0, INTERRUPTED), run.said()
    program.run("check", str(mine))
    assert not (place / "b.preparing").exists()
    state = program.info(mine)["state"]
    assert state == ("prepared" if status == 0 else "backup")
    if status:
        well_said(run.said())
        program.run("prepare", str(mine), "--mysqld", source.mysqld)


def _clean_up_after_the_kill(place: Path) -> None:
    """The server that was recovering has died with us; remove the temporary files, as nobody else could."""
    until = time.monotonic() + 3
    while processes_about(str(place)) and time.monotonic() < until:
        time.sleep(0.1)
    assert not processes_about(str(place))
    for left in (place / "tmp").iterdir():
        shutil.rmtree(left)


def test_a_killed_prepare_leaves_the_backup_as_it_was(source, place, taken):
    mine = place / "b"
    shutil.copytree(taken, mine)
    run = Running(place, "prepare", str(mine), "--mysqld", source.mysqld)
    run.wait_for("recover ")
    run.signal(signal.SIGKILL)
    run.end()
    _clean_up_after_the_kill(place)
    program.run("check", str(mine))
    assert "cut off" in program.run("prepare", str(mine), "--mysqld", source.mysqld).stderr
    assert program.info(mine)["state"] == "prepared"
    assert not (place / "b.preparing").exists()


@pytest.mark.parametrize(
    ("source", "phase"), [("mariadb-11.8", "restore"), ("mariadb-11.8", "recover"), ("mysql-9.7", "recover")],
    indirect=["source"],
)  # fmt: skip
def test_a_killed_restore_leaves_a_target_that_does_not_look_whole(source, place, taken, phase):
    command = ("restore", "--from", str(taken), "--datadir", str(place / "r"), "--mysqld", source.mysqld)
    run = Running(place, *command)
    run.wait_for(phase + " ")
    run.signal(signal.SIGSTOP)
    assert "is at work" in program.run(*command, status=9).stderr
    run.signal(signal.SIGKILL)
    run.end()
    _clean_up_after_the_kill(place)
    said = program.run(*command, status=9).stderr
    assert "cut off" in said and "HINT" in said
    assert "cut off" in program.run(*command, "--force-non-empty", status=9).stderr
    shutil.rmtree(place / "r")
    program.run(*command)
    assert not (place / "r" / "goldcopy.unfinished").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_stream_whose_reader_takes_nothing_can_be_ended(source: LabServer, place: Path, number: signal.Signals):
    """Its threads wait in writes that no signal reaches, and DDL waits for the backup."""
    reading, writing = os.pipe()
    program = Path(sys.executable).parent / ("mariabackup" if source.mariadb else "xtrabackup")
    command = [program, "--no-defaults", "--backup", "--stream=xbstream", "--parallel=3", "--user=root"]
    running = subprocess.Popen(
        [*command, f"--socket={source.socket}"], stdout=writing, stderr=subprocess.PIPE, preexec_fn=heed_signals,
    )  # fmt: skip
    os.close(writing)
    try:
        assert os.read(reading, 1)
        time.sleep(1)
        assert running.poll() is None
        running.send_signal(number)
        log = running.communicate(timeout=20)[1].decode()
    finally:
        running.kill()
        os.close(reading)
    assert running.returncode == 130, log
    assert "interrupted" in log
    assert "completed OK!" not in log
    source.sql("CREATE DATABASE afterwards", "DROP DATABASE afterwards")
