"""The copy loop alone against ``cp -r`` and mariadb-backup, on one data directory, runs interleaved.

    python bench/copy_loop.py DATADIR [--target DIR] [--rounds 5] [--cold] [--threads 2,4] [--family mariadb]
                              [--mariadb-backup BIN --socket PATH]

Ours verifies every page and is durable when it ends (syncfs); the others are neither asked to sync nor do so, which
the column "then sync" shows. Before each run the target is removed, the disk settles, and the source is read into
the page cache (warm) or dropped from it (cold, needs root). CPU is user + system of the process tree. A peak below
that of this program (some 25 MiB) does not show: Linux counts from the fork.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from goldcopy.capture.copier import SpaceCopier
from goldcopy.capture.copy_space import SpaceJob
from goldcopy.capture.plain import PlainCopier
from goldcopy.image.directory import DirectorySink
from goldcopy.server.files import FileRef, file_ref

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from lab.manifests import manifest  # noqa: E402

_LEFT_OUT = ("ib_logfile", "ibtmp", "ib_buffer_pool", "aria_log", "binlog", "mysqld.", "#")


@dataclass(frozen=True)
class Run:
    """One measured run, seconds."""

    wall: float
    cpu: float
    sync: float
    peak_mib: int


def listing(datadir: str) -> Iterator[FileRef]:
    """Everything that a backup takes."""
    for root, dirs, names in os.walk(datadir):
        dirs[:] = [d for d in dirs if not d.startswith("#")]
        for name in names:
            ref = file_ref(os.path.relpath(os.path.join(root, name), datadir), datadir)
            if ref is not None and not name.startswith(_LEFT_OUT):
                yield ref


def is_space(file: FileRef) -> bool:
    """Whether InnoDB keeps a tablespace in it."""
    name = os.path.basename(file.path)
    return name.endswith((".ibd", ".ibu")) or name.startswith(("ibdata", "undo"))


def copy(datadir: str, target: str, family: str, threads: int) -> None:
    """What the child process does: the loop alone, no server."""
    files = list(listing(datadir))
    with DirectorySink(target) as sink:
        SpaceCopier(sink, family=family, threads=threads).copy([SpaceJob(f) for f in files if is_space(f)], lambda _result: None)
        plain = PlainCopier(sink)
        for file in files:
            if not is_space(file):
                plain.copy(file)
        sink.sync()
        sink.commit(manifest())


def warm(datadir: str) -> None:
    """Read everything into the page cache."""
    for file in listing(datadir):
        with open(file.source, "rb") as f:
            while f.read(1 << 20):
                pass


def prepare(datadir: str, target: str, cold: bool) -> None:
    """Nothing of an earlier run is left to help or to hurt."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    if cold:
        with open("/proc/sys/vm/drop_caches", "w") as f:
            f.write("3")
    else:
        warm(datadir)
    time.sleep(1)


def measure(command: list[str]) -> Run:
    """Run it, then sync, and say what each took."""
    started = time.monotonic()
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    assert child.stderr is not None
    tail: list[bytes] = []
    reader = threading.Thread(target=lambda: tail.append(child.stderr.read()))
    reader.start()
    _, status, usage = os.wait4(child.pid, 0)
    wall = time.monotonic() - started
    reader.join()
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        sys.exit(f"{command[0]} failed: {tail[0][-2000:].decode(errors='replace')}")
    os.sync()
    return Run(wall, usage.ru_utime + usage.ru_stime, time.monotonic() - started - wall, usage.ru_maxrss >> 10)


def contestants(args: argparse.Namespace) -> dict[str, list[str]]:
    """Name -> command."""
    here = [sys.executable, os.path.abspath(__file__), args.datadir, "--target", args.target, "--family", args.family]
    found = {f"goldcopy loop, {n} threads": [*here, "--child", n] for n in args.threads.split(",")}
    if args.mariadb_backup:
        found["mariadb-backup --parallel=2"] = [
            args.mariadb_backup, "--no-defaults", "--backup", "--parallel=2", f"--target-dir={args.target}",
            f"--socket={os.path.abspath(args.socket)}", "--user=root", f"--datadir={args.datadir}",
        ]
    found["cp -r"] = ["cp", "-r", args.datadir, args.target]
    return found


def report(results: dict[str, list[Run]], print_line: Callable[[str], None]) -> None:
    """Medians, ranges, and what each is of the first."""
    first = next(iter(results.values()))
    base = statistics.median(r.wall for r in first)
    print_line(f"{'':32}{'wall s (range)':24}{'CPU s (range)':24}{'then sync s':>12}{'peak MiB':>10}{'wall ratio':>12}")
    for name, runs in results.items():
        wall, cpu = [r.wall for r in runs], [r.cpu for r in runs]
        print_line(
            f"{name:32}"
            f"{f'{statistics.median(wall):.2f} ({min(wall):.2f}-{max(wall):.2f})':24}"
            f"{f'{statistics.median(cpu):.2f} ({min(cpu):.2f}-{max(cpu):.2f})':24}"
            f"{statistics.median(r.sync for r in runs):12.2f}{max(r.peak_mib for r in runs):10}"
            f"{statistics.median(wall) / base:12.2f}"
        )


def main() -> None:
    """Parse, run, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datadir", type=os.path.abspath)
    parser.add_argument("--target", type=os.path.abspath)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--cold", action="store_true")
    parser.add_argument("--threads", default="2,4")
    parser.add_argument("--family", choices=("mariadb", "mysql"), default="mariadb")
    parser.add_argument("--mariadb-backup", default="")
    parser.add_argument("--socket", default="")
    parser.add_argument("--child", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    args.target = args.target or args.datadir.rstrip("/") + "-copy-loop"
    if args.child:
        copy(args.datadir, args.target, args.family, args.child)
        return
    results: dict[str, list[Run]] = {}
    for _ in range(args.rounds):
        for name, command in contestants(args).items():
            prepare(args.datadir, args.target, args.cold)
            results.setdefault(name, []).append(measure(command))
    shutil.rmtree(args.target, ignore_errors=True)
    total = sum(f.size for f in listing(args.datadir))
    print(f"{total / (1 << 30):.2f} GiB, {'cold' if args.cold else 'warm'}, median of {args.rounds}")
    report(results, print)


if __name__ == "__main__":
    main()
