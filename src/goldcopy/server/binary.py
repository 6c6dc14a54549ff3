"""Which server binary may touch a backup, and where it is."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator

from goldcopy.dialect import choose
from goldcopy.errors import ServerRefused, Unsupported, UsageError
from goldcopy.formats import Family

_NAMES: dict[Family, tuple[str, ...]] = {"mariadb": ("mariadbd", "mysqld"), "mysql": ("mysqld",)}
_USUAL_DIRS = ("/usr/sbin", "/usr/local/sbin", "/usr/libexec", "/usr/local/mysql/bin", "/opt/mysql/bin")
_BUILT_FOR = ("/usr", "/usr/local")
_BELOW_HOME = ("bin", "sbin", "libexec")
_VERSION_TIMEOUT_S = 30


def binary_version(path: str) -> str:
    """What a server binary calls its version, as one line. Raises Unsupported when it cannot be run."""
    try:
        done = subprocess.run(
            [path, "--no-defaults", "--version"], capture_output=True, text=True, errors="replace",
            timeout=_VERSION_TIMEOUT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as e:
        raise Unsupported(f"{path} cannot be run: {e}", hint="name a server binary with --mysqld") from e
    line = next((text for text in done.stdout.splitlines() if " Ver " in text), "")
    if not line:
        raise Unsupported(
            f"{path} does not tell a server version: {(done.stderr or done.stdout).strip()[:200]}",
            hint="name a mysqld or mariadbd with --mysqld",
        )
    return line


def find_server_binary(
    family: Family, version: str, explicit: str = "", *, force: bool = False, home: str = ""
) -> str:
    """A binary that may recover a backup of ``version``: the ``explicit`` one, else the first that fits.

    Looked for on the PATH, in the usual places, and in ``home``: the source's basedir, which may be on this machine.

    Raises UsageError when the explicit one is not there, Unsupported when none fits (``force``: the explicit one is
    taken whatever its version, of the same family).
    """
    if explicit:
        return _explicit(version, explicit, force)
    refused = []
    for path in _candidates(family, home):
        try:
            objection = _objection(version, path)
        except Unsupported as e:
            objection = e.message
        if not objection:
            return path
        refused.append(f"{path} {objection}")
    raise Unsupported(
        f"no server binary for a backup of {family} {version} was found" + "".join(f"; {r}" for r in refused),
        hint=f"install {family} {version}, or name its server binary with --mysqld",
    )


def home_options(binary: str) -> tuple[str, ...]:
    """What a server must be told that does not lie where it was built for: where its messages are."""
    directory, home = os.path.basename(os.path.dirname(binary)), os.path.dirname(os.path.dirname(binary))
    relocated = directory in _BELOW_HOME and home not in _BUILT_FOR and os.path.isdir(os.path.join(home, "share"))
    return (f"--basedir={home}",) if relocated else ()


def _explicit(version: str, path: str, force: bool) -> str:
    if not os.access(path, os.X_OK) or os.path.isdir(path):
        raise UsageError(f"{path} is not a program", hint="--mysqld takes the path of mysqld or mariadbd")
    objection = _objection(version, path)
    if objection and not force:
        raise Unsupported(
            f"{path} {objection}",
            hint=f"use the server binary of {version}; --force-binary takes this one all the same",
        )
    return os.path.abspath(path)


def _objection(version: str, path: str) -> str:
    try:
        return choose(version, force=True).binary_objection(version, binary_version(path))
    except ServerRefused as e:
        return e.message


def _candidates(family: Family, home: str) -> Iterator[str]:
    """Programs of the right name, each once."""
    seen = set()
    at_home = [os.path.join(home, name) for name in _BELOW_HOME] if os.path.isabs(home) else []
    for directory in (*os.environ.get("PATH", "").split(os.pathsep), *_USUAL_DIRS, *at_home):
        for name in _NAMES[family]:
            path = os.path.join(directory, name)
            real = os.path.realpath(path)
            if directory and real not in seen and os.path.isfile(path) and os.access(path, os.X_OK):
                seen.add(real)
                yield path
