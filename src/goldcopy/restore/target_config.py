"""Does the configuration that the restored server will be started with fit the backup?

Some variables are fixed when a data directory is made: a server configured otherwise does not start on it, or
starts and does not find half of it. Better to hear that before a terabyte is copied.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from goldcopy.errors import TargetRefused
from goldcopy.image.manifest import Manifest
from goldcopy.server.option_files import read_groups, require

_GROUPS = ("mysqld", "server", "mariadb", "mariadbd")
_FIXED = ("innodb_page_size", "lower_case_table_names", "innodb_data_file_path")
"""A server with another value does not start on the data, or loses names of it."""

_UNITS = {"k": 1 << 10, "m": 1 << 20, "g": 1 << 30}


def check_configuration(manifest: Manifest, defaults_file: str) -> None:
    """Raise TargetRefused, naming every variable, when a server with this option file would not run on the backup."""
    require(defaults_file)
    wanted = {
        name.lower().replace("-", "_").removeprefix("loose_"): value
        for name, value in read_groups([defaults_file], _GROUPS)
    }
    wrong = objections(manifest.server.variables, wanted)
    if wrong:
        raise TargetRefused(
            f"{defaults_file} does not fit the backup: " + "; ".join(wrong),
            hint="set these variables to the backup's values before a server is started on it",
        )


def objections(taken: Mapping[str, str], wanted: Mapping[str, str | None]) -> list[str]:
    """What of a configuration contradicts the variables of a backup's source."""
    out = []
    for name in _FIXED:
        have, want = taken.get(name), wanted.get(name)
        if have and want and _plain(have) != _plain(want):
            out.append(f"{name} is {want}, the backup has {have}")
    return out


def _plain(value: str) -> str:
    """One spelling for one value: sizes in bytes, files of a path list by name only (they go where they are told)."""
    value = value.strip().lower()
    number = re.fullmatch(r"(\d+)([kmg])", value)
    if number:
        return str(int(number[1]) * _UNITS[number[2]])
    return ";".join(part.rpartition("/")[2] for part in value.split(";"))
