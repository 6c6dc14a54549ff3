"""One row of the table of servers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from goldcopy.dialect import recovery
from goldcopy.dialect.locking import LockPlan
from goldcopy.dialect.lsn import LsnSource
from goldcopy.dialect.position import PositionSource, ReplicaWords
from goldcopy.dialect.privileges import Need
from goldcopy.dialect.recovery import RecoveryPlan, RecoveryTask
from goldcopy.dialect.version import parse
from goldcopy.errors import ServerRefused
from goldcopy.formats import Family, Lsn


class Dialect(msgspec.Struct, frozen=True, kw_only=True):
    """What is different about the servers of one family from version ``since`` on, up to the next newer row.

    ``tested``: this project's tests run on such a server. ``redo_layouts``: keys of ``formats.redo`` that may be
    found in its redo log. ``redo_size_setting``: the variable that makes the redo log larger.
    ``redo_capacity_variable``: the variable that holds the size of the whole log in bytes, "" = the sum of its files.
    ``locks``, ``lsn``, ``position``, ``replica``, ``needs``, ``recovery``: see their types.
    ``binlog_tail``: recovery needs the end of the current binlog to decide transactions in doubt.
    ``redo_consumer``: the server keeps redo for who registers (formats.md 7). ``binlog_in_innodb``: InnoDB remembers
    the binlog position of its last commit, and tells it when it recovers. ``legacy_checksums``: pages carry
    the ``innodb`` checksum by default. ``remote_files_sql``: lists tablespace files outside the data directory (one
    column, absolute paths), "" where ``.isl`` files tell. ``owners_sql``: lists ids of tablespaces, and their files
    (``./db/table.ibd``), of those ``{ids}``. ``server_uuid``: the server's data has a uuid of its own.
    ``renames_by_name``: its recovery replays renames of files by name, whatever they have become since.
    ``signs_certificate``: it proves its certificate to who logs in with a password, and its own clients verify that by
    default (MDEV-31857).
    ``exact_binary``: only a binary of the very same version may touch the files, since another one upgrades them.
    """

    name: str
    family: Family
    since: tuple[int, ...]
    tested: bool = False
    redo_layouts: frozenset[str]
    redo_size_setting: str = "innodb_log_file_size"
    redo_capacity_variable: str = ""
    locks: LockPlan
    lsn: LsnSource
    position: PositionSource
    replica: ReplicaWords
    needs: tuple[Need, ...]
    recovery: RecoveryPlan
    binlog_tail: bool = False
    redo_consumer: bool = False
    binlog_in_innodb: bool = False
    legacy_checksums: bool = False
    remote_files_sql: str = ""
    owners_sql: str
    server_uuid: bool = False
    exact_binary: bool = False
    renames_by_name: bool = False
    signs_certificate: bool = False

    def check_redo_layout(self, layout: str) -> None:
        """Raises ServerRefused when the redo log on disk is not one that such a server writes."""
        if layout not in self.redo_layouts:
            raise ServerRefused(
                f"the redo log has layout {layout}, which is not what {self.name} writes",
                hint="the log directory belongs to another server, or this version of the server is unknown",
            )

    def recovery_options(
        self,
        variables: Mapping[str, str],
        *,
        log_bytes: int,
        log_files: int,
        memory_bytes: int,
        binlog: str = "",
        system_files: Sequence[str] = (),
        undo_directory: str = "",
        directories: Sequence[str] = (),
    ) -> list[str]:
        """Options for the recovering server, besides the data directory, socket and log. See ``RecoveryTask``."""
        return self.recovery.options(
            RecoveryTask(
                variables=variables, log_bytes=log_bytes, log_files=log_files, memory_bytes=memory_bytes,
                binlog=binlog, system_files=system_files, undo_directory=undo_directory, directories=directories,
            )
        )

    def log_errors(self, text: str) -> list[str]:
        """The lines of a recovering server's log that report an error."""
        return recovery.log_errors(self.recovery, text)

    def recovered_lsn(self, text: str) -> Lsn | None:
        """The LSN at which the server's scan of the redo log ended; None when its log does not tell."""
        return recovery.recovered_lsn(self.recovery, text)

    def recovered_binlog(self, text: str) -> tuple[str, int]:
        """The binlog file and position that InnoDB remembers, ("", 0) when the log tells none."""
        return recovery.recovered_binlog(self.recovery, text)

    def binary_objection(self, backup: str, binary: str) -> str:
        """Why a binary of version ``binary`` must not touch a backup of version ``backup``; "" when it may.

        A newer MySQL 8+ upgrades the data dictionary, an older one refuses or harms it. MariaDB and MySQL before 8
        keep their formats within a series.
        """
        taken, offered = parse(backup), parse(binary)
        if taken.family != offered.family:
            return f"is {offered.family}, the backup is of {taken.family}"
        if taken.series != offered.series:
            return f"is {offered}, the backup is of {taken.series}"
        if self.exact_binary and taken != offered:
            return f"is {offered}, the backup is of {taken} (it would upgrade or damage the data dictionary)"
        return ""
