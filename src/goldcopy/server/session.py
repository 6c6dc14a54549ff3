"""One connection to the server, set up so that a long backup can rely on it."""

from __future__ import annotations

import contextlib
import os
import pwd
import threading
from typing import TYPE_CHECKING, Any

import msgspec

from goldcopy.errors import ConnectFailed, GoldcopyError, ServerRefused, UsageError
from goldcopy.options import Connection
from goldcopy.server import option_files
from goldcopy.server.sql_errors import connect_error, statement_error

if TYPE_CHECKING:
    import ssl

Row = tuple[Any, ...]

GROUPS = ("client", "client-server", "client-mariadb", "goldcopy")
_SOCKETS = ("/run/mysqld/mysqld.sock", "/var/run/mysqld/mysqld.sock", "/var/lib/mysql/mysql.sock", "/tmp/mysql.sock")  # noqa: S108
_A_YEAR_S = 31_536_000

# What a session needs, where the server has such a variable: unknown names are left out. The server's init_connect
# may have set anything, and a global sql_mode may change what a quote or a backslash means.
_WANTED = {
    "autocommit": "1",
    "sql_mode": "''",
    "max_statement_time": "0",
    "max_execution_time": "0",
    "wsrep_sync_wait": "0",
    "wsrep_causal_reads": "0",
    "group_replication_consistency": "'EVENTUAL'",
}


class Tls(msgspec.Struct, frozen=True, kw_only=True):
    """TLS as it is asked for; files and directories as OpenSSL takes them, "" = none.

    ``off``: none at all, though the server offers it. ``required``: no connection without. ``verify``: the certificate
    must lead to one of our CAs; ``identity``: and name the host. ``as_server``: that too, where the server is one whose
    own clients do so by default; its version is what its greeting says. ``proof``: where no CA is named, a server may
    prove its certificate by the password instead. ``versions``: as in --tls-version, comma separated.
    """

    off: bool = False
    required: bool = False
    verify: bool = False
    identity: bool = False
    as_server: bool = False
    proof: bool = False
    ca: str = ""
    capath: str = ""
    cert: str = ""
    key: str = ""
    cipher: str = ""
    crl: str = ""
    crlpath: str = ""
    versions: str = ""

    def context(self, *, identity: bool | None = None) -> ssl.SSLContext:
        """What the connection is wrapped in. ``identity``: instead of what was asked for.

        Raises UsageError for files that cannot be used.
        """
        import ssl

        named = self.identity if identity is None else identity
        try:
            context = ssl.create_default_context(cafile=self.ca or None, capath=self.capath or None)
            context.check_hostname = named
            context.verify_mode = ssl.CERT_REQUIRED if self.verify or named else ssl.CERT_NONE
            if self.cert:
                context.load_cert_chain(self.cert, self.key or None)
            if self.cipher:
                context.set_ciphers(self.cipher)
            if self.crl or self.crlpath:
                context.load_verify_locations(self.crl or None, self.crlpath or None)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
            if self.versions:
                names = sorted(v.strip().replace("v1.", "v1_") for v in self.versions.split(","))
                context.minimum_version = ssl.TLSVersion[names[0]]
                context.maximum_version = ssl.TLSVersion[names[-1]]
        except (OSError, ValueError, KeyError) as e:
            raise UsageError(f"the TLS options cannot be followed: {e}", hint="look at the --ssl-* options") from e
        return context


class Account(msgspec.Struct, frozen=True):
    """Where and as whom to log in, with nothing left to look up. ``socket`` empty: TCP. ``server_key``: the
    server's RSA public key, "" = ask it.
    """

    socket: str
    host: str
    port: int
    user: str
    password: str
    ssl_ca: str
    connect_timeout_s: float
    tls: Tls | None = None
    server_key: str = ""

    @property
    def where(self) -> str:
        """Socket or host and port, for messages."""
        return self.socket or f"{self.host}:{self.port}"

    def __repr__(self) -> str:
        return f"Account({self.where}, {self.user!r})"


def resolve(options: Connection) -> Account:
    """Fill what the user did not give from option files, environment and the usual places.

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
        socket="" if by_tcp else socket or usual_socket(),
        host=host or "127.0.0.1",
        port=options.port or _port(found.get("port", "")),
        user=options.user or found.get("user", "") or own_name(),
        password=_password(options, found),
        ssl_ca=options.ssl_ca or found.get("ssl-ca", ""),
        connect_timeout_s=options.connect_timeout_s,
    )


def own_name() -> str:
    """The name of whoever runs this, as the account to log in as. Raises UsageError where the system knows none."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        raise UsageError(
            f"user {os.getuid()} has no name on this machine, and no account to log in as was given",
            hint="name the account with --user, or in an option file",
        ) from None


