"""Which statements keep DDL and commits away, per kind of server (``formats.md`` 4.1)."""

from __future__ import annotations

from typing import Literal

import msgspec
from msgspec.structs import replace

Blocker = Literal["nothing", "ddl", "writes", "all"]

FLUSH_REDO = "FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS"
_ROTATE = "FLUSH NO_WRITE_TO_BINLOG BINARY LOGS"
_FTWRL = "FLUSH TABLES WITH READ LOCK"


class Step(msgspec.Struct, frozen=True):
    """One statement. ``lock``: the name under which its time is reported, "" when it takes no lock.

    ``waits_for``: which running statements can keep it from us, so that only those are ever ended for it: DDL,
    whatever writes or is DDL, or all. ``is_global``: it holds up the whole server, so long statements are worth
    waiting for before it is asked for.
    """

    sql: str
    lock: str = ""
    waits_for: Blocker = "nothing"
    is_global: bool = False


class LockPlan(msgspec.Struct, frozen=True):
    """Statements in order, from the guard that lets work go on to the consistent point, and back.

    ``commit``: everything stands still, files of every engine included. ``commit_innodb``: enough when all user
    tables are InnoDB and the position query itself is atomic; empty where there is no lighter way.
    """

    guard: tuple[Step, ...]
    block_ddl: tuple[Step, ...]
    commit: tuple[Step, ...]
    commit_innodb: tuple[Step, ...]
    release: tuple[str, ...]


BACKUP_STAGES = LockPlan(
    guard=(Step("BACKUP STAGE START", "backup stage", "writes"),),
    block_ddl=(
        Step("BACKUP STAGE FLUSH", "backup stage flush", "writes", is_global=True),
        Step("BACKUP STAGE BLOCK_DDL", "backup stage block_ddl", "writes"),
    ),
    commit=(Step("BACKUP STAGE BLOCK_COMMIT", "backup stage block_commit", "writes"), Step(FLUSH_REDO)),
    commit_innodb=(),
    release=("BACKUP STAGE END",),
)

# The binlog is rotated before the lock: what recovery needs of it (the tail) is then short to copy under the lock
INSTANCE_LOCK = LockPlan(
    guard=(Step("LOCK INSTANCE FOR BACKUP", "instance", "ddl"),),
    block_ddl=(),
    commit=(Step(_ROTATE), Step(_FTWRL, "global read lock", "all", is_global=True), Step(FLUSH_REDO)),
    commit_innodb=(Step(_ROTATE), Step(FLUSH_REDO)),
    release=("UNLOCK TABLES", "UNLOCK INSTANCE"),
)

READ_LOCK = LockPlan(
    guard=(),
    block_ddl=(Step(_FTWRL, "global read lock", "all", is_global=True),),
    commit=(Step(FLUSH_REDO),),
    commit_innodb=(),
    release=("UNLOCK TABLES",),
)
READ_LOCK_WITH_TAIL = replace(READ_LOCK, block_ddl=(Step(_ROTATE), *READ_LOCK.block_ddl))
