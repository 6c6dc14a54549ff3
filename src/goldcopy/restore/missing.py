"""What a server says of tables that its dictionary knows and a backup does not hold."""

from __future__ import annotations

import re

_ABOUT_MISSING = re.compile(
    r"Operating system error number 2\b|Error number 2 means|the system cannot find the path"
    r"|you must create directories yourself"  # MariaDB 10.5, of a table whose whole database is missing
    r"|Could not find a valid tablespace file|Cannot open datafile|but tablespace with that id or name does not exist"
    r"|could not be opened|Tablespace \d+ was not found at|Attempting to load the tablespace with space id"
)


def is_about_missing_table(line: str) -> bool:
    """Whether a line of the error log is about a table whose file was left out by a filter, or lost before."""
    return bool(_ABOUT_MISSING.search(line))
