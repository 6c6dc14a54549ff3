"""Full backup to a directory, 3+ GiB, every page verified and made durable: beside mariadb-backup and ``cp -r``."""

from __future__ import annotations

import sys

import bed


def main(runs: int = 5, *modes: str) -> None:
    """``runs`` of each contender, warm and cold (or only the modes named)."""
    with bed.big_server() as server:
        server.start()
        to = bed.HOME / "to"
        contenders = {
            "goldcopy --parallel 4": lambda f: bed.timed(bed.backup_ours(server, bed.fresh(to), "--parallel", "4"), f),
            "goldcopy --parallel 2": lambda f: bed.timed(bed.backup_ours(server, bed.fresh(to)), f),
            "mariadb-backup": lambda f: bed.timed(bed.backup_theirs(server, bed.fresh(to)), f),
            "mariadb-backup, syncfs": lambda f: bed.timed(
                ["sh", "-c", " ".join(bed.backup_theirs(server, bed.fresh(to))) + f" && sync -f {to}"], f),
            "cp -r": lambda f: bed.timed(["cp", "-r", str(server.datadir), str(bed.fresh(to))], f),
        }
        for mode in modes or ("warm", "cold"):
            figures = bed.in_turn(runs, contenders, lambda: (bed.fresh(to), bed.settle(server.datadir, cold=mode == "cold")))
            bed.table(f"full backup, {mode}", figures, "each other tool")


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
