"""Start-up: ``goldcopy --version``, and the backup of an empty server beside mariadb-backup's."""

from __future__ import annotations

import sys

import bed

from lab.server import running, scratch


def main(runs: int = 9) -> None:
    """``runs`` of each."""
    bed.HOME.mkdir(parents=True, exist_ok=True)
    version = bed.Figures()
    for _ in range(runs):
        bed.timed([bed.GOLDCOPY, "--version"], version)
    print(f"goldcopy --version: {version.median_wall:.3f} s wall, {version.median_cpu:.3f} s CPU (median of {runs})")
    to = bed.HOME / "to"
    with running("mariadb-10.11", scratch()) as server:
        contenders = {
            "goldcopy": lambda f: bed.timed(bed.backup_ours(server, bed.fresh(to)), f),
            "mariadb-backup": lambda f: bed.timed(bed.backup_theirs(server, bed.fresh(to)), f),
        }
        figures = bed.in_turn(runs, contenders, lambda: bed.settle(server.datadir, cold=False))
        bed.table("backup of an empty server", figures, "mariadb-backup")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
