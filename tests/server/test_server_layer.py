"""The server layer on real servers: locks that hold and are given back, positions that are true, files all found."""

from __future__ import annotations

import signal
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from goldcopy.dialect import choose
from goldcopy.errors import ConnectFailed, KeyMissing, PrivilegeMissing, RecoveryFailed, ServerRefused
from goldcopy.events import Event, Locked, Warn, silent
from goldcopy.options import Connection
from goldcopy.server.binary import find_server_binary
from goldcopy.server.files import list_files
from goldcopy.server.instance import Instance, open_instance
from goldcopy.server.keyring import LentRing, installed, read_ring
from goldcopy.server.locks import BackupLocks, LockPolicy, SafeReplica
from goldcopy.server.position import read_position, replica_states
from goldcopy.server.privileges import check
from goldcopy.server.process import RecoveryRun
from goldcopy.server.queries import running_queries
from goldcopy.server.redo_guard import RedoConsumer
from lab import catalogue
from lab.server import LabServer, replica_state, replicate, wait_caught_up

EVERY = [s.name for s in catalogue.SERVERS]
FAMILIES = ["mariadb-10.11", "mysql-9.7"]
READ_LOCK = "mysql-5.6"


def opened(server: LabServer, **options: str) -> Instance:
    return open_instance(Connection(socket=str(server.socket), user=options.pop("user", "root"), **options))


def held(instance: Instance, policy: LockPolicy | None = None, emit=silent) -> BackupLocks:
    return BackupLocks(instance, policy or LockPolicy(), emit)


class Background(threading.Thread):
    """Runs one statement on a connection of its own; ``error`` is what it met, "" when it went well."""

    def __init__(self, server: LabServer, sql: str | bytes) -> None:
        super().__init__(daemon=True)
        self.server, self.sql, self.error = server, sql, "not finished"
        self.start()
        time.sleep(0.5)

    def run(self) -> None:
        try:
            self.server.sql(self.sql)
            self.error = ""
        except Exception as e:
            self.error = str(e)


@pytest.mark.parametrize("server_name", EVERY)
def test_the_consistent_point_is_where_the_binlog_stands(server_name, make_server):
    server = make_server(server_name)
    server.sql("CREATE DATABASE d", "CREATE TABLE d.t (a INT PRIMARY KEY) ENGINE=InnoDB")
    with opened(server) as instance, held(instance) as locks:
        locks.guard()
        locks.block_ddl()
        locks.block_commit(non_innodb=True)
        insert = Background(server, "INSERT INTO d.t VALUES (1)")
        point = read_position(instance)
        assert (point.binlog_file, point.binlog_position) == server.position()
        assert point.replicas == () and point.galera == ""
        assert insert.is_alive(), "a commit went through the lock"
        flushed, current = instance.lsns(instance.session)
        assert (point.lsn or flushed) <= current
        locks.assert_held()
        locks.release()
        insert.join(10)
        assert insert.error == ""
    assert {t.lock for t in locks.times} >= {"global read lock" if server_name.startswith("mysql") else "backup stage"}


@pytest.mark.parametrize("server_name", EVERY)
def test_locks_are_given_back_whatever_happens(server_name, make_server):
    server = make_server(server_name)
    server.sql("CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=MyISAM")
    told: list[Event] = []
    with pytest.raises(ZeroDivisionError), opened(server) as instance, held(instance, emit=told.append) as locks:
        locks.guard()
        locks.block_ddl()
        locks.block_commit(non_innodb=True)
        raise ZeroDivisionError
    server.sql("INSERT INTO d.t VALUES (1)", "CREATE TABLE d.u (a INT)", "DROP TABLE d.u")
    assert any(isinstance(e, Locked) for e in told)


@pytest.mark.parametrize("server_name", FAMILIES)
def test_a_statement_that_holds_the_bytes_of_an_image_does_not_end_the_backup(server_name, make_server):
    """The servers list it with these bytes, whatever the client's character set."""
    server = make_server(server_name)
    image = Background(server, b"DO SLEEP(3), '\xff\xfe\x00caf\xe9'")
    with opened(server) as instance:
        (running,) = running_queries(instance.session)
    assert "\\xff\\xfe" in running.told
    image.join()


