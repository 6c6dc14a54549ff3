"""What must hold before a server is started on a directory: found out first, because a start changes files."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

from goldcopy.errors import TargetRefused

_PATIENCE_S = 60.0
_GRACE_S = 10.0
_POLL_S = 0.1
_LOG_PREFIX = "goldcopy-"


def wait_for_other_server(directory: str) -> None:
    """Wait for a server on this directory to end. One that a killed run of ours left is told to shut down.

    Raises TargetRefused when it goes on.
    """
    until = time.monotonic() + _PATIENCE_S
    orphans: dict[int, float] = {}
    while pid := next(_servers_on(directory), 0):
        if pid in orphans or _is_our_orphan(pid, directory):
            _end(pid, orphans)
        if time.monotonic() > until:
            raise TargetRefused(
                f"a server (process {pid}) runs on {directory}; nothing was done", hint="stop it, and try again"
            )
        time.sleep(_POLL_S)


def _end(pid: int, since: dict[int, float]) -> None:
    """Ask it to shut down; MariaDB forgets to when it is asked while it starts, and then never listens again.

    Killing does no harm: another run begins with the redo that this one began with.
    """
    now = time.monotonic()
    asked = since.setdefault(pid, now)
    try:
        if asked == now:
            os.kill(pid, signal.SIGTERM)
        elif now - asked > _GRACE_S:
            os.kill(pid, signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has ended meanwhile


def _is_our_orphan(pid: int, directory: str) -> bool:
    """Whether it is a recovering server that we started, and whoever started it is gone."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            arguments = f.read().decode("utf-8", "surrogateescape").split("\0")
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            parent = next(line.split()[1] for line in f if line.startswith("PPid:"))
    except (OSError, StopIteration):
        return False
    ours = any(a.startswith(f"--log-error={os.path.join(directory, _LOG_PREFIX)}") for a in arguments)
    return ours and parent == "1"


def _servers_on(directory: str) -> Iterator[int]:
    """Processes that call themselves a server and work in the directory, as servers do."""
    wanted = os.path.realpath(directory)
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/comm", encoding="ascii", errors="replace") as f:
                name = f.read().strip()
            if name in ("mysqld", "mariadbd") and os.readlink(f"/proc/{entry}/cwd") == wanted:
                yield int(entry)
        except OSError:
            # gone, or not ours to look at
            continue
