"""The backup's locks on a live server: one object, one exit. Taken as lightly as the dialect allows, and timed.

All locks belong to the instance's main session: if that connection dies, the server gives them up.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator

import msgspec

from goldcopy.dialect.locking import FLUSH_REDO, Step
from goldcopy.errors import GoldcopyError, PrivilegeMissing, ServerRefused
from goldcopy.events import Emit, Locked, Note, Warn
from goldcopy.server.instance import Instance
from goldcopy.server.position import is_replica, replica_states
from goldcopy.server.queries import KillType, WaitType, may_be_ended, running_queries, wait_for_long_queries
from goldcopy.server.session import Session
from goldcopy.server.sql_errors import LOCK_WAIT_TIMEOUT, number_of

_POLL_S = 0.5


class LockPolicy(msgspec.Struct, frozen=True, kw_only=True):
    """How patient the locks are. Seconds; 0 for ``wait_query_timeout_s`` and ``kill_timeout_s`` means: do not.

    ``lock_wait_timeout_s``: how long one lock may be waited for. ``wait_query_timeout_s``: before a lock that waits
    for running statements, wait so long for those that run longer than ``wait_query_threshold_s``.
    ``kill_timeout_s``: a lock that is not given after so long may end the statements before it.
    ``guard_wait_timeout_s``: another patience for the guard, 0 = the same. ``no_lock``: take none at all, on the
    user's word that nothing but InnoDB is written and no DDL runs. ``late_guard``: let DDL run while data files are
    copied. ``heavy_commit``: the global lock even where a lighter way would do.
    """

    lock_wait_timeout_s: float = 3600.0
    wait_query_timeout_s: float = 0.0
    wait_query_threshold_s: float = 60.0
    wait_query_type: WaitType = "all"
    kill_timeout_s: float = 0.0
    kill_query_type: KillType = "select"
    guard_wait_timeout_s: float = 0.0
    no_lock: bool = False
    late_guard: bool = False
    heavy_commit: bool = False


class HeldLock(msgspec.Struct, frozen=True):
    """One lock, given back: seconds waited for and held."""

    lock: str
    waited_s: float
    held_s: float


class _Taken(msgspec.Struct, frozen=True):
    lock: str
    waited_s: float
    since: float


class BackupLocks(contextlib.AbstractContextManager["BackupLocks"]):
    """Guard, DDL lock, commit lock, in that order; ``release`` gives all back, and so does leaving the block."""

    def __init__(self, instance: Instance, policy: LockPolicy, emit: Emit) -> None:
        self._instance, self._policy, self._emit = instance, policy, emit
        self._session = instance.session
        self._plan = instance.dialect.locks
        self._taken: list[_Taken] = []
        self.times: list[HeldLock] = []

    def guard(self) -> None:
        """Keep DDL away, or follow it, where the server offers that for the whole backup."""
        if not self._policy.late_guard:
            self._guard()

    def _guard(self) -> None:
        policy = self._policy
        self._session.set_lock_wait_timeout(policy.guard_wait_timeout_s or policy.lock_wait_timeout_s)
        self._run(self._plan.guard)
        self._session.set_lock_wait_timeout(policy.lock_wait_timeout_s)

    def block_ddl(self) -> None:
        """From here to the release no table is made, dropped or altered."""
        if self._policy.late_guard:
            self._guard()
        self._run(self._plan.block_ddl)

    def block_commit(self, non_innodb: bool) -> None:
        """The consistent point: no commit until the release (MySQL 8.0+ with InnoDB tables only: none is needed,
        since its position query is atomic). ``non_innodb``: there are user tables of other engines.

        A running replica is stopped at a commit as well: its source's coordinates are not in the atomic answer.
        """
        light = self._plan.commit_innodb
        if self._policy.no_lock:
            return
        heavy = non_innodb or not light or self._policy.heavy_commit or is_replica(self._instance)
        self._run(self._plan.commit if heavy else light)

    def flush_redo(self) -> None:
        """Let the server write all redo to disk. Without locks it is not insisted on: the account may lack RELOAD."""
        try:
            self._session.run(FLUSH_REDO)
        except PrivilegeMissing:
            if not self._policy.no_lock:
                raise

    def assert_held(self) -> None:
        """Raise ServerRefused when the locks were lost since they were taken (the connection died)."""
        if self._policy.no_lock:
            return
        if not self._taken:
            raise ServerRefused("the locks are not held")
        self.assert_connected()

    def assert_connected(self) -> None:
        """Raise ServerRefused when the connection to which all locks belong is gone."""
        try:
            now = self._session.value("SELECT CONNECTION_ID()")
        except GoldcopyError as e:
            raise ServerRefused(
                f"the locks can no longer be relied on: {e.message}",
                hint=e.hint or "what the server's error log says of it; then take the backup again",
            ) from e
        if now != self._session.connection_id:
            raise ServerRefused("the locks were lost: another connection answered")

    def release(self) -> None:
        """Give everything back, tell how long each lock was held. Harmless when nothing is held or the server is
        gone (then they are gone, too)."""
        if not self._taken:
            return
        for sql in self._plan.release:
            try:
                self._session.run(sql)
            except GoldcopyError as e:
                self._emit(Warn("unlock", f"{sql}: {e.message}; closing the connection, which gives the locks back"))
                self._session.close(e)
                break
        now = time.monotonic()
        for t in self._taken:
            self.times.append(HeldLock(t.lock, t.waited_s, now - t.since))
            self._emit(Locked(t.lock, now - t.since))
        self._taken.clear()

    def __exit__(self, *exc: object) -> None:
        self.release()

    # -- taking them --------------------------------------------------------------------------------------

    def _run(self, steps: tuple[Step, ...]) -> None:
        for step in () if self._policy.no_lock else steps:
            self._take(step) if step.lock else self._session.run(step.sql)

    def _take(self, step: Step) -> None:
        policy = self._policy
        if step.is_global and policy.wait_query_timeout_s > 0:
            wait_for_long_queries(
                self._session, self._emit, threshold_s=policy.wait_query_threshold_s,
                timeout_s=policy.wait_query_timeout_s, kind=policy.wait_query_type,
            )
        started = time.monotonic()
        try:
            with self._impatience(step):
                self._session.run(step.sql)
        except ServerRefused as e:
            if number_of(e) == LOCK_WAIT_TIMEOUT:
                raise self._not_given(step, time.monotonic() - started) from e
            raise
        taken = time.monotonic()
        self._taken.append(_Taken(step.lock, taken - started, taken))

    def _not_given(self, step: Step, waited_s: float) -> ServerRefused:
        """The error for a lock that timed out: it names who was in the way."""
        before = [
            q for q in running_queries(self._session) if q.seconds + 1 >= waited_s and q.can_block(step.waits_for)
        ]
        who = f"; in the way may be {before[0]}" if before else ""
        return ServerRefused(
            f"{step.sql} was not given within {waited_s:.0f} s{who}",
            hint="raise --lock-timeout-s, wait for long statements first (--wait-queries-s), or let them be ended "
            "(--kill-queries-s)",
        )

    @contextlib.contextmanager
    def _impatience(self, step: Step) -> Iterator[None]:
        """While the lock is waited for, a second connection ends the statements in its way, if that is allowed."""
        if step.waits_for == "nothing" or self._policy.kill_timeout_s <= 0:
            yield
            return
        given = threading.Event()
        with self._instance.new_session() as other:
            killer = threading.Thread(target=self._end_queries, args=(other, step, given), name="kill-queries")
            killer.start()
            try:
                yield
            finally:
                given.set()
                killer.join()

    def _end_queries(self, other: Session, step: Step, given: threading.Event) -> None:
        started = time.monotonic()
        if given.wait(self._policy.kill_timeout_s):
            return
        while not given.is_set():
            waited = time.monotonic() - started
            try:
                self._end_those_before(other, step, waited)
            except GoldcopyError as e:
                self._emit(Warn("kill-query", e.message))
                return
            given.wait(_POLL_S)

    def _end_those_before(self, other: Session, step: Step, waited_s: float) -> None:
        for query in running_queries(other, own=(self._session.connection_id,)):
            if may_be_ended(query, self._policy.kill_query_type, step.waits_for, waited_s):
                self._emit(Warn("kill-query", f"Killing {query.told}"))
                other.kill_query(query.connection_id)


class SafeReplica(contextlib.AbstractContextManager["SafeReplica"]):
    """While the block runs, a replica's SQL threads stand still at a point at which no temporary tables are open.

    Does nothing unless ``wanted`` and the server is a running replica. Whatever happens, threads that ran before run
    again afterwards, even if this process is killed. Raises ServerRefused when temporary tables stay open for
    ``timeout_s``.
    """

    def __init__(self, instance: Instance, wanted: bool, timeout_s: float, emit: Emit) -> None:
        self._instance, self._wanted, self._timeout_s, self._emit = instance, wanted, timeout_s, emit
        self._words = instance.dialect.replica
        self._stopped: list[str] = []
        self._stack = contextlib.ExitStack()

    def __enter__(self) -> SafeReplica:
        if not self._wanted:
            return self
        from goldcopy.server.last_will import LastWill  # and what starts processes: for replicas only

        states = replica_states(self._instance)
        running = [r.channel for r in states if r.sql_running]
        if not running:
            self._check_stopped(bool(states))
            return self
        try:
            start = tuple(self._words.start_sql.format(channel=self._words.named(c)) for c in running)
            self._will = self._stack.enter_context(LastWill(self._instance.account, start))
            self._stop_without_temp_tables(running)
        except BaseException:
            self.__exit__()
            raise
        return self

    def _check_stopped(self, is_replica: bool) -> None:
        """A thread that somebody has stopped may have left temporary tables, and must not be started by us."""
        if not is_replica:
            self._emit(Note("Not checking slave open temp tables for --safe-slave-backup because host is not a slave"))
        elif (count := self._open_temp_tables()) > 0:
            raise ServerRefused(
                f"the replica's SQL thread is stopped, and {count} temporary tables are open: what comes next in the"
                " relay log may need them, and no backup has them",
                hint="start the SQL thread, so that a moment without temporary tables can be waited for",
            )

    def _stop_without_temp_tables(self, channels: list[str]) -> None:
        deadline = time.monotonic() + self._timeout_s
        while True:
            for channel in channels:
                self._stopped.append(channel)
                self._say(self._instance.session, self._words.stop_sql, channel)
            if self._open_temp_tables() == 0:
                self._emit(Note("Slave is safe to backup."))
                return
            if time.monotonic() >= deadline:
                raise ServerRefused(
                    f"the replica keeps temporary tables open for more than {self._timeout_s:.0f} s",
                    hint="raise --safe-replica-timeout-s, or take the backup without --safe-replica",
                )
            # they are closed only by what the SQL thread still has to execute
            self._start_again(self._instance.session)
            time.sleep(min(3.0, max(0.1, deadline - time.monotonic())))

    def _open_temp_tables(self) -> int:
        rows = self._instance.session.rows(f"SHOW GLOBAL STATUS LIKE '{self._words.open_temp_tables}'")
        return int(rows[0][1]) if rows else 0

    def _say(self, session: Session, sql: str, channel: str) -> None:
        session.run(sql.format(channel=self._words.named(channel)))

    def _start_again(self, session: Session) -> None:
        while self._stopped:
            self._say(session, self._words.start_sql, self._stopped[-1])
            self._stopped.pop()

    def __exit__(self, *exc: object) -> None:
        with self._stack:
            try:
                self._restart()
            except GoldcopyError as e:
                # another error may be on its way, which says more
                self._will.leave()
                self._emit(Warn("replica", f"the SQL thread could not be started again: {e.message}"))

    def _restart(self) -> None:
        try:
            self._start_again(self._instance.session)
        except GoldcopyError:
            # our connection is gone; the threads must not stay stopped because of us
            with self._instance.new_session() as session:
                self._start_again(session)
