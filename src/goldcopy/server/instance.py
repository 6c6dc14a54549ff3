"""One server that we protect: its sessions, its dialect, and where its files are on this host."""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterable
from functools import cached_property

from goldcopy.dialect import Dialect, choose
from goldcopy.errors import GoldcopyError, ServerRefused
from goldcopy.formats import Lsn
from goldcopy.formats.datafiles import data_files
from goldcopy.formats.keys.ring import INNODB_PREFIX, newest
from goldcopy.options import Connection
from goldcopy.server import fileid
from goldcopy.server.facts import ServerFacts, facts_of, key_files
from goldcopy.server.file_rules import as_listed
from goldcopy.server.session import Account, Session, open_session, resolve
from goldcopy.server.sql_errors import number_of

_NEW_REDO_DIR = "#innodb_redo"
# MariaDB 10.8+; others have 2048. A log that is thought too large would be a missed overrun, so this is for all
_LARGEST_LOG_HEADER_BYTES = 12288
_NO_SUCH_TABLE = frozenset({1109, 1146, 1049, 1142, 1044})


class Instance(contextlib.AbstractContextManager["Instance"]):
    """A server, logged in to, whose data directory is proved to be readable here. See ``open_instance``.

    ``variables``: SHOW GLOBAL VARIABLES at the start, lower-case names.
    """

    def __init__(self, account: Account, session: Session, *, force_version: bool) -> None:
        self._account = account
        self.session = session
        self.version = str(session.value("SELECT VERSION()"))
        self.dialect: Dialect = choose(self.version, force=force_version)
        self.variables: dict[str, str] = {
            str(name).lower(): str(value) for name, value in session.rows("SHOW GLOBAL VARIABLES")
        }
        self.datadir = self._find_datadir()
        _prove_local(self)

    @property
    def account(self) -> Account:
        """As whom and where we are logged in."""
        return self._account

    def new_session(self) -> Session:
        """Another connection as the same account; the caller closes it."""
        return open_session(self._account)

    def close(self) -> None:
        """Leave the server."""
        self.session.close()

    def __exit__(self, *exc: object) -> None:
        self.close()

    # -- where its files are ------------------------------------------------------------------------------

    def _find_datadir(self) -> str:
        told = self.variables["datadir"]
        if not os.path.isabs(told):
            # the server works inside its data directory, so what it calls it there need not be resolved
            return os.path.realpath(f"/proc/{self.session.peer_pid() or _pid_in_file(self)}/cwd")
        return os.path.normpath(told)

    def _dir(self, variable: str) -> str:
        """A directory variable as an absolute path; empty or relative means the data directory."""
        value = self.variables.get(variable, "")
        return os.path.normpath(os.path.join(self.datadir, value)) if value not in ("", "NULL") else self.datadir

    @cached_property
    def redo_dir(self) -> str:
        """The directory in which the redo files lie themselves (``#innodb_redo`` where there is one)."""
        home = self._dir("innodb_log_group_home_dir")
        newer = os.path.join(home, _NEW_REDO_DIR)
        return newer if os.path.isdir(newer) else home

    @cached_property
    def undo_dir(self) -> str:
        """Where undo tablespaces lie unless they say otherwise."""
        return self._dir("innodb_undo_directory")

    @cached_property
    def data_home(self) -> str:
        """What relative paths in innodb_data_file_path are relative to."""
        return self._dir("innodb_data_home_dir")

    @cached_property
    def system_files(self) -> tuple[str, ...]:
        """Absolute paths of the system tablespace's files, in order."""
        told = data_files(self.variables.get("innodb_data_file_path", ""))
        return tuple(as_listed(os.path.join(self.data_home, file.path), self.datadir) for file in told)

    @property
    def has_innodb(self) -> bool:
        """Whether the server runs with InnoDB; without it, files of an earlier time may still be there."""
        return "innodb_page_size" in self.variables

    def redo_capacity_bytes(self, session: Session) -> int:
        """How much redo the server keeps before it overwrites: asked now, since it can be changed at run time."""
        variable = self.dialect.redo_capacity_variable
        if variable and self.has_innodb:
            return int(session.value(f"SELECT @@GLOBAL.{variable}"))
        sizes = [
            os.stat(os.path.join(self.redo_dir, name)).st_size - _LARGEST_LOG_HEADER_BYTES
            for name in os.listdir(self.redo_dir)
            if name.startswith("ib_logfile") and name[len("ib_logfile") :].isdigit()
        ]
        return sum(sizes)

    def binlog_path(self, name: str) -> str:
        """Absolute path of a binlog as SHOW MASTER STATUS names it."""
        base = self.variables.get("log_bin_basename", "")
        return os.path.join(os.path.dirname(os.path.join(self.datadir, base)), os.path.basename(name))

    # -- what it is ---------------------------------------------------------------------------------------

    @cached_property
    def identity(self) -> str:
        """Which data this is. Stays over restarts and upgrades in place; another one when the data directory was
        initialised anew, restored, or copied elsewhere.

        The inode and birth time of the first system tablespace file (made once, by initialisation or a restore),
        and the server's uuid where the data carries one. A moved copy is another identity: tablespaces are known
        by inode and birth time too, so an increment could take nothing from the older backup anyway.
        """
        uuid = self.variables.get("server_uuid", "") if self.dialect.server_uuid else ""
        parts = [self.dialect.family, uuid, fileid.identity(self.system_files[0])]
        return "/".join(p for p in parts if p)

    def lsns(self, session: Session) -> tuple[Lsn, Lsn]:
        """(flushed to disk, current) LSN of the redo log."""
        source = self.dialect.lsn
        return source.parse(session.rows(source.sql))

    def plugins(self) -> tuple[str, ...]:
        """Active plugins that came from a library, as ``name=library``, sorted."""
        rows = self.session.rows("SHOW PLUGINS")
        return tuple(sorted(f"{r[0]}={r[3]}" for r in rows if r[1] == "ACTIVE" and r[3]))

    def keyring(self) -> dict[str, str]:
        """What a keyring component says of itself (MySQL 8.0.24+), names in lower case; empty where there is none, or
        no right to ask."""
        try:
            rows = self.session.rows("SELECT STATUS_KEY, STATUS_VALUE FROM performance_schema.keyring_component_status")
        except GoldcopyError as e:
            if number_of(e) in _NO_SUCH_TABLE:
                return {}
            raise
        return {str(k).lower(): str(v) for k, v in rows}

    def master_key(self) -> str:
        """Name of the newest InnoDB master key that this server has made (MySQL 8.0.16+), "" where it tells none."""
        try:
            rows = self.session.rows("SELECT KEY_ID FROM performance_schema.keyring_keys")
        except GoldcopyError as e:
            if number_of(e) in _NO_SUCH_TABLE:
                return ""
            raise
        return newest((str(name) for (name,) in rows), INNODB_PREFIX + self.variables.get("server_uuid", ""))

    def index_sums(self) -> dict[int, int]:
        """Tablespace id -> a number that is another one whenever indexes were built in it (MySQL 8.0+). Needs PROCESS.

        An index that was built shows when its pages are on disk; its number is greater than that of any before it.
        """
        rows = self.session.rows(
            "SELECT SPACE, SUM(INDEX_ID), COUNT(*) FROM information_schema.INNODB_INDEXES GROUP BY SPACE"
        )
        return {int(space): int(total) << 32 | int(count) for space, total, count in rows}

    def owners(self, ids: Iterable[int]) -> dict[int, str]:
        """Of tablespaces with a file of their own below the data directory: id -> path relative to it."""
        sql = self.dialect.owners_sql.format(ids=", ".join(map(str, ids)))
        return {int(space): str(path).removeprefix("./") for space, path in self.session.rows(sql)}

    @cached_property
    def key_files(self) -> frozenset[str]:
        """Absolute paths of files that hold encryption keys, as far as the server tells: never to be copied."""
        return key_files(self.variables, self.keyring(), self.datadir)

    def facts(self) -> ServerFacts:
        """What recovery and later backups must know."""
        return facts_of(self.variables, self.keyring(), self.plugins())


