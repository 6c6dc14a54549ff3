"""apt on the side: packages of any Debian suite, resolved against an empty package database, installed nowhere."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
RELEASES = ("sid", "forky", "trixie", "bookworm", "bullseye")
LISTS_FRESH_S = 86400
# maintainer-script helpers that a server in a folder has no use for
_NOT_LIBRARIES = re.compile(r"libperl|lib.*-perl$|lib.*-dev$|libpam-runtime|libc-bin|libc-l10n|lib.*-(common|data)$")


class FetchFailed(Exception):
    """Something could not be had; the message says what and why."""


@dataclass(frozen=True)
class Mirrors:
    """Addresses of the Debian archive and of its security archive, as this machine's own apt has them."""

    main: str
    security: str


def retry(what: str, action, tries: int = 4):  # type: ignore[no-untyped-def]
    """``action()``, again after a pause when it raises FetchFailed: registries stumble."""
    for attempt in range(1, tries):
        try:
            return action()
        except FetchFailed as e:
            print(f"  {what}: try {attempt} failed ({e}), once more in {5 * attempt} s", flush=True)
            time.sleep(5 * attempt)
    return action()


def _entries() -> list[tuple[str, list[str]]]:
    """(address, suites) of every binary source in apt's configuration, both of its formats."""
    etc, found = Path("/etc/apt"), []
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for paragraph in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"(?m)^(URIs|Suites):[ \t]*(.+)$", paragraph))
            found += [(uri, fields.get("Suites", "").split()) for uri in fields.get("URIs", "").split()]
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        if path.exists():
            lines = re.findall(r"(?m)^\s*deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)", path.read_text())
            found += [(uri, [suite]) for uri, suite in lines]
    return found


def mirrors() -> Mirrors:
    """Read the mirror's address from the machine. Raises FetchFailed when its apt knows no Debian archive."""
    main = security = ""
    for uri, suites in _entries():
        names = {s.removesuffix("-updates").removesuffix("-security") for s in suites}
        if not names & {*RELEASES, "stable", "oldstable", "testing", "unstable"}:
            continue
        if any(s.endswith("-security") for s in suites):
            security = security or uri.rstrip("/")
        else:
            main = main or uri.rstrip("/")
    if not main:
        raise FetchFailed("apt on this machine has no Debian archive among its sources")
    return Mirrors(main, security or main + "-security")


