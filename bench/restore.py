"""A full and 10 increments made a running server: beside mariadb-backup's copy, 11 prepares, copy-back."""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

import bed

INCREMENTS = 10


def start_on(server: bed.LabServer, datadir: Path, *, owner_fix: bool = False) -> None:
    """Start a server on the result and stop it again: only then is it restored."""
    restored = bed.LabServer(server.name, bed.HOME / "restored-run", server.options, datadir=datadir)
    with restored:
        restored.start("--skip-log-bin", "--innodb-buffer-pool-size=512M")
        restored.sql("SELECT COUNT(*) FROM sbtest.sbtest1 WHERE id < 10")
        restored.stop()


def ours(server: bed.LabServer, chain: list[Path], target: Path, figures: bed.Figures) -> None:
    """One command, then the server."""
    start = time.monotonic()
    bed.timed([bed.GOLDCOPY, "restore", "--from", str(chain[-1]), "--datadir", str(target), "--mysqld", server.mysqld], figures)
    start_on(server, target)
    figures.wall[-1] = time.monotonic() - start


def theirs(server: bed.LabServer, chain: list[Path], target: Path, figures: bed.Figures) -> None:
    """Copy of the full (preparing uses it up), 11 prepares, copy-back, then the server."""
    tool = server.info.tool("mariadb-backup", "mariabackup")
    work = bed.HOME / "theirs-work"
    incs = [bed.HOME / f"theirs-inc-work{i}" for i in range(INCREMENTS)]
    for path in (work, *incs):
        shutil.rmtree(path, ignore_errors=True)
    for source, copy in zip(chain[1:], incs, strict=True):
        subprocess.run(["cp", "-r", str(source), str(copy)], check=True)
    steps = [f"cp -r {chain[0]} {work}", f"{tool} --prepare --target-dir={work}"]
    steps += [f"{tool} --prepare --target-dir={work} --incremental-dir={inc}" for inc in incs]
    steps.append(f"{tool} --copy-back --target-dir={work} --datadir={target}")
    start = time.monotonic()
    bed.timed(["sh", "-c", " && ".join(steps)], figures)
    start_on(server, target)
    figures.wall[-1] = time.monotonic() - start


def chains(server: bed.LabServer) -> tuple[list[Path], list[Path]]:
    """A full and ten increments by each tool, of the same states."""
    a, b = [bed.HOME / "ours-0"], [bed.HOME / "theirs-0"]
    bed.timed(bed.backup_ours(server, bed.fresh(a[0])), bed.Figures())
    bed.timed(bed.backup_theirs(server, bed.fresh(b[0])), bed.Figures())
    for i in range(1, INCREMENTS + 1):
        server.sql(f"UPDATE sbtest.sbtest{i % bed.TABLES + 1} SET c = LEFT(REPEAT(RAND(), 9), 119) WHERE id % 900 = {i}")
        a.append(bed.HOME / f"ours-{i}")
        b.append(bed.HOME / f"theirs-{i}")
        bed.timed(bed.backup_ours(server, bed.fresh(a[i]), "--base", str(a[i - 1])), bed.Figures())
        bed.timed(bed.backup_theirs(server, bed.fresh(b[i]), f"--incremental-basedir={b[i - 1]}"), bed.Figures())
    return a, b


def main(runs: int = 3) -> None:
    """``runs`` of each contender."""
    with bed.big_server() as server:
        server.start()
        a, b = chains(server)
        server.stop()
        target = bed.HOME / "restored"
        contenders = {
            "goldcopy restore": lambda f: ours(server, a, target, f),
            "mariadb-backup": lambda f: theirs(server, b, target, f),
        }
        figures = bed.in_turn(runs, contenders, lambda: (bed.fresh(target), bed.settle(server.datadir, cold=True)))
        bed.table(f"full + {INCREMENTS} increments to a running server", figures, "mariadb-backup")
        for path in (*a, *b, target):
            shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