@pytest.mark.parametrize("server_name", FAMILIES)
def test_ddl_waits_for_the_backup_and_no_longer(server_name, make_server):
    server = make_server(server_name)
    server.sql("CREATE DATABASE d")
    with opened(server) as instance, held(instance) as locks:
        locks.guard()
        locks.block_ddl()
        ddl = Background(server, "CREATE TABLE d.t (a INT)")
        assert ddl.is_alive()
        locks.release()
        ddl.join(10)
        assert ddl.error == ""


@pytest.mark.parametrize("server_name", FAMILIES)
def test_a_killed_backup_connection_is_noticed(server_name, make_server):
    server = make_server(server_name)
    told: list[Event] = []
    with opened(server) as instance:
        with held(instance, emit=told.append) as locks:
            locks.guard()
            locks.block_ddl()
            locks.assert_held()
            server.sql(f"KILL {instance.session.connection_id}")
            with pytest.raises(ServerRefused, match="no longer be relied on: the connection to the server is gone"):
                locks.assert_held()
        assert any(isinstance(e, Warn) for e in told)
    server.sql("CREATE DATABASE afterwards")


@pytest.mark.parametrize(
    ("server_name", "blocker"),
    [
        ("mariadb-10.11", "INSERT INTO d.m SELECT SLEEP(30)"),
        ("mysql-9.7", "SELECT SLEEP(30) FROM d.m"),
        (READ_LOCK, "SELECT SLEEP(30) FROM d.m"),
    ],
)
class TestLongQueries:
    """A statement that really stands in the way of the lock that each server needs."""

    @pytest.fixture
    def server(self, server_name, make_server):
        server = make_server(server_name)
        server.sql("CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (0)")
        return server

    def take(self, instance, policy, told=silent):
        with held(instance, policy, told) as locks:
            locks.guard()
            locks.block_ddl()
            locks.block_commit(non_innodb=True)
        return locks

    def test_a_lock_that_is_not_given_in_time_is_an_error_that_names_the_query(self, server, blocker):
        with opened(server) as instance:
            query = Background(server, blocker)
            with pytest.raises(ServerRefused, match="SLEEP") as refused:
                self.take(instance, LockPolicy(lock_wait_timeout_s=2))
            assert "--lock-timeout-s" in refused.value.hint
            assert query.is_alive()

    def test_the_query_is_ended_when_the_user_gave_it_up(self, server, blocker):
        told: list[Event] = []
        with opened(server) as instance:
            query = Background(server, blocker)
            started = time.monotonic()
            self.take(instance, LockPolicy(kill_timeout_s=1, kill_query_type="all"), told.append)
            assert time.monotonic() - started < 15
            query.join(10)
            # a SLEEP that is interrupted returns 1 instead of failing
            assert not query.is_alive()
        assert any(isinstance(e, Warn) and e.code == "kill-query" and "SLEEP" in e.text for e in told)

    def test_waiting_beforehand_spares_the_query(self, server, blocker):
        with opened(server) as instance:
            query = Background(server, blocker.replace("30", "4"))
            self.take(
                instance, LockPolicy(wait_query_timeout_s=30, wait_query_threshold_s=0.5, kill_timeout_s=1)
            )
            query.join(10)
            assert query.error == ""

    def test_waiting_in_vain_leaves_no_lock(self, server, blocker):
        with opened(server) as instance:
            query = Background(server, blocker)
            time.sleep(1)
            with pytest.raises(ServerRefused, match="SLEEP"):
                self.take(instance, LockPolicy(wait_query_timeout_s=1, wait_query_threshold_s=0.5))
            assert query.is_alive()
            assert [q for q in running_queries(instance.session) if "SLEEP" in q.sql]
            server.sql("CREATE DATABASE afterwards")


def grants_to(server: LabServer, hint: str) -> None:
    server.sql(*[g for g in hint.split(";") if g.strip()])