@dataclass
class Apt:
    """A private apt: its own lists, cache and sources below ``state``; the system's dpkg is never touched."""

    state: Path
    suites: tuple[str, ...]
    mirror: Mirrors = field(default_factory=mirrors)

    def options(self) -> list[str]:
        """Command line options that keep apt inside ``state``."""
        s = self.state
        pairs = {
            "Dir::State": s, "Dir::State::status": s / "status", "Dir::State::lists": s / "lists",
            "Dir::Cache": s / "cache", "Dir::Etc::sourcelist": s / "sources.list", "Dir::Etc::sourceparts": s / "empty",
            "Dir::Etc::preferences": "/dev/null", "Dir::Etc::preferencesparts": s / "empty",
            "APT::Architecture": "amd64", "APT::Sandbox::User": "root", "Acquire::Languages": "none",
            "APT::Install-Recommends": "false", "Acquire::Check-Valid-Until": "false", "Acquire::Retries": "3",
        }
        return ["-q", *(part for k, v in pairs.items() for part in ("-o", f"{k}={v}"))]

    def run(self, *arguments: str, cwd: Path | None = None) -> str:
        """apt-get's output. Raises FetchFailed with its complaints, addresses left out."""
        done = subprocess.run(
            ["apt-get", *self.options(), *arguments], cwd=cwd, capture_output=True, text=True, check=False
        )
        if done.returncode:
            complaints = [line for line in (done.stdout + done.stderr).splitlines() if line[:2] in ("E:", "W:")]
            raise FetchFailed(re.sub(r"://[^/ ]+", "://MIRROR", "; ".join(complaints[:4])) or "apt-get failed")
        return done.stdout

    def update(self) -> None:
        """Fetch the suites' lists unless they are of today."""
        for folder in ("lists/partial", "cache/archives/partial", "empty"):
            (self.state / folder).mkdir(parents=True, exist_ok=True)
        (self.state / "status").write_text("")
        sources = self.state / "sources.list"
        wanted = "".join(self._source_lines())
        lists = list((self.state / "lists").glob("*Packages*"))
        fresh = lists and time.time() - max(p.stat().st_mtime for p in lists) < LISTS_FRESH_S
        if fresh and sources.exists() and sources.read_text() == wanted:
            return
        sources.write_text(wanted)
        retry("lists of " + ",".join(self.suites), lambda: self.run("update"))
        for path in (self.state / "lists").glob("*Packages*"):
            path.touch()

    def _source_lines(self) -> list[str]:
        lines = []
        for suite in self.suites:
            release = suite.removesuffix("-updates").removesuffix("-security")
            lines.append(f"deb [signed-by={KEYRING}] {self.mirror.main} {release} main\n")
            if suite != release:
                base = self.mirror.security if suite.endswith("-security") else self.mirror.main
                lines.append(f"deb [signed-by={KEYRING}] {base} {suite} main\n")
        return lines

    def closure(self, packages: tuple[str, ...], files: list[Path]) -> list[str]:
        """``name=version`` of the packages and of all libraries that they (and the .deb files) stand on."""
        plan = self.run("-s", "install", *packages, *map(str, files))
        found = []
        for name, origin in re.findall(r"(?m)^Inst (\S+) (?:\[\S+\] )?\((.*)\)", plan):
            if "local-deb" in origin:
                continue
            plain = name.split(":")[0]
            library = plain.startswith(("lib", "zlib1g")) and not _NOT_LIBRARIES.match(plain)
            if plain in packages or library:
                found.append(f"{name}={origin.split()[0]}")
        if not found:
            raise FetchFailed(f"nothing resolved for {packages or files}")
        return sorted(found)

    def download(self, closure: list[str], into: Path) -> list[Path]:
        """The .deb files of a closure."""
        into.mkdir(parents=True, exist_ok=True)
        retry(f"{len(closure)} packages", lambda: self.run("download", *closure, cwd=into))
        files = []
        for item in closure:
            name, version = item.split("=", 1)
            pattern = f"{name.split(':')[0]}_{version.replace(':', '%3a')}_*.deb"
            files += sorted(into.glob(pattern))[:1]
        return files


def pool_file(path: str, sha256: str, into: Path, kept: Path, mirror: Mirrors) -> Path:
    """A package by its path in the mirror's pool, else the copy in ``kept``; its sum is verified either way."""
    into.mkdir(parents=True, exist_ok=True)
    target = into / Path(path).name
    if not (target.exists() and _sum_is(target, sha256)):
        try:
            retry(target.name, lambda: _download(f"{mirror.main}/{path}", target, sha256), tries=2)
        except FetchFailed:
            if not (kept / target.name).exists():
                raise
            shutil.copy(kept / target.name, target)
    if not _sum_is(target, sha256):
        raise FetchFailed(f"{target.name} is not what it should be: its sha256 differs")
    return target


def _sum_is(path: Path, sha256: str) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _download(address: str, target: Path, sha256: str) -> None:
    part = target.with_suffix(".part")
    try:
        with urllib.request.urlopen(address, timeout=60) as answer, part.open("wb") as out:
            shutil.copyfileobj(answer, out)
    except OSError as e:
        raise FetchFailed(f"{target.name}: {getattr(e, 'reason', e)}") from None
    if not _sum_is(part, sha256):
        raise FetchFailed(f"{target.name}: what the mirror sent has another sha256")
    part.rename(target)
