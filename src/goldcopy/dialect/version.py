"""Version strings as servers and binaries tell them."""

from __future__ import annotations

import re

import msgspec

from goldcopy.errors import ServerRefused
from goldcopy.formats import Family

# Old MariaDB servers put this before their version, for clients that knew nothing above 5
_REPLICATION_PREFIX = "5.5.5-"
_NUMBERS = re.compile(r"(\d+)\.(\d+)(?:\.(\d+))?")


class Version(msgspec.Struct, frozen=True):
    """A family and three numbers, which compare as numbers do."""

    family: Family
    numbers: tuple[int, int, int]

    @property
    def series(self) -> str:
        """``10.11``, ``8.0``: what a distribution calls the version."""
        return f"{self.numbers[0]}.{self.numbers[1]}"

    def __str__(self) -> str:
        return ".".join(map(str, self.numbers))


def parse(text: str) -> Version:
    """Read ``10.11.19-MariaDB-0+deb12u1``, ``8.0.45-1``, or the line that ``mysqld --version`` prints.

    Raises ServerRefused on a text without numbers.
    """
    family: Family = "mariadb" if "mariadb" in text.lower() else "mysql"
    _, _, after_ver = text.rpartition(" Ver ")
    body = after_ver.strip().removeprefix(_REPLICATION_PREFIX) if family == "mariadb" else after_ver.strip()
    found = _NUMBERS.search(body)
    if found is None:
        raise ServerRefused(f"the server's version {text!r} cannot be understood")
    major, minor, patch = found.groups()
    return Version(family, (int(major), int(minor), int(patch or 0)))
