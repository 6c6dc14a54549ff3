"""Peak memory of all our processes: many small tables, and one large one (the limit is 150 MB at any size)."""

from __future__ import annotations

import shutil
import struct
import sys

import bed
from fastcrc import crc32

from lab.server import running, scratch

PAGE = 16384


def many_tables(datadir: bed.Path, count: int) -> None:
    """Tablespace files that the server does not know: to a backup they are tables like any other."""
    page = bytearray(next((datadir / "mysql").glob("*.ibd")).read_bytes()[:PAGE])
    for database in range(-(-count // 10_000)):
        folder = datadir / f"many{database}"
        folder.mkdir()
        for number in range(min(10_000, count - database * 10_000)):
            # a tablespace id of its own, and the checksum (full_crc32) that goes with it
            struct.pack_into(">I", page, 34, 1_000_000 + database * 10_000 + number)
            struct.pack_into(">I", page, PAGE - 4, crc32.iscsi(bytes(page[: PAGE - 4])))
            (folder / f"t{number:05d}.ibd").write_bytes(page)


def main(tables: int = 100_000) -> None:
    """Back up a server with so many tables and 3 GiB in others, then take an increment of it."""
    bed.HOME.mkdir(parents=True, exist_ok=True)
    folder = scratch()
    with running("mariadb-10.11", folder) as server:
        many_tables(server.datadir, tables)
        full, increment = bed.HOME / "many-full", bed.HOME / "many-inc"
        for name, command in (
            ("full", bed.backup_ours(server, bed.fresh(full))),
            ("increment", bed.backup_ours(server, bed.fresh(increment), "--base", str(full))),
            ("check", [bed.GOLDCOPY, "check", str(increment)]),
            ("restore", [bed.GOLDCOPY, "restore", "--from", str(increment), "--datadir", str(bed.fresh(bed.HOME / "many-r")),
                         "--mysqld", server.mysqld]),
        ):
            figures = bed.Figures()
            bed.timed(command, figures)
            print(f"{tables:,} tables, {name:10} {figures.wall[0]:6.1f} s wall {figures.cpu[0]:6.1f} s CPU "
                  f"{figures.rss_mb[0]:6.0f} MB peak", flush=True)
        for path in (full, increment, bed.HOME / "many-r"):
            shutil.rmtree(path, ignore_errors=True)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
