"""What every benchmark stands on: a server with a few GiB in it, runs taken in turn, and their figures.

A figure is the ratio of medians of interleaved runs on one file system; CPU is user + system of the whole process
tree. ``cold`` runs drop the page cache first, where that is allowed (root).
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))

from lab.server import LabServer  # noqa: E402

GOLDCOPY = str(ROOT / ".venv" / "bin" / "goldcopy")
HOME = Path(os.environ.get("GOLDCOPY_BENCH") or Path.home() / ".cache" / "goldcopy-bench")
TABLES, ROWS = 10, 1_500_000


@dataclass
class Figures:
    """Wall and CPU seconds, and peak resident MB of the largest process, of one contender's runs."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    rss_mb: list[float] = field(default_factory=list)

    @property
    def median_wall(self) -> float:
        """Median wall seconds."""
        return statistics.median(self.wall)

    @property
    def median_cpu(self) -> float:
        """Median CPU seconds."""
        return statistics.median(self.cpu)


def timed(command: Sequence[str], figures: Figures) -> None:
    """Run a command and note its cost. Raises SystemExit with its output when it fails."""
    start = time.monotonic()
    with open(HOME / "last.log", "wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        _, status, usage = os.wait4(process.pid, 0)
    wall = time.monotonic() - start
    if status:
        sys.exit(f"failed: {' '.join(command)}\n" + (HOME / "last.log").read_text(errors="replace")[-3000:])
    figures.wall.append(wall)
    figures.cpu.append(usage.ru_utime + usage.ru_stime)
    figures.rss_mb.append(usage.ru_maxrss / 1024)


def settle(datadir: Path, *, cold: bool) -> None:
    """Write back what is dirty; then make the source cold, or warm."""
    os.sync()
    if cold:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    else:
        subprocess.run(f"cat {datadir}/ibdata1 {datadir}/*/*.ibd > /dev/null", shell=True, check=True)


def big_server(name: str = "mariadb-10.11", *options: str, tables: int = TABLES, rows: int = ROWS) -> LabServer:
    """A server with ``tables`` sysbench tables, filled once and kept; not started."""
    base = HOME / f"{name}-{tables}x{rows}"
    data = base / "data"
    normal = ["--innodb-buffer-pool-size=512M", "--innodb-flush-log-at-trx-commit=1", *options]
    modern = name.startswith("mysql") and name != "mysql-5.6"
    normal.append("--innodb-redo-log-capacity=1G" if modern else "--innodb-log-file-size=512M")
    server = LabServer(name, base, normal)
    if not (base / "filled").exists():
        shutil.rmtree(base, ignore_errors=True)
        base.mkdir(parents=True)
        server = LabServer(name, base, normal)
        server.create().start()
        server.sql("CREATE DATABASE sbtest")
        sysbench(server, "prepare", tables=tables, rows=rows, threads=2)
        server.stop()
        (base / "filled").touch()
    assert data.exists()
    return server


def sysbench(server: LabServer, verb: str, *, tables: int, rows: int, threads: int, seconds: int = 0,
             script: str = "oltp_read_write") -> str:
    """Run sysbench (Debian's package) against a server; its output."""
    if shutil.which("sysbench") is None:
        subprocess.run(["apt-get", "install", "-y", "-q", "sysbench"], check=True, stdout=subprocess.DEVNULL)
    command = [
        "sysbench", script, f"--mysql-socket={server.socket}", "--mysql-user=root", "--mysql-db=sbtest",
        f"--tables={tables}", f"--table-size={rows}", f"--threads={threads}", f"--time={seconds}", "--report-interval=1",
        "--mysql-ignore-errors=all", verb,
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-2000:])
    return done.stdout


def fresh(path: Path) -> Path:
    """An absent directory of this name."""
    shutil.rmtree(path, ignore_errors=True)
    return path


def backup_ours(server: LabServer, to: Path, *more: str) -> list[str]:
    """Our command line of a backup."""
    return [GOLDCOPY, "backup", "--to", str(to), "--socket", str(server.socket), "--user", "root", *more]


def backup_theirs(server: LabServer, to: Path, *more: str, parallel: int = 2) -> list[str]:
    """mariadb-backup's command line of a backup."""
    return [
        server.info.tool("mariadb-backup", "mariabackup"), "--backup", f"--target-dir={to}", f"--socket={server.socket}",
        "--user=root", f"--parallel={parallel}", *more,
    ]


def in_turn(runs: int, contenders: dict[str, Callable[[Figures], None]], before: Callable[[], None]) -> dict[str, Figures]:
    """Run every contender ``runs`` times, taking turns; ``before`` each run."""
    figures = {name: Figures() for name in contenders}
    for _ in range(runs):
        for name, run in contenders.items():
            before()
            run(figures[name])
    return figures


def table(title: str, figures: dict[str, Figures], against: str) -> None:
    """Print one table: medians, ranges, and the ratio of the first contender's to the rest."""
    ours = next(iter(figures))
    print(f"\n{title}")
    print(f"{'':26}{'wall s (range)':>24}{'CPU s':>9}{'RSS MB':>9}{'speed of ours':>15}{'our CPU':>9}")
    for name, f in figures.items():
        spread = f"{f.median_wall:.2f} ({min(f.wall):.2f}-{max(f.wall):.2f})"
        ratio = f"{f.median_wall / figures[ours].median_wall:.2f}x" if name != ours else ""
        cpu = f"{figures[ours].median_cpu / f.median_cpu:.2f}x" if name != ours and f.median_cpu else ""
        print(f"{name:26}{spread:>24}{f.median_cpu:>9.2f}{max(f.rss_mb):>9.0f}{ratio:>15}{cpu:>9}")
    print(f"ratios against {against}; {len(figures[ours].wall)} interleaved runs, medians")
