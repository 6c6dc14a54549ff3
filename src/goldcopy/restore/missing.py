"""What a server says of tables that its dictionary knows and a backup does not hold."""

from __future__ import annotations

import re
from collections.abc import Set

_ABOUT_MISSING = re.compile(
    r"Operating system error number 2\b|Error number 2 means|the system cannot find the path"
    r"|you must create directories yourself"  # MariaDB 10.5, of a table whose whole database is missing
    r"|Could not find a valid tablespace file|Cannot open datafile|but tablespace with that id or name does not exist"
    r"|could not be opened|Tablespace \d+ was not found at|Attempting to load the tablespace with space id"
)

_WITHOUT_TABLESPACE = re.compile(
    r"Table (?P<table>.+) in the InnoDB data dictionary has tablespace id (?P<id>\d+), but tablespace with that id or "
    r"name does not exist"
)


def is_about_missing_table(line: str) -> bool:
    """Whether a line of the error log is about a table whose file was left out by a filter, or lost before."""
    return bool(_ABOUT_MISSING.search(line))


def missing_before(line: str, backed_up: Set[int]) -> str:
    """The table, when a line of the error log is about one whose tablespace the source did not have either.

    ``backed_up``: ids of the tablespaces in the backup. MySQL 5.6 keeps in its dictionary what a crash left of
    temporary tables, and tables whose file is gone (dict0load.cc, dict_check_tablespaces_and_store_max_id).
    """
    found = _WITHOUT_TABLESPACE.search(line)
    return found["table"] if found and int(found["id"]) not in backed_up else ""
