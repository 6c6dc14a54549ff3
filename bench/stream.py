"""Streams: ``--stream=xbstream`` unpacked as it comes, and compressed, beside mariadb-backup's into mbstream and zstd."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence

import bed

from lab.server import LabServer

BIN = bed.ROOT / ".venv" / "bin"


def piped(command: Sequence[str], into: str) -> Callable[[bed.Figures], None]:
    """A run of ``command | into``, which fails when either does."""
    return lambda figures: bed.timed(["bash", "-c", 'set -o pipefail; "$@" | ' + into, "bench", *command], figures)


def ours(server: LabServer, *more: str) -> list[str]:
    """Our command line of a stream, under the peer's name."""
    return [
        str(BIN / "mariabackup"), "--backup", "--stream=xbstream", f"--socket={server.socket}", "--user=root",
        "--parallel=2", *more,
    ]


def main(runs: int = 5) -> None:
    """``runs`` of each contender, warm."""
    if shutil.which("zstd") is None:
        sys.exit("zstd is not installed: apt-get install zstd")
    with bed.big_server() as server:
        server.start()
        to, packed = bed.HOME / "to", bed.HOME / "packed"
        theirs = bed.backup_theirs(server, bed.HOME / "unused", "--stream=xbstream")
        real = server.info.tool("mbstream", "mbstream")

        def ready() -> None:
            bed.fresh(to).mkdir()
            packed.unlink(missing_ok=True)
            bed.settle(server.datadir, cold=False)

        plain = {
            "ours | our mbstream": piped(ours(server), f"{BIN}/mbstream -x -C {to}"),
            "ours | their mbstream": piped(ours(server), f"{real} -x -C {to}"),
            "theirs | their mbstream": piped(theirs, f"{real} -x -C {to}"),
        }
        bed.table("a stream, unpacked", bed.in_turn(runs, plain, ready), "each other pair")
        compressed = {
            "ours --compress=zstd": piped(ours(server, "--compress=zstd", "--compress-threads=2"), f"cat > {packed}"),
            "theirs | zstd -T2 -1": piped(theirs, f"zstd -q -T2 -1 > {packed}"),
        }
        bed.table("a stream, compressed", bed.in_turn(runs, compressed, ready), "mariadb-backup and zstd")
        bed.fresh(to)
        packed.unlink(missing_ok=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
