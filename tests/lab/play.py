"""A real server to play with, in the foreground: ``scripts/server NAME [--option...]``."""

from __future__ import annotations

import shlex
import signal
import sys
import threading
from pathlib import Path

from lab import catalogue, fetch
from lab.server import LabServer, client


def main(arguments: list[str]) -> int:
    """Run the named server until Ctrl-C; its data directory stays."""
    if not arguments:
        print("usage: scripts/server NAME [--server-option...]\nservers: " + ", ".join(s.name for s in catalogue.SERVERS))
        return 2
    name, options = arguments[0], arguments[1:]
    print(fetch.fetch(catalogue.by_name(name)), flush=True)
    base = Path.home() / ".cache" / "goldcopy-play" / name
    with LabServer(name, base, options) as server:
        if not (server.datadir / "mysql").is_dir():
            server.create()
        server.start()
        _greet(server)
        _wait()
        print("stopping")
        server.stop()
    return 0


def _greet(server: LabServer) -> None:
    sql = client(server.info, "mariadb", "mysql")
    where = shlex.quote(str(server.socket))
    print(f"""
{server.name} ({server.info.version}) runs, data in {server.datadir}, port {server.port}

  connect   {sql} -uroot --socket={where}
  back up   .venv/bin/goldcopy backup --to /tmp/backup --socket {where} --user root
  restore   .venv/bin/goldcopy restore --from /tmp/backup --datadir /tmp/restored --mysqld {server.mysqld}
  its log   {server.log}

Ctrl-C stops it.""", flush=True)


def _wait() -> None:
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    over.wait()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
