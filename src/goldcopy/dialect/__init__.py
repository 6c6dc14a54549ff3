"""The table of servers: what is different about each family and version, one row each.

Pure: SQL texts, option lists and parsers over rows; nothing here talks to a server or reads a file. It is the only
place where versions are compared. A new server version is a new row in ``table``.
"""

from goldcopy.dialect.record import Dialect
from goldcopy.dialect.table import ROWS, choose

__all__ = ["ROWS", "Dialect", "choose"]