def _port(text: str) -> int:
    if text and not text.isdigit():
        raise UsageError(f"port {text!r} in an option file is not a number")
    return int(text or 3306)


def usual_socket() -> str:
    """The first socket in the usual places. Raises ConnectFailed when there is none."""
    for path in _SOCKETS:
        if os.path.exists(path):
            return path
    raise ConnectFailed(
        "no server's socket was found in the usual places",
        hint="give it with --socket (@@socket in the server), or --host and --port",
    )


def _password(options: Connection, found: dict[str, str]) -> str:
    return options.password or found.get("password", "") or os.environ.get("MYSQL_PWD", "")


class Session(contextlib.AbstractContextManager["Session"]):
    """A connection in autocommit mode. One statement at a time; usable from several threads in turn."""

    def __init__(self, connection: Any, account: Account) -> None:
        self._connection, self._account = connection, account
        self._lock = threading.Lock()
        self._cut_short = False
        self._left_for: GoldcopyError | None = None
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

        if self._left_for:
            raise ServerRefused(f"the connection was given up: {self._left_for.message}", hint=self._left_for.hint)
        if self._cut_short:
            raise ServerRefused(f"{_short(sql)}: an earlier statement of this connection was cut short")
        try:
            with self._lock, self._connection.cursor() as cursor:
                cursor.execute(sql)
                names = [str(column[0]) for column in cursor.description or ()]
                return names, list(cursor.fetchall())
        except (pymysql.err.Error, pymysql.err.Warning, OSError, AttributeError) as e:
            # PyMySQL's cursor loses its connection (AttributeError) when another thread closes it
            raise statement_error(e, _short(sql)) from e
        except BaseException:
            # a signal: the answer is still to come, so that nothing more can be asked on this connection
            self._cut_short = True
            raise

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

    def close(self, reason: GoldcopyError | None = None) -> None:
        """Leave the server; harmless when the connection is gone. ``reason``: what later statements fail with.

        After a signal the statement may still wait in the server for a lock, and hold up everybody behind it, since
        the server does not notice that we left: it is killed from another connection.
        """
        self._left_for = reason
        if self._cut_short:
            self._cut_short = False
            self._kill_from_outside()
        try:
            self._connection.close()
        except Exception:  # there is nothing left to lose
            self._connection._force_close()

    def _kill_from_outside(self) -> None:
        try:
            with open_session(self._account) as other:
                other.run(f"KILL {self.connection_id}")
        except GoldcopyError:
            pass  # it is gone already, or so is the server

    def __exit__(self, *exc: object) -> None:
        self.close()


def _short(sql: str) -> str:
    return sql if len(sql) <= 120 else sql[:117] + "..."


def open_session(account: Account) -> Session:
    """Log in. Raises ConnectFailed."""
    import pymysql

    from goldcopy.server.wire import Unproven

    try:
        try:
            connection = _connect(account, account.tls)
        except Unproven:
            connection = _connect(account, msgspec.structs.replace(account.tls or Tls(), identity=True, proof=False))
    except (pymysql.err.Error, OSError, RuntimeError) as e:
        # RuntimeError: PyMySQL lacks a package that an authentication method needs
        raise connect_error(e, account.where, account.user) from e
    try:
        session = Session(connection, account)
        if account.tls and account.tls.required and not session.rows("SHOW STATUS LIKE 'Ssl_cipher'")[0][1]:
            raise ConnectFailed(f"{account.where} offers no TLS, and TLS is asked for")
        return session
    except BaseException:
        connection.close()
        raise


def _connect(account: Account, tls: Tls | None) -> Any:
    from goldcopy.server.wire import WireConnection

    return WireConnection(
        unix_socket=account.socket or None,
        host=account.host,
        port=account.port,
        # as the servers' own clients send them: PyMySQL would make Latin-1 of a password, or fail to
        user=_as_typed(account.user),
        password=_as_typed(account.password),
        charset="utf8mb4",
        autocommit=True,
        connect_timeout=max(1, round(account.connect_timeout_s)),
        server_public_key=account.server_key.encode() or None,
        tls=tls,
        **({} if tls else {"ssl": _ca_only(account)}),
    )


def _as_typed(text: str) -> bytes:
    return text.encode("utf-8", "surrogateescape")


def _ca_only(account: Account) -> dict[str, str] | None:
    return {"ca": account.ssl_ca} if account.ssl_ca and not account.socket else None
