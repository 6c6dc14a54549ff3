"""Full backup to a directory, 3+ GiB, every page verified and made durable: beside mariadb-backup and ``cp -r``.

The last contender is the limit of whoever makes a backup durable: as many bytes of zeros, written past the page cache by
four ``dd`` at once, are what the disk itself takes that long to store. mariadb-backup alone leaves them in memory.
"""

from __future__ import annotations

import sys
from pathlib import Path

import bed


def write_zeros(to: Path, bytes_in_all: int, streams: int = 4) -> list[str]:
    """The command line of the disk's own pace."""
    mib = bytes_in_all // streams >> 20
    one = f"dd if=/dev/zero of={to}/$i bs=4M iflag=count_bytes oflag=direct conv=fsync count={mib}M status=none"
    return ["sh", "-c", f"mkdir {to}; for i in $(seq {streams}); do {one} & done; wait"]


def main(runs: int = 5, *modes: str) -> None:
    """``runs`` of each contender, warm and cold (or only the modes named)."""
    with bed.big_server() as server:
        server.start()
        to = bed.HOME / "to"
        size = sum(f.stat().st_size for f in server.datadir.rglob("*") if f.name == "ibdata1" or f.suffix == ".ibd")
        contenders = {
            "goldcopy --parallel 4": lambda f: bed.timed(bed.backup_ours(server, bed.fresh(to), "--parallel", "4"), f),
            "goldcopy --parallel 2": lambda f: bed.timed(bed.backup_ours(server, bed.fresh(to)), f),
            "mariadb-backup": lambda f: bed.timed(bed.backup_theirs(server, bed.fresh(to)), f),
            "mariadb-backup, syncfs": lambda f: bed.timed(
                ["sh", "-c", " ".join(bed.backup_theirs(server, bed.fresh(to))) + f" && sync -f {to}"], f),
            "cp -r": lambda f: bed.timed(["cp", "-r", str(server.datadir), str(bed.fresh(to))], f),
            "dd, what the disk takes": lambda f: bed.timed(write_zeros(bed.fresh(to), size), f),
        }
        for mode in modes or ("warm", "cold"):
            figures = bed.in_turn(runs, contenders, lambda: (bed.fresh(to), bed.settle(server.datadir, cold=mode == "cold")))
            bed.table(f"full backup, {mode}", figures, "each other tool")


if __name__ == "__main__":
    main(*(int(a) if a.isdigit() else a for a in sys.argv[1:]))
