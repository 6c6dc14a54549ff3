"""PyMySQL's errors as ours. Every class that PyMySQL can raise has its place here; a test holds that."""

from __future__ import annotations

from collections.abc import Mapping

from goldcopy.errors import ConnectFailed, GoldcopyError, PrivilegeMissing, ServerRefused, Unsupported

LOCK_WAIT_TIMEOUT = 1205
_PASSWORD_EXPIRED, _ACCOUNT_LIMIT = 1820, 1226
_ACCESS_DENIED = frozenset({1045, 1698, 1396})
_UNREACHABLE = frozenset({2001, 2002, 2003, 2005, 2006, 2013})
_TLS, _UNVERIFIED = 2026, "CERTIFICATE_VERIFY_FAILED"
_NOT_LET_IN = frozenset({1040, 1129, 1130, 1203, 1226, 1251, 1524, 2059, 2061, 3118, 3159, 4151})
_PRIVILEGE = frozenset({1044, 1095, 1142, 1143, 1227, 1370, 1410, 1419, 3530})
_GONE = frozenset({0, 1053, 1077, 1079, 1152, 1184, 1927, 2006, 2013, 2014, 2055, 3169, 4031})

_EXPIRED_HINT = "its password has expired: ALTER USER ... IDENTIFIED BY '...', as that user or another"
_LIMIT_HINT = (
    "a backup opens up to five connections and asks several times a second: raise the account's limits (ALTER USER ... "
    "WITH MAX_USER_CONNECTIONS 0 MAX_QUERIES_PER_HOUR 0 ...), or the server's max_user_connections"
)
_HINTS: Mapping[int, str] = {
    1040: "raise max_connections, or end idle connections: a backup opens up to five",
    1203: _LIMIT_HINT,
    _ACCOUNT_LIMIT: _LIMIT_HINT,
    _PASSWORD_EXPIRED: _EXPIRED_HINT,
    1862: _EXPIRED_HINT,
    3118: "ALTER USER ... ACCOUNT UNLOCK, or another account: --user",
    4151: "ALTER USER ... ACCOUNT UNLOCK, or another account: --user",
    3159: "the server wants TLS on TCP: --ssl-ca, or its unix socket: --socket",
}
"""What helps against errors with these numbers."""

# Where an error of this class tells no known number
BY_CLASS: Mapping[str, type[GoldcopyError]] = {
    "Warning": ServerRefused,
    "Error": ServerRefused,
    "MySQLError": ServerRefused,
    "InterfaceError": ServerRefused,
    "DatabaseError": ServerRefused,
    "DataError": ServerRefused,
    "OperationalError": ServerRefused,
    "IntegrityError": ServerRefused,
    "InternalError": ServerRefused,
    "ProgrammingError": ServerRefused,
    "NotSupportedError": Unsupported,
}


def number_of(error: BaseException | None) -> int:
    """The server's (or client library's) error number behind an error of ours or PyMySQL's; -1 if there is none."""
    while error is not None:
        if error.args and isinstance(error.args[0], int):
            return error.args[0]
        error = error.__cause__
    return -1


def text_of(error: BaseException) -> str:
    """The server's words, without number and quotes."""
    return str(error.args[1]) if len(error.args) > 1 else str(error)


def connect_error(error: Exception, where: str, user: str) -> ConnectFailed:
    """What a failed login means. ``where``: socket or host:port, for the message."""
    number, text = number_of(error), text_of(error)
    if number in _ACCESS_DENIED:
        return ConnectFailed(
            f"{where} refuses the account {user!r}: {text}",
            hint="give the password in an option file (group [client]), in MYSQL_PWD, or at the prompt "
            "(--ask-password); give the account with --user",
        )
    if number == _TLS or _UNVERIFIED in text:
        return ConnectFailed(
            f"no safe connection to {where}: {text}",
            hint="--ssl-ca names the CA of the server's certificate, which must bear the host's name; on the server's"
            " own machine its unix socket is safe without: --socket",
        )
    if number in _UNREACHABLE or isinstance(error, OSError):
        return ConnectFailed(
            f"no server answers at {where}: {text}",
            hint="is it running? --socket names its unix socket (@@socket), --host and --port its TCP address",
        )
    if number in _NOT_LET_IN or number in _HINTS:
        hint = _HINTS.get(number, "see the server's error log")
        return ConnectFailed(f"{where} does not let {user!r} in: {text}", hint=hint)
    return ConnectFailed(f"cannot log in at {where} as {user!r}: {text}")


def statement_error(error: Exception, statement: str) -> GoldcopyError:
    """What a failed statement means."""
    number, text = number_of(error), text_of(error)
    name = type(error).__name__
    if number in _PRIVILEGE:
        return PrivilegeMissing(f"the account may not run {statement}: {text}")
    if number in _GONE or name == "InterfaceError" or isinstance(error, OSError):
        return ServerRefused(
            f"the connection to the server is gone, at {statement}: {text or 'closed'}",
            hint="was the server stopped, or the connection killed? see its error log",
        )
    if number == LOCK_WAIT_TIMEOUT:
        return ServerRefused(f"a lock was not given in time: {statement}", hint="raise --lock-timeout-s")
    kind = ConnectFailed if number == _PASSWORD_EXPIRED else BY_CLASS.get(name, ServerRefused)
    return kind(f"the server refuses {statement}: {text} ({number})", hint=_HINTS.get(number, ""))
