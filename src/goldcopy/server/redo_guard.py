"""MySQL's redo log consumer: the server keeps redo files for us, and must never be stalled for it.

A registered consumer that does not advance stops all writers once the log is full (formats.md 7). So a watcher of
its own lets go before that: better an overrun for the backup than a standstill for production.
"""

from __future__ import annotations

import contextlib
import threading

from goldcopy.errors import GoldcopyError
from goldcopy.events import Emit, Note, Warn
from goldcopy.formats import Lsn
from goldcopy.server.instance import Instance

LET_GO_AT = 0.75
_WATCH_S = 0.25


class RedoConsumer(contextlib.AbstractContextManager["RedoConsumer"]):
    """Registered while the block runs, on a session of its own. Does nothing where the server cannot or will not."""

    def __init__(self, instance: Instance, emit: Emit) -> None:
        self._instance, self._emit = instance, emit
        self._lock = threading.Lock()
        self._closed = threading.Event()
        self._registered = False
        self._advanced = Lsn(0)

    def __enter__(self) -> RedoConsumer:
        self._session = self._instance.new_session()
        try:
            self._session.value("SELECT innodb_redo_log_consumer_register()")
        except GoldcopyError as e:
            self._emit(Note(f"the server does not keep redo for us: {e.message}", detail=True))
            return self
        self._registered = True
        self._advanced = self._instance.lsns(self._session)[0]
        self._watcher = threading.Thread(target=self._watch, name="redo-consumer", daemon=True)
        self._watcher.start()
        return self

    @property
    def registered(self) -> bool:
        """The server keeps redo for us now."""
        return self._registered

    def advance(self, lsn: Lsn) -> None:
        """Tell the server that redo below ``lsn`` need not be kept any more. Failing to is no error: it lets go."""
        with self._lock:
            if not self._registered:
                return
            try:
                self._session.run(f"DO innodb_redo_log_consumer_advance({lsn})")
                self._advanced = lsn
            except GoldcopyError as e:
                self._let_go(f"the server does not take the redo consumer's advance: {e.message}")

    def _watch(self) -> None:
        """Let go when what is kept for us nears the capacity."""
        while not self._closed.wait(_WATCH_S):
            with self._lock:
                if not self._registered:
                    return
                self._check()

    def _check(self) -> None:
        try:
            current = self._instance.lsns(self._session)[1]
            capacity = self._instance.redo_capacity_bytes(self._session)
        except GoldcopyError as e:
            self._let_go(f"the redo consumer's connection failed: {e.message}")
            return
        if current - self._advanced > LET_GO_AT * capacity:
            self._let_go("redo is written faster than it is copied: no longer kept for us, so that writers go on")

    def _let_go(self, why: str) -> None:
        self._registered = False
        # closing the session unregisters as well; it works whatever state the session is in
        self._session.close()
        self._emit(Warn("redo-consumer", why))

    def __exit__(self, *exc: object) -> None:
        self._closed.set()
        with self._lock:
            if self._registered:
                self._registered = False
                try:
                    self._session.run("DO innodb_redo_log_consumer_unregister()")
                except GoldcopyError:
                    pass  # the session's end unregisters
        self._session.close()
