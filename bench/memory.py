"""Peak memory of all our processes with 100,000 tables: backup, increment, check, restore (the limit: 150 MB)."""

from __future__ import annotations

import shutil
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import bed

LIMIT_MB = 150
MAKERS, PER_DATABASE = 4, 10_000
# nothing of this server must survive a power cut while its tables are made
_UNSYNCED = ("--innodb-flush-log-at-trx-commit=0", "--innodb-flush-method=nosync", "--loose-debug-no-sync=1")
_OPTIONS = ("--innodb-buffer-pool-size=512M", "--innodb-log-file-size=256M", "--skip-log-bin", "--open-files-limit=20000")


def many_tables(count: int, name: str = "mariadb-10.11") -> bed.LabServer:
    """A server with ``count`` real tables, made once and kept; not started."""
    base = bed.HOME / f"{name}-{count}-tables"
    if not (base / "filled").exists():
        shutil.rmtree(base, ignore_errors=True)
        server = bed.LabServer(name, base, _OPTIONS)
        server.create().start(*_UNSYNCED)
        makers = [threading.Thread(target=_make, args=(server, range(k, count, MAKERS))) for k in range(MAKERS)]
        for thread in makers:
            thread.start()
        for thread in makers:
            thread.join()
        server.stop()
        (base / "filled").touch()
    return bed.LabServer(name, base, _OPTIONS)


def _make(server: bed.LabServer, numbers: range) -> None:
    with server.connect() as connection, connection.cursor() as cursor:
        for number in numbers:
            database = f"many{number // PER_DATABASE}"
            if number % PER_DATABASE < MAKERS:
                cursor.execute(f"CREATE DATABASE IF NOT EXISTS {database}")
            cursor.execute(f"CREATE TABLE {database}.t{number:06d} (id INT PRIMARY KEY, note VARCHAR(40)) ENGINE=InnoDB")


@dataclass
class Seen:
    """The most that a child of this program had: open descriptors, and MB of memory of its own."""

    files: int = 0
    peak_mb: float = 0.0


@contextmanager
def our_processes(seen: Seen) -> Iterator[None]:
    """Looks at our own process while it runs. What a process has taken at its end would count the server that it
    started, too."""
    stop = threading.Event()

    def watch() -> None:
        while not stop.wait(0.02):
            for child in Path(f"/proc/self/task/{threading.main_thread().native_id}/children").read_text().split():
                try:
                    if bed.GOLDCOPY.encode() in Path(f"/proc/{child}/cmdline").read_bytes():
                        seen.files = max(seen.files, len(list(Path(f"/proc/{child}/fd").iterdir())))
                        high = Path(f"/proc/{child}/status").read_text().partition("VmHWM:")[2].split(maxsplit=1)[0]
                        seen.peak_mb = max(seen.peak_mb, int(high) / 1024)
                except (OSError, IndexError):
                    continue

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def measure(name: str, command: list[str]) -> None:
    """Run one command and say what it took."""
    figures, seen = bed.Figures(), Seen()
    with our_processes(seen):
        bed.timed(command, figures)
    print(f"{name:10} {figures.wall[0]:6.1f} s wall {figures.cpu[0]:6.1f} s CPU {seen.peak_mb:6.0f} MB peak "
          f"(limit {LIMIT_MB}: {'met' if seen.peak_mb < LIMIT_MB else 'NOT MET'})  {seen.files} files open", flush=True)


def main(tables: int = 100_000) -> None:
    """A full, an increment, its check and its restore."""
    bed.HOME.mkdir(parents=True, exist_ok=True)
    full, increment, restored = (bed.HOME / f"many-{name}" for name in ("full", "inc", "restored"))
    began = time.monotonic()
    with many_tables(tables) as server:
        print(f"{tables:,} tables in {server.name}, there after {time.monotonic() - began:.0f} s", flush=True)
        server.start()
        measure("full", bed.backup_ours(server, bed.fresh(full)))
        server.sql("REPLACE INTO many0.t000001 VALUES (1, UUID())")
        measure("increment", bed.backup_ours(server, bed.fresh(increment), "--base", str(full)))
        server.stop()
        measure("check", [bed.GOLDCOPY, "check", str(increment)])
        measure("restore", [bed.GOLDCOPY, "restore", "--from", str(increment), "--datadir", str(bed.fresh(restored)),
                            "--mysqld", server.mysqld])
    for path in (full, increment, restored):
        shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
