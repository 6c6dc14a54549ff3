"""CPU seconds per GiB of a full backup (start-up taken off): MySQL 9.7 (crc32) and 5.6 (innodb sums) beside MariaDB."""

from __future__ import annotations

import statistics
import sys

import bed

TABLES, ROWS = 4, 400_000


def main(runs: int = 3) -> None:
    """``runs`` of each server, warm; the bytes are those of its tablespaces."""
    bed.HOME.mkdir(parents=True, exist_ok=True)
    to, per_gib = bed.HOME / "to", {}
    for name in ("mariadb-10.11", "mysql-9.7", "mysql-5.6"):
        more = ("--loose-innodb-log-files-in-group=2",) if name == "mysql-5.6" else ()
        with bed.big_server(name, *more, tables=TABLES, rows=ROWS) as server:
            server.start()
            start_up, whole = bed.Figures(), bed.Figures()
            for _ in range(runs):
                bed.timed([bed.GOLDCOPY, "backup", "--help"], start_up)
                bed.settle(server.datadir, cold=False)
                bed.timed(bed.backup_ours(server, bed.fresh(to)), whole)
            size = sum(f.stat().st_size for f in to.rglob("*.ibd")) + (to / "ibdata1").stat().st_size
            cpu = statistics.median(whole.cpu) - statistics.median(start_up.cpu)
            per_gib[name] = cpu / (size / (1 << 30))
            ratio = per_gib[name] / per_gib["mariadb-10.11"]
            print(f"{name:16} {size / (1 << 20):7.0f} MiB {per_gib[name]:6.2f} CPU s/GiB  {ratio:5.2f}x of MariaDB's", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
