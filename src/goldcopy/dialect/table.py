"""The rows, newest first. An unknown newer server is refused unless the user forces it."""

from __future__ import annotations

from msgspec.structs import replace

from goldcopy.dialect import locking, lsn, position, privileges, recovery
from goldcopy.dialect.record import Dialect
from goldcopy.dialect.version import parse
from goldcopy.errors import ServerRefused
from goldcopy.formats import Family

# The first version of each family about which nothing is known
_UNKNOWN_FROM: dict[Family, tuple[int, ...]] = {"mysql": (9, 8), "mariadb": (11, 9)}

# File per table in the data directory is relative; only what lies elsewhere is asked for
_MYSQL_REMOTE = (
    "SELECT FILE_NAME FROM INFORMATION_SCHEMA.FILES WHERE ENGINE = 'InnoDB' AND FILE_NAME LIKE '/%'"
    " AND FILE_TYPE <> 'TEMPORARY'"
)

# an id is text in INNODB_DATAFILES
_MYSQL_OWNERS = "SELECT SPACE, PATH FROM INFORMATION_SCHEMA.INNODB_DATAFILES WHERE SPACE IN ({ids})"
_OLD_MYSQL_OWNERS = "SELECT SPACE, PATH FROM INFORMATION_SCHEMA.INNODB_SYS_DATAFILES WHERE SPACE IN ({ids})"
_MARIADB_OWNERS = (
    "SELECT SPACE, CONCAT('./', NAME, '.ibd') FROM INFORMATION_SCHEMA.INNODB_SYS_TABLESPACES WHERE SPACE IN ({ids})"
)

_MYSQL_9 = Dialect(
    name="mysql-9",
    family="mysql",
    since=(9, 0),
    tested=True,
    redo_layouts=frozenset({"R8030"}),
    redo_size_setting="innodb_redo_log_capacity",
    redo_capacity_variable="innodb_redo_log_capacity",
    locks=locking.INSTANCE_LOCK,
    lsn=lsn.MYSQL_STATUS,
    position=position.LOG_STATUS,
    replica=position.REPLICA,
    needs=privileges.with_history(privileges.MYSQL_80, privileges.OLD_HISTORY),
    recovery=recovery.MYSQL_80,
    binlog_tail=True,
    redo_consumer=True,
    remote_files_sql=_MYSQL_REMOTE,
    owners_sql=_MYSQL_OWNERS,
    server_uuid=True,
    exact_binary=True,
)
_MYSQL_80 = replace(_MYSQL_9, name="mysql-8.0", since=(8, 0, 30))
_MYSQL_80_OLD = replace(
    _MYSQL_80,
    name="mysql-8.0-old-redo",
    since=(8, 0, 11),
    tested=False,
    redo_layouts=frozenset({"R57"}),
    redo_size_setting="innodb_log_file_size",
    redo_capacity_variable="",
    lsn=lsn.ENGINE_STATUS,
    replica=position.SLAVE_CHANNELS,
    recovery=recovery.MYSQL_80_OLD,
    redo_consumer=False,
)
_MYSQL_57 = replace(
    _MYSQL_80_OLD,
    name="mysql-5.7",
    since=(5, 7, 9),
    locks=locking.READ_LOCK_WITH_TAIL,
    position=position.MASTER_STATUS,
    needs=privileges.with_history(privileges.OLD_REPLICATION, privileges.OLD_HISTORY),
    recovery=recovery.MYSQL_57,
    binlog_in_innodb=True,
    remote_files_sql="",
    owners_sql=_OLD_MYSQL_OWNERS,
    exact_binary=False,
)
_MYSQL_56 = replace(
    _MYSQL_57,
    name="mysql-5.6",
    since=(5, 6),
    tested=True,
    redo_layouts=frozenset({"R56"}),
    locks=locking.READ_LOCK,
    replica=position.SLAVE_SINGLE,
    recovery=recovery.MYSQL_56,
    binlog_tail=False,
    renames_by_name=True,
    legacy_checksums=True,
)

_MARIADB_118 = Dialect(
    name="mariadb-11.8",
    family="mariadb",
    since=(11, 5),
    tested=True,
    redo_layouts=frozenset({"R108"}),
    locks=locking.BACKUP_STAGES,
    lsn=lsn.MARIADB_STATUS,
    position=position.MARIADB_STATUS,
    replica=position.SLAVE_MARIADB,
    needs=privileges.with_history(privileges.MARIADB_105, privileges.MARIADB_HISTORY),
    recovery=recovery.MARIADB_108,
    binlog_in_innodb=True,
    signs_certificate=True,
    owners_sql=_MARIADB_OWNERS,
)
_MARIADB_114 = replace(_MARIADB_118, name="mariadb-11.4", since=(11, 4), tested=False)
_MARIADB_110 = replace(_MARIADB_114, name="mariadb-11.0", since=(11, 0), signs_certificate=False)
_MARIADB_1011 = replace(_MARIADB_110, name="mariadb-10.11", since=(10, 11), tested=True)
_MARIADB_108 = replace(
    _MARIADB_1011,
    name="mariadb-10.8",
    since=(10, 8),
    tested=False,
    needs=privileges.with_history(privileges.MARIADB_105, privileges.OLD_HISTORY),
)
_MARIADB_106 = replace(
    _MARIADB_108,
    name="mariadb-10.6",
    since=(10, 6),
    redo_layouts=frozenset({"R105"}),
    recovery=recovery.MARIADB_105,
)
_MARIADB_105 = replace(_MARIADB_106, name="mariadb-10.5", since=(10, 5), tested=True)
_MARIADB_104 = replace(
    _MARIADB_105,
    name="mariadb-10.4",
    since=(10, 4, 2),
    tested=False,
    redo_layouts=frozenset({"R57"}),
    lsn=lsn.ENGINE_STATUS,
    needs=privileges.with_history(privileges.OLD_REPLICATION, privileges.OLD_HISTORY),
    recovery=recovery.MARIADB_102,
)
_MARIADB_102 = replace(_MARIADB_104, name="mariadb-10.2", since=(10, 2, 6), locks=locking.READ_LOCK)

ROWS: tuple[Dialect, ...] = (
    _MYSQL_9,
    replace(_MYSQL_80, name="mysql-8.4", since=(8, 1), tested=False),
    _MYSQL_80,
    _MYSQL_80_OLD,
    _MYSQL_57,
    _MYSQL_56,
    _MARIADB_118,
    _MARIADB_114,
    _MARIADB_110,
    _MARIADB_1011,
    _MARIADB_108,
    _MARIADB_106,
    _MARIADB_105,
    _MARIADB_104,
    _MARIADB_102,
)


def choose(version: str, *, force: bool = False) -> Dialect:
    """The row for a server that calls itself ``version``.

    Raises ServerRefused for a newer server than this program knows, unless ``force`` (then the newest row of its
    family serves), and for one that is too old.
    """
    found = parse(version)
    if found.numbers >= _UNKNOWN_FROM[found.family] and not force:
        raise ServerRefused(
            f"{found.family} {found} is newer than this program knows",
            hint="use a newer Goldcopy; --force-version goes on as if it were the newest known server",
        )
    for row in ROWS:
        if row.family == found.family and found.numbers >= row.since:
            return row
    oldest = [r for r in ROWS if r.family == found.family][-1]
    raise ServerRefused(
        f"{found.family} {found} is older than the oldest known ({'.'.join(map(str, oldest.since))})",
        hint="take a logical backup of it, or upgrade it",
    )
