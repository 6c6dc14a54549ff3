"""From the peers' options to an account, a patience with locks, and privileges checked with the peers' words."""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Mapping

from goldcopy.compat.log import Log
from goldcopy.compat.options.settings import Settings
from goldcopy.dialect.privileges import Feature
from goldcopy.errors import PrivilegeMissing, UsageError
from goldcopy.events import Warn
from goldcopy.server.instance import Instance
from goldcopy.server.locks import LockPolicy
from goldcopy.server.position import replica_states
from goldcopy.server.privileges import grant_hint, lacking_for
from goldcopy.server.session import Account, Tls, own_name, usual_socket

_DEFAULT_PORT = 3306
_CONNECT_TIMEOUT_S = 10.0
_NEAR = ("127.0.0.1", "::1")
"""Hosts on the way to which nobody listens, for MariaDB's clients."""
_TLS_ALWAYS = ("REQUIRED", "VERIFY_CA", "VERIFY_IDENTITY")


def account_of(settings: Settings, environ: Mapping[str, str]) -> Account:
    """Where and as whom to log in, by the rules of the server's own clients: localhost means the socket."""
    host, protocol = settings.text("host"), settings.text("protocol").lower()
    by_tcp = protocol == "tcp" or (protocol != "socket" and host not in ("", "localhost"))
    return Account(
        socket="" if by_tcp else settings.text("socket") or usual_socket(),
        host=host or "127.0.0.1",
        port=settings.number("port") or _DEFAULT_PORT,
        user=settings.text("user") or own_name(),
        password=_password(settings, environ),
        ssl_ca="",
        connect_timeout_s=_CONNECT_TIMEOUT_S,
        tls=_tls(settings, by_tcp),
        server_key=_server_key(settings.text("server-public-key-path")),
    )


def _password(settings: Settings, environ: Mapping[str, str]) -> str:
    given = settings.value("password")
    if given == "" and settings.on_command_line("password") and sys.stdin.isatty():
        return getpass.getpass("Enter password: ")
    return str(given) if given else environ.get("MYSQL_PWD", "")


def transition_phrase(settings: Settings) -> str:
    """--transition-key, asked for where a person sits. Raises UsageError where nobody can be asked."""
    if not settings.given("transition-key") or settings.text("transition-key"):
        return settings.text("transition-key")
    phrase = getpass.getpass("Enter transition key: ") if sys.stdin.isatty() else ""
    if not phrase:
        raise UsageError("--transition-key needs a value here", hint="--transition-key=PASSPHRASE")
    return phrase


def _server_key(path: str) -> str:
    if not path:
        return ""
    try:
        with open(path, encoding="ascii") as f:
            return f.read()
    except (OSError, ValueError) as e:
        raise UsageError(f"--server-public-key-path={path} cannot be read: {e}") from e


def _tls(settings: Settings, by_tcp: bool) -> Tls | None:
    mode = settings.text("ssl-mode").upper()
    asked = settings.flag("ssl") or mode in _TLS_ALWAYS or bool(settings.text("ssl-ca"))
    unwanted = mode == "DISABLED" or (settings.given("ssl") and not settings.flag("ssl"))
    if unwanted:
        return Tls(off=True)
    if not (asked or by_tcp):
        return None
    names_ca = bool(settings.text("ssl-ca") or settings.text("ssl-capath"))
    near = not by_tcp or (settings.text("host") in _NEAR and not names_ca)
    return Tls(
        required=asked,
        verify=mode == "VERIFY_CA" or names_ca,
        identity=mode == "VERIFY_IDENTITY" or settings.flag("ssl-verify-server-cert"),
        as_server=settings.face.mariadb and not near and not settings.given("ssl-verify-server-cert"),
        proof=settings.face.mariadb,
        ca=settings.text("ssl-ca"),
        capath=settings.text("ssl-capath"),
        cert=settings.text("ssl-cert"),
        key=settings.text("ssl-key"),
        cipher=settings.text("ssl-cipher"),
        crl=settings.text("ssl-crl"),
        crlpath=settings.text("ssl-crlpath"),
        versions=settings.text("tls-version"),
    )


def lock_policy(settings: Settings) -> LockPolicy:
    """How patient the locks are."""
    wait_s = settings.number("ftwrl-wait-timeout")
    tries = 1 + settings.number("backup-lock-retry-count")
    patience_s = (settings.number("backup-lock-timeout") or settings.number("lock-ddl-timeout") or _YEAR_S) * tries
    return LockPolicy(
        # the originals wait so long for the lock itself as well
        lock_wait_timeout_s=wait_s or patience_s,
        guard_wait_timeout_s=0 if settings.face.mariadb else settings.number("lock-ddl-timeout"),
        wait_query_timeout_s=wait_s,
        wait_query_threshold_s=settings.number("ftwrl-wait-threshold"),
        wait_query_type="update" if settings.text("ftwrl-wait-query-type").upper() == "UPDATE" else "all",
        kill_timeout_s=settings.number("kill-long-queries-timeout"),
        kill_query_type="select" if settings.text("kill-long-query-type").upper() == "SELECT" else "all",
        no_lock=settings.flag("no-lock"),
        late_guard=_ddl_may_run(settings),
        heavy_commit=settings.flag("no-backup-locks"),
    )


