"""One connection to the server, set up so that a long backup can rely on it."""

from __future__ import annotations

import contextlib
import os
import pwd
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from goldcopy.errors import ConnectFailed, UsageError
from goldcopy.options import Connection
from goldcopy.server import option_files
from goldcopy.server.sql_errors import connect_error, statement_error

Row = tuple[Any, ...]
Prompt = Callable[[], str]

GROUPS = ("client", "client-server", "client-mariadb", "goldcopy")
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108
_A_YEAR_S = 31_536_000

# What a session needs, where the server has such a variable: unknown names are left out
_WANTED = {
    "max_statement_time": "0",
    "max_execution_time": "0",
    "wsrep_sync_wait": "0",
    "wsrep_causal_reads": "0",
    "group_replication_consistency": "'EVENTUAL'",
}


@dataclass(frozen=True)
class Account:
    """Where and as whom to log in, with nothing left to look up. ``socket`` empty: TCP."""

    socket: str
    host: str
    port: int
    user: str
    password: str
    ssl_ca: str
    connect_timeout_s: float

    @property
    def where(self) -> str:
        """Socket or host and port, for messages."""
        return self.socket or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Account({self.where}, {self.user!r})"


def resolve(options: Connection, prompt: Prompt | None = None) -> Account:
    """Fill what the user did not give from option files, environment, prompt and the usual places.

    Raises UsageError when the named option file cannot be read, ConnectFailed when no socket is found.
    """
    if options.defaults_file:
        option_files.require(options.defaults_file)
    files = (options.defaults_file,) if options.defaults_file else option_files.default_files()
    found = {name: value or "" for name, value in option_files.read_groups(files, GROUPS)}
    host = options.host or ("" if options.socket or options.port else found.get("host", ""))
    socket = options.socket or ("" if options.port and not options.host else found.get("socket", ""))
    by_tcp = (host not in ("", "localhost") or (options.port and not options.socket)) and not options.socket
    return Account(
        socket="" if by_tcp else socket or _usual_socket(),
        host=host or "127.0.0.1",
        port=options.port or _port(found.get("port", "")),
        user=options.user or found.get("user", "") or pwd.getpwuid(os.getuid()).pw_name,
        password=_password(options, found, prompt),
        ssl_ca=options.ssl_ca or found.get("ssl-ca", ""),
        connect_timeout_s=options.connect_timeout_s,
    )


def _port(text: str) -> int:
    if text and not text.isdigit():
        raise UsageError(f"port {text!r} in an option file is not a number")
    return int(text or 3306)


def _usual_socket() -> str:
    for path in _SOCKETS:
        if os.path.exists(path):
            return path
    raise ConnectFailed(
        "no server's socket was found in the usual places",
        hint="give it with --socket (@@socket in the server), or --host and --port",
    )


def _password(options: Connection, found: dict[str, str], prompt: Prompt | None) -> str:
    if options.password:
        return options.password
    if options.ask_password and prompt is not None:
        return prompt()
    return found.get("password", "") or os.environ.get("MYSQL_PWD", "")


class Session(contextlib.AbstractContextManager["Session"]):
    """A connection in autocommit mode. One statement at a time; usable from several threads in turn."""

    def __init__(self, connection: Any, account: Account) -> None:
        self._connection, self._account = connection, account
        self._lock = threading.Lock()
        self.connection_id: int = connection.thread_id()
        self._prepare()

    def _prepare(self) -> None:
        self.run(
            f"SET SESSION sql_mode = '', wait_timeout = {_A_YEAR_S}, net_write_timeout = 3600, net_read_timeout = 3600"
        )
        self.run("SET NAMES utf8mb4")
        names = ", ".join(f"'{n}'" for n in _WANTED)
        there = [str(r[0]).lower() for r in self.rows(f"SHOW SESSION VARIABLES WHERE Variable_name IN ({names})")]
        if there:
            self.run("SET SESSION " + ", ".join(f"{n} = {_WANTED[n]}" for n in there))

    def set_lock_wait_timeout(self, seconds: float) -> None:
        """How long statements of this session wait for a metadata lock before they fail."""
        self.run(f"SET SESSION lock_wait_timeout = {min(_A_YEAR_S, max(1, round(seconds)))}")

    def rows(self, sql: str) -> list[Row]:
        """All rows of the answer. Raises the error of ours that the failure means."""
        return self._ask(sql)[1]

    def records(self, sql: str) -> list[dict[str, Any]]:
        """All rows of the answer, each by column name."""
        names, rows = self._ask(sql)
        return [dict(zip(names, row, strict=True)) for row in rows]

    def value(self, sql: str) -> Any:
        """First column of the first row, None when there is none."""
        rows = self.rows(sql)
        return rows[0][0] if rows else None

    def run(self, sql: str) -> None:
        """Run a statement whose answer does not matter."""
        self._ask(sql)

    def _ask(self, sql: str) -> tuple[list[str], list[Row]]:
        import pymysql

        try:
            with self._lock, self._connection.cursor() as cursor:
                cursor.execute(sql)
                names = [str(column[0]) for column in cursor.description or ()]
                return names, list(cursor.fetchall())
        except (pymysql.err.Error, pymysql.err.Warning, OSError, AttributeError) as e:
            # PyMySQL's cursor loses its connection (AttributeError) when another thread closes it
            raise statement_error(e, _short(sql)) from e

    def kill_query(self, connection_id: int) -> None:
        """End the statement that another connection runs."""
        self.run(f"KILL QUERY {connection_id}")

    def peer_pid(self) -> int:
        """Process id of the server at the other end of a unix socket; 0 where it cannot be seen."""
        import socket as sockets
        import struct

        raw = getattr(self._connection, "_sock", None)
        if not self._account.socket or raw is None:
            return 0
        try:
            answer = raw.getsockopt(sockets.SOL_SOCKET, sockets.SO_PEERCRED, struct.calcsize("3i"))
        except (OSError, AttributeError):
            return 0
        return int(struct.unpack("3i", answer)[0])

    @property
    def is_local(self) -> bool:
        """Connected through a unix socket."""
        return bool(self._account.socket)

    def close(self) -> None:
        """Leave the server; harmless when the connection is gone."""
        try:
            self._connection.close()
        except Exception:  # there is nothing left to lose
            self._connection._force_close()

    def __exit__(self, *exc: object) -> None:
        self.close()


def _short(sql: str) -> str:
    return sql if len(sql) <= 120 else sql[:117] + "..."


def open_session(account: Account) -> Session:
    """Log in. Raises ConnectFailed."""
    import pymysql

    try:
        connection = pymysql.connect(
            unix_socket=account.socket or None,
            host=account.host,
            port=account.port,
            user=account.user,
            password=account.password,
            charset="utf8mb4",
            autocommit=True,
            connect_timeout=max(1, round(account.connect_timeout_s)),
            ssl={"ca": account.ssl_ca} if account.ssl_ca and not account.socket else None,
        )
    except (pymysql.err.Error, OSError, RuntimeError) as e:
        # RuntimeError: PyMySQL lacks a package that an authentication method needs
        raise connect_error(e, account.where, account.user) from e
    try:
        return Session(connection, account)
    except BaseException:
        connection.close()
        raise


def connect(options: Connection, *, prompt: Prompt | None = None) -> Session:
    """Log in as ``options`` say, with what they leave open taken from option files, environment and prompt."""
    return open_session(resolve(options, prompt))
