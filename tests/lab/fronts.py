"""Our programs under the peers' names, as a runbook calls them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from lab.oracle import Point
from lab.server import LabServer

TIMEOUT_S = 200
_SHAPES = {
    "xtrabackup": re.compile(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}-00:00 \d+ \[(Note|Warning|ERROR)\] \[MY-011825\] \[Xtrabackup\] "
    ),
    "innobackupex": re.compile(r"\d{6} \d\d:\d\d:\d\d (\[\d\d\] )?(innobackupex: |completed OK!)"),
    "mariabackup": re.compile(r"\[\d\d\] (FATAL ERROR: )?\d{4}-\d\d-\d\d \d\d:\d\d:\d\d "),
}
"""A line of the log under each name; only the one that tells the version is another."""
_VERSION = "(revision id: goldcopy "


def ours(name: str, *arguments: str, status: int = 0, **streams: object) -> subprocess.CompletedProcess[str]:
    """Run one of our programs under a peer's name; its last line is ``completed OK!`` exactly when it succeeds."""
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE} | streams
    done = subprocess.run(
        [Path(sys.executable).parent / name, *arguments], check=False, timeout=TIMEOUT_S, stderr=subprocess.PIPE,
        **streams,
    )  # type: ignore[call-overload]
    log = done.stderr.decode()
    assert done.returncode == status, log[-3000:]
    if "backup" in name:
        assert log.endswith("completed OK!\n") == (status == 0), log[-3000:]
        assert log.count("completed OK!") == (status == 0)
    if name in _SHAPES and not status:
        assert not [line for line in log.splitlines() if not _SHAPES[name].match(line) and _VERSION not in line], log
    return subprocess.CompletedProcess(done.args, done.returncode, done.stdout, log)


def name_for(server: LabServer) -> str:
    """What the server's people call the program."""
    return "mariabackup" if server.mariadb else "xtrabackup"


def back_up(server: LabServer, to: Path, *more: str, status: int = 0, **streams: object) -> str:
    """Take a backup into a directory (or, by ``--stream`` and ``stdout``, elsewhere). Returns the log."""
    login = (f"--socket={server.socket}", "--user=root")
    given = ("--no-defaults", "--backup", f"--target-dir={to}", *login, *more)
    return ours(name_for(server), *given, status=status, **streams).stderr


def prepare(server: LabServer, target: Path, *more: str, status: int = 0) -> str:
    """Prepare with our program. Returns the log."""
    given = ("--prepare", f"--target-dir={target}", f"--mysqld={server.mysqld}", *more)
    return ours(name_for(server), *given, status=status).stderr


def prepare_chain(server: LabServer, chain: list[Path]) -> Path:
    """Lay increments over the full backup, in order, as the manuals say. Returns its directory."""
    more = () if server.mariadb else ("--apply-log-only",)
    full, last = chain[0], chain[-1]
    for backup in chain:
        increment = () if backup == full else (f"--incremental-dir={backup}",)
        prepare(server, full, *increment, *(() if backup == last else more))
    return full


def copied_back(server: LabServer, prepared: Path, folder: Path) -> LabServer:
    """A server on what our copy-back made of a prepared backup."""
    fresh = LabServer(server.name, folder, server.options, init=server.init)
    ours(name_for(server), "--no-defaults", "--copy-back", f"--target-dir={prepared}", f"--datadir={fresh.datadir}")
    return fresh.start()


def point_of(backup: Path) -> Point:
    """Where in the binlog the backup's own file says that it stands."""
    text = next(backup.glob("*_binlog_info")).read_text().split()
    return Point(text[0], int(text[1]))
