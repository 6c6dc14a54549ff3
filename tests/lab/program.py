"""The ``goldcopy`` program as a user calls it: a command line, an exit status, text."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lab.oracle import Point
from lab.server import LabServer

TIMEOUT_S = 300.0


class ProgramFailed(AssertionError):
    """The program ended with another status than it should; the message has all that it said."""


def program(name: str = "goldcopy") -> str:
    """Path of one of our programs in the environment that runs us."""
    return str(Path(sys.executable).parent / name)


def run(*arguments: str, status: int | None = 0, timeout_s: float = TIMEOUT_S) -> subprocess.CompletedProcess[str]:
    """Run ``goldcopy``. Raises ProgramFailed unless it ends with ``status`` (None: any will do)."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("MYSQL", "MARIADB"))}
    done = subprocess.run(
        [program(), *arguments], capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL,
        env=environment, timeout=timeout_s,
    )
    if status is not None and done.returncode != status:
        shown = " ".join(arguments)
        raise ProgramFailed(f"goldcopy {shown}\nexit status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done


def backup(
    server: LabServer, to: Path, base: Path | None = None, *extra: str, status: int | None = 0
) -> subprocess.CompletedProcess[str]:
    """Back the server up."""
    based = ["--base", str(base)] if base else []
    return run(
        "backup", "--to", str(to), *based, "--socket", str(server.socket), "--user", "root", *extra, status=status
    )


def info(directory: Path) -> dict[str, Any]:
    """What ``goldcopy info --json`` says."""
    answer: dict[str, Any] = json.loads(run("info", str(directory), "--json").stdout)
    return answer


def point(directory: Path) -> Point:
    """Where in the binlog a backup stands."""
    facts = info(directory)
    return Point(str(facts["binlog_file"]), int(facts["binlog_position"]), str(facts.get("gtid") or ""))


def restore(
    source: LabServer, backup_: Path, base: Path, *extra: str, options: Sequence[str] | None = None
) -> LabServer:
    """Restore a backup of ``source`` below ``base``; the server on it, not started, with the source's options."""
    server = LabServer(source.name, base, source.options if options is None else options, init=source.init,
                       binary=source.binary)
    run("restore", "--from", str(backup_), "--datadir", str(server.datadir), "--mysqld", source.mysqld, *extra)
    return server
