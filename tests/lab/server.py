"""A real server to test against: initialise, start, stop, kill, ask. No server outlives the process that made it."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pymysql
from pymysql.connections import Connection

from lab import catalogue, prefix

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 180.0
PORTS = os.environ.get("GOLDCOPY_PORTS", "3550-3699")
_RUNNING: set[subprocess.Popen[bytes]] = set()


class ServerTrouble(Exception):
    """A server did not start, stop or answer; the message ends with the tail of its log."""


def scratch() -> Path:
    """A new folder for one server's or test's data; short, because a socket's path may have 107 bytes only."""
    root = Path(os.environ.get("GOLDCOPY_LAB") or Path.home() / ".cache" / "goldcopy-lab")
    root.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(dir=root, prefix="t"))


def free_port() -> int:
    """A port of our range that nobody listens on; of tests in parallel each has its share of the range."""
    low, high = map(int, PORTS.split("-"))
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(low + worker, high + 1, int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1")))
    for port in random.SystemRandom().sample(ports, len(ports)):
        with socket.socket() as s:
            try:
                s.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port
    raise ServerTrouble(f"no free port in {PORTS}")


def _die_with_parent() -> None:
    pr_set_pdeathsig = 1
    ctypes.CDLL(None).prctl(pr_set_pdeathsig, signal.SIGKILL)


def info_of(name: str) -> prefix.Info:
    """The Info of a fetched server. Raises ServerTrouble when it is not there."""
    info = prefix.read_info(catalogue.home() / name)
    if info is None:
        raise ServerTrouble(f"{name} is not there: scripts/test fetches it")
    return info


def client(info: prefix.Info, mariadb: str, mysql: str) -> str:
    """Path of a client program; a server that came without borrows one."""
    for owner in (info, prefix.read_info(catalogue.home() / catalogue.CLIENTS_FROM)):
        found = owner.tool(mariadb, mysql) if owner else ""
        if found:
            return found
    raise ServerTrouble(f"{info.name}: no {mysql} client, and {catalogue.CLIENTS_FROM} is not there to lend one")


# ------------------------------------------------------------------ a data directory, from a template
def _initialise(info: prefix.Info, datadir: Path, options: Sequence[str]) -> None:
    mysqld = info.tool("mariadbd", "mysqld")
    if info.flavor == "mariadb":
        datadir.mkdir()
        install = info.tool("mariadb-install-db", "mysql_install_db")
        command = [
            install, "--no-defaults", f"--basedir={info.basedir}", f"--datadir={datadir}",
            f"--lc-messages-dir={info.share}", f"--plugin-dir={info.plugin_dir}",
            "--auth-root-authentication-method=normal", "--skip-test-db", "--user=root", *options,
        ]
        _run_init(command, None)
    elif info.number < (5, 7):
        (datadir / "mysql").mkdir(parents=True)
        _run_init([mysqld, "--bootstrap", f"--datadir={datadir}", *options], _system_tables(Path(info.share)))
    else:
        _run_init([mysqld, "--initialize-insecure", f"--datadir={datadir}", *options], None)
        (datadir / "auto.cnf").unlink()


def _system_tables(share: Path) -> bytes:
    """What mysql_install_db, which is not in the package, would feed to the server."""
    data = (share / "mysql_system_tables_data.sql").read_text()
    data = "\n".join(line for line in data.splitlines() if "@current_hostname" not in line)
    tables, helps = (share / "mysql_system_tables.sql").read_text(), (share / "fill_help_tables.sql").read_text()
    return f"use mysql;\n{tables}\n{data}\ndelete from user where user='';\n{helps}".encode()


def _run_init(command: list[str], feed: bytes | None) -> None:
    done = subprocess.run(command, input=feed, capture_output=True, check=False)
    if done.returncode:
        raise ServerTrouble(f"initialising failed: {(done.stdout + done.stderr).decode(errors='replace')[-3000:]}")


def template(info: prefix.Info, options: Sequence[str]) -> Path:
    """An initialised data directory for this server and these options, made once: making one takes seconds."""
    key = hashlib.sha256(repr((info.version, info.server, sorted(options))).encode()).hexdigest()[:12]
    store = catalogue.home() / ".templates"
    store.mkdir(exist_ok=True)
    made = store / f"{info.name}-{key}"
    with (store / f"{made.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not made.exists():
            fresh = store / f"{made.name}.new"
            shutil.rmtree(fresh, ignore_errors=True)
            _initialise(info, fresh, options)
            fresh.rename(made)
    return made


def copy_tree(source: Path, target: Path) -> None:
    """Copy a data directory, sharing blocks where the file system can."""
    subprocess.run(["cp", "-a", "--reflink=auto", "--sparse=auto", f"{source}/.", str(target)], check=True)


# ------------------------------------------------------------------ the server
class LabServer:
    """One server with a data directory of its own below ``base``.

    ``options`` are given at every start. ``init`` as well, and when the data directory is initialised: page size,
    names' case, where undo and system tablespace lie. ``binary``: another program than the fetched server's.
    Root has no password.
    """

    def __init__(
        self, name: str, base: Path, options: Sequence[str] = (), *, init: Sequence[str] = (),
        datadir: Path | None = None, binary: str = "",
    ) -> None:
        self.name, self.base = name, base
        self.info = info_of(name)
        self.options, self.init, self.binary = list(options), list(init), binary
        self.datadir = datadir or base / "data"
        self.socket, self.log = base / "s.sock", base / "error.log"
        self.port = free_port()
        self.server_id = self.port
        self.process: subprocess.Popen[bytes] | None = None
        base.mkdir(parents=True, exist_ok=True)
        (base / "tmp").mkdir(exist_ok=True)

    # -- what it is
    @property
    def mariadb(self) -> bool:
        """Is it a MariaDB?"""
        return self.info.flavor == "mariadb"

    @property
    def mysqld(self) -> str:
        """The server program as a user would name it."""
        return self.binary or self.info.tool("mariadbd", "mysqld")

    @property
    def page_size(self) -> int:
        """InnoDB's page size in bytes."""
        for option in self.init:
            match = re.match(r"--innodb[-_]page[-_]size=(\d+)(k?)", option, re.I)
            if match:
                return int(match[1]) * (1024 if match[2] else 1)
        return 16384

    # -- its life
    def create(self, *, cached: bool = True) -> LabServer:
        """Lay down a fresh data directory; not from a template where ``init`` names folders of this test."""
        options = [*_small_redo(self.info), *self.init]
        if cached:
            self.datadir.mkdir(parents=True, exist_ok=True)
            copy_tree(template(self.info, options), self.datadir)
        else:
            _initialise(self.info, self.datadir, options)
        return self

    def command(self, extra: Sequence[str] = ()) -> list[str]:
        """The command line of a start."""
        fixed = [
            f"--datadir={self.datadir}", f"--socket={self.socket}", f"--port={self.port}",
            f"--pid-file={self.base}/pid", f"--tmpdir={self.base}/tmp", f"--log-error={self.log}",
            "--bind-address=127.0.0.1", f"--server-id={self.server_id}", "--innodb-buffer-pool-size=64M",
            "--loose-binlog-format=ROW",
            "--character-set-server=utf8mb4", "--max-allowed-packet=64M", "--log-bin=binlog",
        ]
        return [self.mysqld, *fixed, *_small_redo(self.info), *self.init, *self.options, *extra]

    def start(self, *extra: str, wait: bool = True) -> LabServer:
        """Start, and wait until it answers. Raises ServerTrouble with the end of its log."""
        in_main = threading.current_thread() is threading.main_thread()
        with (self.base / "output").open("ab") as out:
            self.process = subprocess.Popen(
                self.command(extra), stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True,
                preexec_fn=_die_with_parent if in_main else None,
            )
        _RUNNING.add(self.process)
        if wait:
            self.wait_until_up()
        return self

    def wait_until_up(self, timeout_s: float = START_TIMEOUT_S) -> None:
        """Wait until the server answers on its socket."""
        assert self.process
        until = time.monotonic() + timeout_s
        while time.monotonic() < until:
            if self.process.poll() is not None:
                raise ServerTrouble(f"{self.name} ended with {self.process.returncode} at start\n{self.tail()}")
            try:
                self.connect().close()
            except pymysql.err.OperationalError:
                time.sleep(0.1)
            else:
                return
        raise ServerTrouble(f"{self.name} does not answer\n{self.tail()}")

    def stop(self) -> None:
        """Stop cleanly; nothing when it does not run."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """End it as a power cut would."""
        self._end(signal.SIGKILL)

    def _end(self, how: signal.Signals) -> None:
        process, self.process = self.process, None
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(how)
            try:
                process.wait(STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
                raise ServerTrouble(f"{self.name} did not stop\n{self.tail()}") from None
            finally:
                _RUNNING.discard(process)
        _RUNNING.discard(process)

    def restart(self, *extra: str) -> LabServer:
        """Stop cleanly and start again."""
        self.stop()
        return self.start(*extra)

    def __enter__(self) -> LabServer:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill9()

    # -- asking it
    def connect(self, **options: Any) -> Connection[Any]:
        """A connection by socket, autocommitting unless told otherwise."""
        options = {"user": "root", "autocommit": True, "charset": "utf8mb4", "ssl_disabled": True, **options}
        return pymysql.connect(unix_socket=str(self.socket), **options)

    def sql(self, *statements: str) -> list[tuple[Any, ...]]:
        """Run statements in one connection; the rows of the last one."""
        if not statements:
            return []
        with self.connect() as connection, connection.cursor() as cursor:
            for statement in statements:
                cursor.execute(statement)
            return list(cursor.fetchall())

    def value(self, statement: str) -> Any:
        """The first column of the first row; None when there is no row."""
        rows = self.sql(statement)
        return rows[0][0] if rows else None

    def variable(self, name: str) -> str:
        """A global variable as text; empty when the server does not know it."""
        rows = self.sql(f"SHOW GLOBAL VARIABLES LIKE '{name}'")
        return str(rows[0][1]) if rows else ""

    def status(self, name: str) -> int:
        """A global status counter; 0 when the server does not know it."""
        rows = self.sql(f"SHOW GLOBAL STATUS LIKE '{name}'")
        return int(rows[0][1]) if rows else 0

    # -- its files
    def binlogs(self) -> list[Path]:
        """Its binary logs, oldest first."""
        return sorted(self.datadir.glob("binlog.??????"))

    def position(self) -> tuple[str, int]:
        """Binlog file and position now."""
        number = self.info.number
        modern = not self.mariadb and number >= (8, 2)
        row = self.sql("SHOW BINARY LOG STATUS" if modern else "SHOW MASTER STATUS")[0]
        return str(row[0]), int(row[1])

    def tail(self, lines: int = 40) -> str:
        """The end of its error log and of what it printed."""
        texts = [p.read_text(errors="replace") for p in (self.log, self.base / "output") if p.exists()]
        return "\n".join(line for text in texts for line in text.splitlines()[-lines:])

    def errors(self) -> list[str]:
        """Lines of its error log that are errors."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return [line for line in text.splitlines() if re.search(r"\[ERROR\]|\[FATAL\]|got signal", line)]


def _small_redo(info: prefix.Info) -> list[str]:
    """The smallest redo log that still works under load: it must wrap during a backup."""
    if info.flavor == "mariadb":
        return ["--innodb-log-file-size=12M"]
    if info.number < (8, 0, 30):
        return ["--innodb-log-file-size=5M", "--loose-innodb-file-format=Barracuda", "--innodb-file-per-table=1"]
    return ["--innodb-redo-log-capacity=16M", "--loose-mysqlx=0"]


def kill_all() -> None:
    """End every server that this process started and that still runs."""
    for process in list(_RUNNING):
        if process.poll() is None:
            process.kill()
            process.wait()
        _RUNNING.discard(process)


@contextmanager
def running(name: str, base: Path, options: Sequence[str] = (), *, init: Sequence[str] = ()) -> Iterator[LabServer]:
    """A fresh server that runs within the block."""
    with LabServer(name, base, options, init=init).create() as server:
        yield server.start()


# ------------------------------------------------------------------ replication
def replicate(source: LabServer, replica: LabServer) -> None:
    """Make ``replica`` follow ``source`` from its first binlog on (both fresh, of the same template)."""
    plugin = "" if source.mariadb or source.info.number < (8,) else " WITH caching_sha2_password"
    source.sql(
        f"CREATE USER repl@'127.0.0.1' IDENTIFIED{plugin} BY 'repl'",
        "GRANT REPLICATION SLAVE ON *.* TO repl@'127.0.0.1'",
    )
    first = source.binlogs()[0].name
    old = replica.mariadb or replica.info.number < (8, 0, 23)
    fields = {"HOST": "'127.0.0.1'", "PORT": source.port, "USER": "'repl'", "PASSWORD": "'repl'"}
    fields |= {"LOG_FILE": f"'{first}'", "LOG_POS": 4}
    prefixed = ", ".join(f"{'MASTER' if old else 'SOURCE'}_{k}={v}" for k, v in fields.items())
    if old:
        replica.sql(f"CHANGE MASTER TO {prefixed}", "START SLAVE")
    else:
        extra = ", GET_SOURCE_PUBLIC_KEY=1, SOURCE_AUTO_POSITION=0"
        replica.sql(f"CHANGE REPLICATION SOURCE TO {prefixed}{extra}", "START REPLICA")


def replica_state(replica: LabServer) -> dict[str, Any]:
    """SHOW REPLICA STATUS by column name, MASTER in the names written as Source."""
    word = "SLAVE" if replica.mariadb or replica.info.number < (8, 0, 22) else "REPLICA"
    with replica.connect(cursorclass=pymysql.cursors.DictCursor) as c, c.cursor() as cursor:
        cursor.execute(f"SHOW {word} STATUS")
        row = cursor.fetchone() or {}
    return {k.replace("Master", "Source").replace("Slave", "Replica"): v for k, v in row.items()}


def wait_caught_up(source: LabServer, replica: LabServer, timeout_s: float = 120) -> None:
    """Wait until the replica has applied all that the source has logged."""
    file, position = source.position()
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        state = replica_state(replica)
        if state.get("Last_SQL_Error") or state.get("Last_IO_Error"):
            raise ServerTrouble(f"replication broke: {state['Last_SQL_Error']}{state['Last_IO_Error']}")
        if (state.get("Relay_Source_Log_File"), state.get("Exec_Source_Log_Pos")) == (file, position):
            return
        time.sleep(0.2)
    raise ServerTrouble(f"the replica did not catch up: {state}")