@pytest.mark.parametrize(
    ("server_name", "blocker"),
    [("mariadb-10.11", "INSERT INTO d.m SELECT SLEEP(20)"), (READ_LOCK, "SELECT SLEEP(20) FROM d.m")],
)
def test_an_interrupted_backup_does_not_leave_its_lock_request_behind(server_name, blocker, make_server):
    server = make_server(server_name)
    server.sql("CREATE DATABASE d", "CREATE TABLE d.m (a INT) ENGINE=MyISAM", "INSERT INTO d.m VALUES (0)")
    query = Background(server, blocker)

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt), opened(server) as instance, held(instance) as locks:
            signal.alarm(2)
            locks.guard()
            locks.block_ddl()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert query.is_alive()
    started = time.monotonic()
    server.sql("CREATE TABLE d.afterwards (a INT) ENGINE=InnoDB", "INSERT INTO d.afterwards VALUES (1)")
    assert time.monotonic() - started < 5, "the lock request is still waiting in the server"
    assert query.is_alive()


@pytest.mark.parametrize("server_name", EVERY)
def test_the_grants_that_we_ask_for_are_enough(server_name, make_server):
    server = make_server(server_name)
    server.sql("CREATE USER b@localhost IDENTIFIED BY 'p'")
    with opened(server, user="b", password="p") as instance:
        with pytest.raises(PrivilegeMissing) as lacking:
            check(instance)
        assert lacking.value.hint.endswith("TO 'b'@'localhost';")
        grants_to(server, lacking.value.hint)
    with opened(server, user="b", password="p") as instance, held(instance) as locks:
        check(instance)
        locks.guard()
        list_files(instance)
        locks.block_ddl()
        locks.block_commit(non_innodb=True)
        read_position(instance)
        instance.lsns(instance.session)
        instance.facts()
        if instance.dialect.redo_consumer:
            with RedoConsumer(instance, silent) as consumer:
                assert consumer.registered
    with opened(server, user="b", password="p") as instance:
        with pytest.raises(PrivilegeMissing) as lacking:
            check(instance, replica=True, kill=True)
        grants_to(server, lacking.value.hint)
        check(instance, replica=True, kill=True)


@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-8.0", "mysql-9.7"])
def test_privileges_may_come_from_a_role(server_name, make_server):
    server = make_server(server_name)
    select = "" if server.mariadb else "GRANT SELECT ON performance_schema.log_status TO r"
    all_of = "RELOAD, BINLOG MONITOR" if server.mariadb else "RELOAD, PROCESS, BACKUP_ADMIN"
    to = "FOR b@localhost" if server.mariadb else "TO b@localhost"
    server.sql("CREATE USER b@localhost IDENTIFIED BY 'p'", "CREATE ROLE r", f"GRANT {all_of} ON *.* TO r")
    server.sql(*[s for s in (select, "GRANT r TO b@localhost", f"SET DEFAULT ROLE r {to}") if s])
    with opened(server, user="b", password="p") as instance:
        check(instance)


@pytest.mark.parametrize("server_name", FAMILIES)
def test_any_password_is_sent_as_it_is_and_a_wrong_one_says_what_to_do(server_name, make_server):
    server = make_server(server_name)
    server.sql("CREATE USER b@localhost IDENTIFIED BY 'pä55-пароль'", "GRANT ALL ON *.* TO b@localhost")
    opened(server, user="b", password="pä55-пароль").close()
    with pytest.raises(ConnectFailed) as failed:
        opened(server, user="b", password="нет")
    assert "MYSQL_PWD" in failed.value.hint
    with pytest.raises(ConnectFailed) as failed:
        open_instance(Connection(socket=str(server.base / "none.sock"), user="root"))
    assert "--socket" in failed.value.hint


@pytest.mark.parametrize("server_name", EVERY)
def test_the_identity_stays_over_restarts_and_tells_servers_apart(server_name, make_server):
    server = make_server(server_name)
    with opened(server) as instance:
        identity = instance.identity
    server.restart()
    with opened(server) as instance:
        assert instance.identity == identity
    with opened(make_server(server_name, folder="other")) as other:
        assert other.identity != identity