def open_instance(options: Connection, *, force_version: bool = False) -> Instance:
    """Log in, choose the dialect, and make sure that the server's files are the ones on this host.

    Raises ConnectFailed, ServerRefused (unknown version; files not here or not readable), PrivilegeMissing.
    """
    return instance_of(resolve(options), force_version=force_version)


def instance_of(account: Account, *, force_version: bool = False) -> Instance:
    """The same for an account with nothing left to look up."""
    session = open_session(account)
    try:
        return Instance(account, session, force_version=force_version)
    except BaseException:
        session.close()
        raise


def _pid_in_file(instance: Instance) -> int:
    path = os.path.join(instance.variables["datadir"], instance.variables.get("pid_file", ""))
    try:
        with open(path, encoding="ascii") as f:
            return int(f.read().strip() or 0)
    except (OSError, ValueError):
        return 0


def _prove_local(instance: Instance) -> None:
    """Raise ServerRefused unless the data directory here is the very one that the server works in."""
    datadir = instance.datadir
    if not os.path.isdir(datadir):
        raise _not_here(instance, f"the server's data directory {datadir} does not exist on this host")
    try:
        os.listdir(datadir)
        with open(instance.system_files[0], "rb") as f:
            f.read(1)
    except PermissionError as e:
        raise ServerRefused(
            f"{e.filename or datadir} cannot be read", hint="run as the server's account (mostly mysql), or as root"
        ) from e
    except OSError as e:
        raise _not_here(instance, f"{e.filename or datadir}: {e.strerror}") from e
    if _same_uuid(instance) is False or _same_process(instance) is False:
        raise _not_here(instance, f"{datadir} on this host belongs to another server")
    if _same_uuid(instance) or _same_process(instance):
        return
    if instance.variables.get("hostname", "") != socket.gethostname():
        raise _not_here(instance, f"nothing proves that {datadir} here is the data of the server that answered")


def _not_here(instance: Instance, text: str) -> ServerRefused:
    host = instance.variables.get("hostname", "")
    return ServerRefused(
        f"{text} (the server calls its host {host!r})",
        hint="run Goldcopy on the server's own host, where its files are; connect by its unix socket",
    )


def _same_uuid(instance: Instance) -> bool | None:
    """Does ``auto.cnf`` here carry the uuid that the server told? None where there is no such thing."""
    told = instance.variables.get("server_uuid", "")
    try:
        with open(os.path.join(instance.datadir, "auto.cnf"), encoding="ascii", errors="replace") as f:
            text = f.read()
    except OSError:
        return None
    return f"server-uuid={told}" in text.replace(" ", "") if told else None


def _same_process(instance: Instance) -> bool | None:
    """Is the server's working directory the data directory here? (It changes into it.) None if it cannot be seen.

    The process at the other end of our socket proves it either way; the one in the pid file only if it fits, since
    the number may be of a container's own counting.
    """
    peer = _works_in(instance.session.peer_pid(), instance.datadir)
    return peer if peer is not None else _works_in(_pid_in_file(instance), instance.datadir) or None


def _works_in(pid: int, directory: str) -> bool | None:
    try:
        return os.path.samefile(f"/proc/{pid}/cwd", directory) if pid else None
    except OSError:
        return None