_YEAR_S = 31536000
_OFF = ("OFF", "0", "FALSE", "REDUCED")


def _ddl_may_run(settings: Settings) -> bool:
    word = settings.text("lock-ddl").upper()
    if word and word not in (*_OFF, "ON", "1", "TRUE"):
        raise UsageError(f"Invalid --lock-ddl argument: {settings.text('lock-ddl')}", hint="ON, OFF or REDUCED")
    return not settings.face.mariadb and word in _OFF


def check_privileges(settings: Settings, instance: Instance, log: Log) -> None:
    """Say which privileges are missing, and what the account has. Raises PrivilegeMissing when one is needed."""
    if settings.given("check-privileges") and not settings.flag("check-privileges"):
        return
    lacking, grants = lacking_for(instance, _features(settings, instance))
    if not lacking:
        return
    for need in lacking:
        log.plain(f"Error: missing required privilege {need.any_of[0]} on {need.scope}")
    log.note("Current privileges, as reported by 'SHOW GRANTS': ")
    for number, grant in enumerate(grants, 1):
        log.plain(f"  {number}.{grant}")
    account = str(instance.session.value("SELECT CURRENT_USER()"))
    raise PrivilegeMissing("Insufficient privileges", hint=grant_hint(lacking, account))


def check_replica(settings: Settings, instance: Instance) -> None:
    """Raises UsageError when --slave-info could only tell a position that is none.

    A multi-threaded applier that does not keep the order of commits has gaps behind the position that it reports,
    unless it has been stopped; with GTIDs the set tells exactly what has been executed.
    """
    v = instance.variables
    workers = v.get("replica_parallel_workers") or v.get("slave_parallel_workers") or "0"
    ordered = v.get("replica_preserve_commit_order") or v.get("slave_preserve_commit_order") or "OFF"
    if (
        settings.flag("slave-info")
        and not settings.flag("safe-slave-backup")
        and int(workers) > 0
        and ordered != "ON"
        and v.get("gtid_mode", "OFF") != "ON"
        and replica_states(instance)
    ):
        raise UsageError(
            "The --slave-info option requires GTID enabled for a multi-threaded slave.",
            hint="or --safe-slave-backup, which stops the threads at a common position",
        )


def check_binlog_info(settings: Settings, instance: Instance) -> None:
    """Raises UsageError when the binlog position is wanted without a lock from a server that cannot tell it so."""
    lockless = bool(instance.dialect.locks.commit_innodb) or instance.variables.get(_SAFE_BINLOG_INFO) == "YES"
    if settings.text("binlog-info") == "lockless" and not lockless:
        raise UsageError(
            "--binlog-info=LOCKLESS is not supported by the server",
            hint="--binlog-info=ON holds a lock while the position is read",
        )


# Percona Server: InnoDB itself keeps the position of the last commit, of other engines too
_SAFE_BINLOG_INFO = "have_backup_safe_binlog_info"


def check_datadir(settings: Settings, instance: Instance, log: Log) -> None:
    """Warn when the options name another data directory than the server that answers: its own is backed up.

    Raises UsageError when the command line names one that is not there: another server was meant.
    """
    given = settings.text("datadir")
    if settings.on_command_line("datadir") and not os.path.isdir(given):
        raise UsageError(
            f"option 'datadir' points to nonexistent directory '{given}'",
            hint=f"the server that answers has its data in {instance.datadir}: is it the one that was meant?",
        )
    if given and os.path.realpath(given) != os.path.realpath(instance.datadir):
        log.emit(
            Warn(
                "datadir",
                f"option 'datadir' has different values: '{given}' in defaults file, '{instance.datadir}' in SHOW"
                " VARIABLES: the server's own is backed up",
            )
        )


def _features(settings: Settings, instance: Instance) -> set[Feature]:
    locks = not settings.flag("no-lock")
    slave = settings.flag("safe-slave-backup")
    wanted: dict[Feature, bool] = {
        "backup": locks,
        "locks-of-others": locks,
        "binlog": locks and instance.variables.get("log_bin", "").upper() in ("ON", "1"),
        "replica-position": slave or settings.flag("slave-info") or settings.flag("galera-info"),
        "replica": slave,
        "kill": settings.number("kill-long-queries-timeout") > 0,
        "history": settings.given("history"),
    }
    return {feature for feature, on in wanted.items() if on}