@pytest.mark.parametrize("server_name", FAMILIES)
def test_over_tcp_the_files_here_must_be_the_servers(server_name, make_server, monkeypatch):
    server = make_server(server_name)
    server.sql("CREATE USER b@'127.0.0.1' IDENTIFIED BY 'p'", "GRANT ALL ON *.* TO b@'127.0.0.1'")
    connection = Connection(host="127.0.0.1", port=server.port, user="b", password="p")
    with open_instance(connection) as instance:
        assert instance.datadir == str(server.datadir)
    other = make_server(server_name, folder="other")
    monkeypatch.setattr(Instance, "_find_datadir", lambda _self: str(other.datadir))
    with pytest.raises(ServerRefused) as refused:
        opened(server)
    assert "own host" in refused.value.hint


@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-5.6", "mysql-9.7"])
def test_tablespaces_outside_the_data_directory_are_found(server_name, make_server, lab_dir):
    far = lab_dir / "far"
    (far / "undo").mkdir(parents=True)
    options = [] if server_name == READ_LOCK or server_name.startswith("mariadb") else [f"--innodb-directories={far}"]
    init = ("--innodb-data-file-path=ibdata1:12M;ibdata2:12M:autoextend",)
    server = make_server(server_name, *options, init=init)
    server.sql(
        "CREATE DATABASE `d-1.x`",
        f"CREATE TABLE `d-1.x`.`t#1` (a INT) ENGINE=InnoDB DATA DIRECTORY='{far}'",
        f"CREATE TABLE `d-1.x`.p (a INT) ENGINE=InnoDB PARTITION BY HASH(a) (PARTITION p0 DATA DIRECTORY='{far}', "
        "PARTITION p1)",
        "CREATE TABLE `d-1.x`.`ü` (a INT) ENGINE=InnoDB",
    )
    external = 2
    if server_name == "mysql-9.7":
        server.sql(
            f"CREATE TABLESPACE ts ADD DATAFILE '{far}/ts.ibd'",
            "CREATE TABLE `d-1.x`.g (a INT) TABLESPACE ts",
            f"CREATE UNDO TABLESPACE u3 ADD DATAFILE '{far}/u3.ibu'",
            "CREATE TABLESPACE near ADD DATAFILE 'near.ibd'",
        )
        external = 4
    with opened(server) as instance:
        spaces = {f.path: f for f in list_files(instance).spaces}
    assert {"ibdata1", "ibdata2", "d@002d1@002ex/t@00231.ibd"} <= set(spaces)
    outside = {f.external for f in spaces.values() if f.external}
    assert outside == {str(p) for p in far.rglob("*.ib[du]")}
    assert len(outside) == external
    inside = {str(p) for p in Path(server.datadir).rglob("*.ib[du]") if p.is_file()}
    assert inside <= {f.source for f in spaces.values()}


@pytest.mark.parametrize("server_name", EVERY)
def test_a_replicas_sql_thread_stops_and_runs_again(server_name, make_server):
    source = make_server(server_name)
    replica = make_server(server_name, folder="replica")
    replicate(source, replica)
    source.sql("CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=InnoDB", "INSERT INTO d.t VALUES (1)")
    wait_caught_up(source, replica)
    with opened(replica) as instance:
        with pytest.raises(ZeroDivisionError), SafeReplica(instance, True, 30, silent):
            assert replica_state(replica)["Replica_SQL_Running"] == "No"
            raise ZeroDivisionError
        assert replica_state(replica)["Replica_SQL_Running"] == "Yes"
        with held(instance) as locks:
            locks.guard()
            locks.block_ddl()
            locks.block_commit(non_innodb=False)
            insert = Background(source, "INSERT INTO d.t VALUES (2)")
            insert.join(10)
            time.sleep(0.5)
            [state] = read_position(instance).replicas
            assert replica.value("SELECT COUNT(*) FROM d.t") == 1, "the replica went on under the lock"
            now = replica_state(replica)
        assert (state.source_log_file, state.source_log_pos) == (
            now["Relay_Source_Log_File"], now["Exec_Source_Log_Pos"]
        )  # fmt: skip
        assert (state.source_host, state.source_port) == ("127.0.0.1", source.port)
        check(instance, replica=True)
        with SafeReplica(instance, True, 30, silent):
            replica.sql(f"KILL {instance.session.connection_id}")
        assert replica_state(replica)["Replica_SQL_Running"] == "Yes"


