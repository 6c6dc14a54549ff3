"""The programs' outer behaviour: exit statuses, what goes to which stream, which option files count."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
import time
from pathlib import Path

import pytest

from goldcopy.compat.front import Program, modes_of, run, target_of, version_line
from goldcopy.compat.innobackupex import backup_dir, with_base
from goldcopy.compat.options.declare import Face
from goldcopy.compat.options.parser import parse
from goldcopy.errors import UsageError

MARIADB, XTRABACKUP, IBX = Face.MARIABACKUP, Face.XTRABACKUP, Face.MARIABACKUP_INNOBACKUPEX


@pytest.fixture(autouse=True)
def no_signals(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("catch", "ignore"):
        monkeypatch.setattr(f"goldcopy.signals.{name}", lambda: None)


def call(name: str, *args: str, home: str = "/nowhere") -> int:
    return run(name, args, {"HOME": home})


@pytest.mark.parametrize(
    ("name", "args", "status"),
    [
        ("/usr/bin/mariabackup", ("--no-defaults", "--backup", "--nonsense"), 2),
        ("/usr/bin/mariabackup", ("--no-defaults", "--backup", "--nonsense=1"), 7),
        ("/usr/bin/mariabackup", ("--no-defaults", "--backup", "--innodb-flush-method=x"), 13),
        ("/usr/bin/xtrabackup", ("--no-defaults", "--backup", "--nonsense"), 1),
        ("/usr/bin/xtrabackup", ("--no-defaults", "--backup", "--use-memory=3X"), 1),
        ("/usr/bin/xtrabackup", ("--no-defaults", "--backup", "--inc=3"), 1),
        ("/usr/bin/xtrabackup", ("--no-defaults", "--backup", "--encrypt=DES"), 1),
        ("/usr/bin/xtrabackup", ("--no-defaults", "--backup", "x"), 1),
        ("/usr/bin/mariabackup", ("--no-defaults",), 1),
        ("/usr/bin/mariabackup", ("--no-defaults", "--backup", "--prepare"), 1),
        ("/usr/bin/mariabackup", ("--prepare", "--target-dir=/nowhere"), 1),
        ("/usr/bin/mariabackup", ("--no-defaults", "--help"), 0),
        ("/usr/bin/xtrabackup", ("--no-defaults", "--version"), 0),
    ],
)
def test_scripts_see_the_exit_statuses_of_the_originals(
    name: str, args: tuple[str, ...], status: int, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, *args) == status
    assert "completed OK!" not in capsys.readouterr().err


@pytest.mark.parametrize("mode", ["--backup", "--prepare"])
def test_what_was_understood_is_told_before_an_unknown_option_is_refused(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = "[mysqld]\ndatadir=/data\nport=10001\n[client]\nport=10002\nxml=1\n"
    (tmp_path / "my.cnf").write_text(options)
    (tmp_path / "backup-my.cnf").write_text(options)
    files = (f"--defaults-file={tmp_path}/my.cnf",) if mode == "--backup" else ()
    assert call("xtrabackup", *files, "--innodb-page-size=8k", mode, "--nonsense", f"--target-dir={tmp_path}") == 1
    server, client, refusal = capsys.readouterr().err.splitlines()
    assert "recognized server arguments: --datadir=/data --innodb_page_size=8192 " in server
    assert f"recognized client arguments: --port=10002 {mode}=1 --target-dir={tmp_path} " in client
    assert refusal == "xtrabackup: unknown option '--nonsense'"


def test_the_stream_on_stdout_is_never_mixed_with_messages(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    socket = f"--socket={tmp_path}/none.sock"
    assert call("mariabackup", "--no-defaults", "--backup", "--stream=xbstream", socket) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert "FATAL ERROR" in said.err


@pytest.mark.parametrize(
    "args",
    [
        ("--backup", "--innodb-force-recovery=1"),
        ("--backup", "--slave-info", "--no-lock"),
        ("--backup", "--incremental-lsn=5", "--incremental-basedir=/x"),
        ("--backup", "--stream=tar"),
        ("--backup", "--tables=(?i)x"),
        ("--backup", "--compress=quicklz"),
        ("--copy-back", "--target-dir=/nowhere"),
    ],
)
def test_what_cannot_be_meant_is_refused_before_anything_is_done(
    args: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "backup"
    assert call("mariabackup", "--no-defaults", *args, f"--socket={tmp_path}/s", f"--target-dir={target}") == 1
    assert not target.exists() or not list(target.iterdir())
    assert "completed OK!" not in capsys.readouterr().err


def test_force_recovery_is_named_as_the_program_calls_its_modes(capsys: pytest.CaptureFixture[str]) -> None:
    call("mariabackup", "--no-defaults", "--backup", "--innodb-force-recovery=1")
    assert 'should only be used with "--prepare"' in capsys.readouterr().err
    call("mariabackup", "--innobackupex", "--no-defaults", "--innodb-force-recovery=1", "/nowhere/x")
    assert 'should only be used with "--apply-log"' in capsys.readouterr().err


def test_prepare_reads_the_backups_own_option_file_and_no_other(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "server.cnf").write_text("[mariabackup]\nnonsense=1\n")
    (tmp_path / "backup-my.cnf").write_text("[mariabackup]\nother-nonsense=1\n")
    status = call(
        "mariabackup", f"--defaults-file={tmp_path}/server.cnf", "--prepare", f"--target-dir={tmp_path}"
    )
    said = capsys.readouterr().err
    assert status == 7
    assert "other-nonsense" in said
    assert "variable 'nonsense" not in said


@pytest.mark.parametrize(("name", "said"), [("mariabackup", True), ("xtrabackup", False)])
def test_printing_parameters_is_a_success_to_mariadbs_people_only(
    name: str, said: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call(name, "--no-defaults", "--print-param") == 0
    assert capsys.readouterr().err.endswith("completed OK!\n") == said


@pytest.mark.parametrize("mode", ["--decompress", "--stats"])
def test_a_directory_that_is_not_there_is_no_success(
    mode: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert call("xtrabackup", "--no-defaults", mode, f"--target-dir={tmp_path}/x") == 1
    assert f"there is no directory {tmp_path}/x" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_print_defaults_and_print_param_answer_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cnf = tmp_path / "my.cnf"
    cnf.write_text("[mysqld]\ndatadir=/data\n[client]\npassword=secret\n")
    assert call("xtrabackup", f"--defaults-file={cnf}", "--print-defaults") == 0
    said = capsys.readouterr().out
    assert "--datadir=/data" in said
    assert "secret" not in said
    assert call("xtrabackup", f"--defaults-file={cnf}", "--print-param") == 0
    assert "datadir=/data" in capsys.readouterr().out


def test_the_mode_is_what_was_asked_for() -> None:
    assert modes_of(parse(MARIADB, ["--decompress"])) == ["decompress"]
    assert modes_of(parse(XTRABACKUP, ["--decompress", "--decrypt=AES128"])) == ["decompress"]
    assert modes_of(parse(IBX, ["/backups"])) == ["backup"]
    assert modes_of(parse(IBX, ["--apply-log", "/backups/x"])) == ["prepare"]
    assert modes_of(parse(MARIADB, ["--Apply_Log"])) == ["prepare"]
    assert modes_of(parse(IBX, [])) == []


def test_innobackupex_wants_one_directory() -> None:
    assert target_of(parse(IBX, ["--apply-log", "/b/x"])) == "/b/x"
    with pytest.raises(UsageError):
        target_of(parse(IBX, ["--apply-log"]))


def test_innobackupex_makes_a_dated_directory_unless_told_not_to() -> None:
    assert backup_dir(parse(IBX, ["--no-timestamp", "/b"])) == "/b"
    made = backup_dir(parse(IBX, ["/b"]))
    assert time.strptime(made, "/b/%Y-%m-%d_%H-%M-%S")


def test_innobackupex_takes_the_newest_backup_beside_as_base(tmp_path: Path) -> None:
    for name in ("2026-01-02_03-04-05", "2026-02-02_03-04-05", "2026-03-02_03-04-05", "zzz"):
        (tmp_path / name).mkdir()
        if not name.startswith("2026-03"):
            (tmp_path / name / "xtrabackup_checkpoints").touch()
    found = with_base(parse(IBX, ["--incremental", str(tmp_path)]))
    assert found.text("incremental-basedir") == str(tmp_path / "2026-02-02_03-04-05")
    with pytest.raises(UsageError):
        with_base(parse(IBX, ["--incremental", str(tmp_path / "zzz")]))


def test_the_information_files_name_the_program_as_it_was_called() -> None:
    assert Program("/opt/bin/mariabackup", MARIADB, (), {}).tool == "mariabackup"
    assert Program("/opt/bin/mariabackup", IBX, (), {}).tool == "--innobackupex"


def test_tools_find_the_version_where_they_look_for_it() -> None:
    line = version_line(Program("xtrabackup", XTRABACKUP, (), {}))
    assert line.startswith("xtrabackup version ")
    assert " based on MySQL server " in line
    line = version_line(Program("mariabackup", MARIADB, (), {}))
    assert re.search(r"based on MariaDB server (\d+\.\d+)\.(\d+)-MariaDB ", line)


def test_the_version_is_told_at_once() -> None:
    program = Path(sys.executable).parent / "xtrabackup"
    if not program.exists():
        pytest.skip("the console scripts are not installed")
    took = []
    for _ in range(5):
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run([program, "--version"], check=True, capture_output=True, env=os.environ)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        took.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    # the figure to hold is 0.2 s; it waits for nothing, so that the processor's time says it on a busy machine, too
    assert min(took) < 0.2, took
