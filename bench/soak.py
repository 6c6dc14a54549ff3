"""Hours of random seeds: chains of backups of a random server under a random load, each restore point judged.

    scripts/bench soak [--hours 2] [--seed N] [--on NAME]

Some chains are taken under the peers' names: into directories or through streams, compressed and encrypted where the
name knows that, by the base's directory or its LSN; prepared as their manuals say, and judged at their last point.
A failure prints its seed; ``--seed N --on NAME`` runs that one alone.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from lab import catalogue, fetch, fronts, program, schema
from lab.load import Load
from lab.oracle import check_restored, snapshot
from lab.server import LabServer, kill_all, scratch

WRITERS = ("bank", "rows", "misc", "burn", "ddl", "ddl", "giant")
KEY = "0123456789abcdef0123456789abcdef"


@dataclass(frozen=True)
class Plan:
    """What a seed stands for."""

    server: str
    init: tuple[str, ...]
    options: tuple[str, ...]
    writers: tuple[str, ...]
    pace: float
    backups: int
    parallel: int
    throttle_mb: int
    killed: bool
    front: bool


def plan_of(seed: int, server: str = "") -> Plan:
    """The Plan of a seed; the same on every machine."""
    rng = random.Random(seed)
    chosen = rng.choice([s.name for s in catalogue.SERVERS if fetch.is_there(s)] or [catalogue.SERVERS[0].name])
    page = rng.choice(["16k", "16k", "4k", "8k", "32k", "64k"])
    name = server or chosen
    if name == "mysql-5.6" and page in ("32k", "64k"):
        page = "16k"
    flush = rng.choice([0, 1, 1, 2])
    return Plan(
        name, (f"--innodb-page-size={page}",), (f"--innodb-flush-log-at-trx-commit={flush}", "--myisam-recover-options=FORCE"),
        ("bank", *rng.choices(WRITERS, k=5)), rng.choice([0.5, 1.0, 1.5]), rng.randint(2, 5), rng.choice([1, 2, 4]),
        rng.choice([8, 15, 40, 0]),
        # with 0 a killed server loses commits that its binlog has: then its own binlog does not fit its own data
        killed=flush != 0 and rng.random() < 0.3,
        front=rng.random() < 0.4,
    )


def run(seed: int, plan: Plan, folder: Path) -> None:
    """One chain. Raises Lost, or whatever went wrong."""
    rng = random.Random(seed + 1)
    with LabServer(plan.server, folder / "source", plan.options, init=plan.init).create() as source:
        source.start()
        schema.setup(source, seed)
        chain: list[Path] = []
        for n in range(plan.backups):
            with Load(source, seed + n, plan.writers, plan.pace) as load:
                load.go_on(rng.uniform(0.5, 6))
                (take_by_front if plan.front else take)(source, plan, rng, folder / f"b{n}", chain)
                chain.append(folder / f"b{n}")
                load.go_on(rng.uniform(0, 2))
            if plan.killed and rng.random() < 0.5:
                source.kill9()
                source.start()
        want = snapshot(source)
        if plan.front:
            at = fronts.point_of(chain[-1])
            with fronts.copied_back(source, fronts.prepare_chain(source, chain), folder / "r") as restored:
                check_restored(want, restored, at, source.binlogs(), source=source)
            return
        for n, backup in enumerate(chain):
            program.run("check", str(backup))
            with program.restore(source, backup, folder / f"r{n}") as restored:
                restored.start("--innodb-flush-log-at-trx-commit=0", "--sync-binlog=0")
                check_restored(want, restored, program.point(backup), source.binlogs(), source=source)
            shutil.rmtree(folder / f"r{n}")


def take(source: LabServer, plan: Plan, rng: random.Random, to: Path, chain: list[Path]) -> None:
    """A backup against any earlier one."""
    based = rng.choice(chain) if chain else None
    program.backup(source, to, based, "--parallel", str(plan.parallel), "--throttle-mb", str(plan.throttle_mb))


def take_by_front(source: LabServer, plan: Plan, rng: random.Random, to: Path, chain: list[Path]) -> None:
    """A backup against the last one, under the peers' names."""
    more = [f"--parallel={plan.parallel}"]
    if chain:
        facts = dict(line.split(" = ") for line in next(chain[-1].glob("*_checkpoints")).read_text().splitlines())
        more.append(rng.choice([f"--incremental-basedir={chain[-1]}", f"--incremental-lsn={facts['to_lsn']}"]))
    if rng.random() < 0.4:
        fronts.back_up(source, to, *more)
        return
    packed = [] if source.mariadb or rng.random() < 0.5 else ["--compress=zstd", "--encrypt=AES256", f"--encrypt-key={KEY}"]
    stream = to.with_suffix(".stream")
    with stream.open("wb") as out:
        fronts.back_up(source, to.with_suffix(".tmp"), "--stream=xbstream", *packed, *more, stdout=out)
    to.mkdir()
    unpack = ["--decompress", "--decrypt=AES256", f"--encrypt-key={KEY}"] if packed else []
    with stream.open("rb") as back:
        fronts.ours("xbstream", "-x", "-C", str(to), *unpack, stdin=back)
    stream.unlink()


def attempt(seed: int, server: str) -> bool:
    """Run a seed; whether it passed. The data of a failure is kept."""
    plan, folder, started = plan_of(seed, server), scratch(), time.monotonic()
    try:
        run(seed, plan, folder)
    except Exception:
        traceback.print_exc()
        print(f"FAILED seed {seed}: {plan}\n  data kept in {folder}\n"
              f"  again: scripts/bench soak --seed {seed} --on {plan.server}", flush=True)
        return False
    finally:
        kill_all()
    shutil.rmtree(folder, ignore_errors=True)
    print(f"passed seed {seed}: {plan.server} {' '.join(plan.init)}, {plan.backups} backups"
          f"{' under the name of a peer' if plan.front else ''}, {time.monotonic() - started:.0f} s", flush=True)
    return True


def main() -> int:
    """Run seeds until the time is over, or the given one."""
    parser = argparse.ArgumentParser(description="Random chains of backups, each restore point judged by the oracle.")
    parser.add_argument("--hours", type=float, default=2.0)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--on", default="", metavar="NAME")
    given = parser.parse_args()
    if given.seed is not None:
        return int(not attempt(given.seed, given.on))
    first = random.SystemRandom().randrange(10**6)
    until, passed, failed, seed = time.monotonic() + given.hours * 3600, 0, [], first
    while time.monotonic() < until:
        if attempt(seed, given.on):
            passed += 1
        else:
            failed.append(seed)
        seed += 1
    print(f"soak: {passed} passed, {len(failed)} failed{': seeds ' + str(failed) if failed else ''}")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