@pytest.mark.parametrize("server_name", ["mysql-9.7", "mariadb-11.8"])
def test_of_several_channels_those_that_ran_run_again_even_if_others_are_gone(server_name, make_server):
    server = make_server(server_name)
    words = choose(server.info.version).replica
    channels = {"a'1": True, "b 2": True, "c3": True, "d4": False}
    for port, (channel, runs) in enumerate(channels.items(), 1):
        name = words.named(channel)
        if server.mariadb:
            change = f"CHANGE MASTER{name} TO MASTER_HOST='127.0.0.1', MASTER_PORT={port}"
        else:
            change = f"CHANGE REPLICATION SOURCE TO SOURCE_HOST='127.0.0.1', SOURCE_PORT={port}{name}"
        server.sql(change, *[words.start_sql.format(channel=name)] * runs)
    with opened(server) as instance:

        def running() -> dict[str, bool]:
            return {r.channel: r.sql_running for r in replica_states(instance)}

        assert running() == channels
        with SafeReplica(instance, True, 30, silent):
            assert running() == dict.fromkeys(channels, False)
        assert running() == channels
        with SafeReplica(instance, True, 30, silent):
            for name in map(words.named, ("a'1", "c3")):
                server.sql(f"RESET SLAVE{name} ALL" if server.mariadb else f"RESET REPLICA ALL{name}")
        until = time.monotonic() + 20
        while running() != {"b 2": True, "d4": False} and time.monotonic() < until:
            time.sleep(0.2)
        assert running() == {"b 2": True, "d4": False}


def test_a_stopped_backup_does_not_stall_mysql(make_server):
    server = make_server("mysql-9.7", "--innodb-flush-log-at-trx-commit=2")
    server.sql("CREATE DATABASE d", "CREATE TABLE d.t (a INT AUTO_INCREMENT PRIMARY KEY, b LONGBLOB)")
    told: list[Event] = []
    with opened(server) as instance, RedoConsumer(instance, told.append) as consumer:
        assert consumer.registered
        started = time.monotonic()
        for _ in range(40):
            server.sql("INSERT INTO d.t (b) VALUES (REPEAT('x', 1000000))")
        assert time.monotonic() - started < 60
        assert not consumer.registered
        consumer.advance(instance.lsns(instance.session)[0])
    assert any(isinstance(e, Warn) and e.code == "redo-consumer" for e in told)


@pytest.mark.parametrize("server_name", EVERY)
def test_the_servers_own_binary_recovers_what_a_power_cut_left(server_name, make_server, monkeypatch):
    server = make_server(server_name)
    server.sql("CREATE DATABASE d", "CREATE TABLE d.t (a INT) ENGINE=InnoDB", "INSERT INTO d.t VALUES (1),(2),(3)")
    with opened(server) as instance:
        instance.session.run("FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS")
        dialect, version, variables = instance.dialect, instance.version, dict(instance.facts().variables)
        lsn = instance.lsns(instance.session)[0]
    server.kill9()
    logs = [p.stat().st_size for p in Path(server.datadir).glob("ib_logfile*")]
    options = dialect.recovery_options(
        variables, log_bytes=sum(logs) or 16 << 20, log_files=len(logs) or 1, memory_bytes=128 << 20,
        binlog="binlog" if dialect.binlog_tail else "",
    )  # fmt: skip
    monkeypatch.setenv("PATH", f"{Path(server.mysqld).parent}:/usr/bin:/bin")
    binary = find_server_binary(dialect.family, version)
    log = str(server.base / "recovery.log")
    with RecoveryRun(binary, str(server.datadir), options, log, silent) as run:
        run.wait_ready()
        run.stop()
        text = run.log_text()
    assert dialect.log_errors(text) == []
    reached = dialect.recovered_lsn(text)
    assert reached is not None and reached >= lsn
    assert dialect.recovered_binlog(text)[0] or not dialect.binlog_in_innodb
    server.start()
    assert server.value("SELECT COUNT(*) FROM d.t") == 3


