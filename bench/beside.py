"""What a server still does beside back-to-back backups: sysbench read_write throughput and its longest stall."""

from __future__ import annotations

import re
import shutil
import statistics
import subprocess
import sys
import threading
from collections.abc import Callable

import bed

THREADS, SECONDS = 4, 20


def load(server: bed.LabServer) -> tuple[float, float]:
    """(transactions a second, longest of them in ms)."""
    out = bed.sysbench(server, "run", tables=bed.TABLES, rows=bed.ROWS, threads=THREADS, seconds=SECONDS)
    tps = re.search(r"transactions:\s+\d+\s+\(([\d.]+) per sec", out)
    longest = re.search(r"max:\s+([\d.]+)", out)
    assert tps and longest, out
    return float(tps[1]), float(longest[1])


def beside(server: bed.LabServer, command: Callable[[], list[str]] | None) -> tuple[float, float]:
    """The load with ``command`` run over and over beside it."""
    stop = threading.Event()

    def again() -> None:
        while command is not None and not stop.is_set():
            subprocess.run(command(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=not stop.is_set())

    thread = threading.Thread(target=again)
    thread.start()
    try:
        return load(server)
    finally:
        stop.set()
        thread.join()


def main(rounds: int = 3) -> None:
    """``rounds`` of each, interleaved."""
    with bed.big_server() as server:
        server.start()
        to = bed.HOME / "to"
        contenders: dict[str, Callable[[], list[str]] | None] = {
            "alone": None,
            "goldcopy --parallel 2": lambda: bed.backup_ours(server, bed.fresh(to), "--parallel", "2"),
            "mariadb-backup": lambda: bed.backup_theirs(server, bed.fresh(to)),
        }
        results: dict[str, list[tuple[float, float]]] = {name: [] for name in contenders}
        for _ in range(rounds):
            for name, command in contenders.items():
                results[name].append(beside(server, command))
        print(f"\nsysbench read_write, {THREADS} threads, {SECONDS} s beside back-to-back backups")
        for name, runs in results.items():
            tps, stall = statistics.median(r[0] for r in runs), statistics.median(r[1] for r in runs)
            print(f"{name:26} {tps:8.0f} tps   longest {stall:8.0f} ms   {[round(r[0]) for r in runs]}")
        shutil.rmtree(to, ignore_errors=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
