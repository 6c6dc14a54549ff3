"""Increment after about 1 % of the pages changed: beside ``mariadb-backup --incremental-basedir``.

Whoever does not know which pages changed must look at them all. Read from the disk (cold) that is what ``cat``, the last
contender, does and no more, and direct reads into huge pages cost less; in the page cache (warm) ours looks at the pages'
heads alone. The processor time of ours that is left is mostly the interpreter's start, whatever the size: see ``start``.
"""

from __future__ import annotations

import sys

import bed

CHANGED_ROWS = 1200


def change(server: bed.LabServer) -> None:
    """Touch rows spread over the tables: about one page in a hundred."""
    for table in range(1, bed.TABLES + 1):
        step = bed.ROWS // (CHANGED_ROWS // bed.TABLES * 2)
        server.sql(f"UPDATE sbtest.sbtest{table} SET c = LEFT(REPEAT(RAND(), 9), 119) WHERE id % {step} = 7")
    server.sql("SET GLOBAL innodb_max_dirty_pages_pct = 0", "SET GLOBAL innodb_max_dirty_pages_pct_lwm = 0")
    import time

    time.sleep(5)


def main(runs: int = 5, *modes: str) -> None:
    """``runs`` of each contender, warm and cold (or only the modes named)."""
    with bed.big_server() as server:
        server.start()
        ours, theirs, to = bed.HOME / "full-ours", bed.HOME / "full-theirs", bed.HOME / "inc"
        bed.timed(bed.backup_ours(server, bed.fresh(ours)), bed.Figures())
        bed.timed(bed.backup_theirs(server, bed.fresh(theirs)), bed.Figures())
        change(server)
        contenders = {
            "goldcopy --parallel 2": lambda f: bed.timed(bed.backup_ours(server, bed.fresh(to), "--base", str(ours)), f),
            "goldcopy --parallel 1": lambda f: bed.timed(
                bed.backup_ours(server, bed.fresh(to), "--base", str(ours), "--parallel", "1"), f),
            "mariadb-backup": lambda f: bed.timed(
                bed.backup_theirs(server, bed.fresh(to), f"--incremental-basedir={theirs}"), f),
            "cat of the same files": lambda f: bed.timed(
                ["sh", "-c", f"cat {server.datadir}/ibdata1 {server.datadir}/*/*.ibd > /dev/null"], f),
        }
        for mode in modes or ("warm", "cold"):
            figures = bed.in_turn(runs, contenders, lambda: (bed.fresh(to), bed.settle(server.datadir, cold=mode == "cold")))
            bed.table(f"increment, {mode}", figures, "mariadb-backup")


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
