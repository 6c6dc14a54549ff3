"""What must hold after any failure of ``goldcopy``: one clear message, nothing held, nothing left over."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pymysql

from lab import program
from lab.server import LabServer, replica_state

_MESSAGE = re.compile(r"^goldcopy: .* \[[a-z-]+\]$", re.MULTILINE | re.DOTALL)
INTERRUPTED = 130


def login(server: LabServer) -> list[str]:
    """The options with which root reaches a server."""
    return ["--socket", str(server.socket), "--user", "root"]


def backup_arguments(server: LabServer, to: Path, *extra: str) -> list[str]:
    """The command line of a backup."""
    return ["backup", "--to", str(to), *login(server), *extra]


def fails(status: int, *arguments: str, hint: str = "") -> str:
    """Run ``goldcopy``, which must end with ``status``. Returns all that it said, which must be well said."""
    done = program.run(*arguments, status=status)
    return well_said(done.stdout + done.stderr, hint)


def well_said(text: str, hint: str = "") -> str:
    """One message, one hint (that contains ``hint``), nothing of Python's."""
    assert "Traceback" not in text and "Exception ignored" not in text, text
    assert len(re.findall(r"^goldcopy: ", text, re.MULTILINE)) == 1 and _MESSAGE.search(text), text
    hints = re.findall(r"^HINT: (.*)$", text, re.MULTILINE)
    assert len(hints) == 1 and hint in hints[0], text
    return text


def no_backup(target: Path) -> None:
    """Nothing lies there that could be taken for a backup."""
    assert not target.exists() or set(os.listdir(target)) <= {"lost+found"}, sorted(os.listdir(target))
    said = program.run("info", str(target), status=8)
    assert "Traceback" not in said.stderr


def unhurt(server: LabServer) -> None:
    """No lock and no connection of ours is left: DDL and a commit go through at once."""
    timeout = "SET SESSION lock_wait_timeout = 3"
    server.sql(
        timeout, "CREATE DATABASE IF NOT EXISTS unhurt", "CREATE TABLE unhurt.t (a INT)", "INSERT INTO unhurt.t VALUES (1)",
        "DROP TABLE unhurt.t",
    )


def replica_runs(replica: LabServer) -> bool:
    """Does its SQL thread run?"""
    return bool(replica_state(replica).get("Replica_SQL_Running") == "Yes")


def processes_about(text: str) -> list[str]:
    """Command lines of running processes in which ``text`` occurs."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line:
            found.append(f"{pid}: {line}")
    return found


def heed_signals() -> None:
    """Whoever runs the tests in the background has SIGINT ignored, and we heed what was ignored from the start."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


class Running:
    """One of our programs (``name``) in the background, its output in a file so that it never waits for us."""

    def __init__(
        self, folder: Path, *arguments: str, environment: dict[str, str] | None = None, name: str = "goldcopy"
    ) -> None:
        self._out = folder / f"said-{time.monotonic_ns()}"
        with self._out.open("wb") as out:
            self.process = subprocess.Popen(
                [program.program(name), *arguments], stdin=subprocess.DEVNULL, stdout=out, stderr=out,
                env={**os.environ, **(environment or {})}, preexec_fn=heed_signals,
            )

    def said(self) -> str:
        """All it said so far."""
        return self._out.read_text()

    def wait_for(self, text: str, timeout_s: float = 30) -> None:
        """Return when it has said ``text``."""
        until = time.monotonic() + timeout_s
        while text not in self.said():
            assert self.process.poll() is None and time.monotonic() < until, self.said()
            time.sleep(0.005)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; harmless when it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self, timeout_s: float = 60) -> int:
        """Its exit status."""
        try:
            return self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise AssertionError(f"still runs after {timeout_s} s:\n{self.said()}") from None


@contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    """A file system of its own with so much room, mounted below ``folder``."""
    image, place = folder / "disk.img", folder / "disk"
    place.mkdir()
    with image.open("wb") as f:
        f.truncate(megabytes << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", "-O", "^has_journal", str(image)], check=True)
    subprocess.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


class Statement:
    """A statement that runs in the background on a connection of its own, ended with the block."""

    def __init__(self, server: LabServer, sql: str) -> None:
        import threading

        self._server = server
        self._connection = server.connect()
        self.error = ""
        self._thread = threading.Thread(target=self._run, args=(sql,), daemon=True)

    def _run(self, sql: str) -> None:
        try:
            with self._connection.cursor() as cursor:
                cursor.execute(sql)
        except pymysql.err.MySQLError as e:
            self.error = str(e)

    @property
    def running(self) -> bool:
        """Has it not ended yet?"""
        return self._thread.is_alive()

    def __enter__(self) -> Statement:
        self._thread.start()
        time.sleep(0.3)
        return self

    def __exit__(self, *_: object) -> None:
        if self.running:
            try:
                self._server.sql(f"KILL {self._connection.thread_id()}")
            except pymysql.err.MySQLError:
                pass
            self._thread.join(20)