@pytest.mark.parametrize("server_name", ["mariadb-10.11", "mysql-8.0"])
def test_keys_are_named_to_recovery_and_never_listed(server_name, make_server, lab_dir):
    inside = lab_dir / "source" / "data" / "my.keys"
    if server_name.startswith("mariadb"):
        (lab_dir / "keys").write_text("1;" + "a1" * 16 + "\n")
        options = ["--plugin-load-add=file_key_management", f"--file-key-management-filename={lab_dir}/keys",
                   "--innodb-encrypt-log=ON"]  # fmt: skip
        encrypted = "ENCRYPTED=YES"
    else:
        options = ["--early-plugin-load=keyring_file.so", f"--keyring-file-data={inside}"]
        encrypted = "ENCRYPTION='Y'"
    server = make_server(server_name, *options)
    server.sql("CREATE DATABASE d", f"CREATE TABLE d.t (a INT) ENGINE=InnoDB {encrypted}", "INSERT INTO d.t VALUES (1)")
    with opened(server) as instance:
        instance.session.run("FLUSH NO_WRITE_TO_BINLOG ENGINE LOGS")
        listing = list_files(instance)
        dialect, variables = instance.dialect, dict(instance.facts().variables)
    assert not {f.source for f in listing.plain} & {str(inside)}
    assert server_name.startswith("mariadb") or inside.exists()
    server.kill9()
    task = {"log_files": 1, "memory_bytes": 128 << 20, "binlog": "binlog" if dialect.binlog_tail else ""}
    task["log_bytes"] = sum(p.stat().st_size for p in Path(server.datadir).glob("ib_logfile*")) or 16 << 20
    keys = [n for n in variables if "key" in n]
    without = dialect.recovery_options({n: v for n, v in variables.items() if n not in keys}, **task)
    log = str(server.base / "recovery.log")
    blind = RecoveryRun(server.mysqld, str(server.datadir), without, log, silent)
    with pytest.raises(KeyMissing) as missing, blind:
        blind.wait_ready()
    assert "--server-option" in missing.value.hint
    options = dialect.recovery_options(variables, **task)
    with lent(server, variables) as (program, more), RecoveryRun(
        program, str(server.datadir), [*options, *more], log, silent
    ) as run:
        run.wait_ready()
        run.stop()
    server.start()
    assert server.value("SELECT COUNT(*) FROM d.t") == 1


@contextmanager
def lent(server, variables):
    """The program to start and its options: MySQL's is lent the keys, MariaDB's is told where they are."""
    if server.mariadb:
        yield server.mysqld, ()
        return
    with LentRing(installed(server.mysqld), read_ring(variables["keyring_file_data"]).keys, str(server.datadir)) as ring:
        yield ring.program, ring.options


@pytest.mark.parametrize("server_name", FAMILIES)
def test_a_recovery_that_fails_tells_the_servers_own_words_and_leaves_no_process(server_name, make_server):
    server = make_server(server_name)
    server.stop()
    log = str(server.base / "recovery.log")
    options = ["--skip-networking", "--innodb-page-size=4096"]
    run = RecoveryRun(server.mysqld, str(server.datadir), options, log, silent)
    with pytest.raises((RecoveryFailed, KeyMissing), match="(?i)page"), run:
        run.wait_ready()
    assert not Path(f"/proc/{run.pid}").exists()
    run = RecoveryRun(server.mysqld, str(server.datadir), ["--skip-networking"], log, silent)
    with pytest.raises(ZeroDivisionError), run:
        run.wait_ready()
        raise ZeroDivisionError
    assert not Path(f"/proc/{run.pid}").exists()
