"""Pure bytes <-> values: pages, redo, deltas, streams. No I/O, no clock, no server.

One module per on-disk *layout*, none per server version; ``dialect`` maps versions to layouts.
"""

from collections.abc import Callable
from typing import Literal, NewType, TypeAlias

Lsn = NewType("Lsn", int)
SpaceId = NewType("SpaceId", int)
PageNo = NewType("PageNo", int)

Bytes: TypeAlias = bytes | bytearray | memoryview
"""Raw data, whoever owns it."""

ReadAt: TypeAlias = Callable[[int, int], bytes]
"""(offset, length) -> bytes of something stored; fewer at its end."""

Family = Literal["mariadb", "mysql"]
