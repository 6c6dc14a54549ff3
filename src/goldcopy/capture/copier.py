"""Copies tablespaces in parallel: one process, a few threads, a few megabytes at a time (``copying.md`` 1).

Threads suffice because all that takes time (reads, sums, writes) is done outside the interpreter lock. A large file
is worked on by all of them, and files are open only while they are, so that 100,000 tables need no more than a
handful of descriptors.
"""

from __future__ import annotations

import threading
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from typing import Literal

from goldcopy.capture.copy_check import Checker
from goldcopy.capture.copy_source import read_failure
from goldcopy.capture.copy_space import CopyRules, SpaceCopy, SpaceJob, SpaceResult
from goldcopy.capture.throttle import Throttle
from goldcopy.capture.witness import NewestPages
from goldcopy.errors import Interrupted
from goldcopy.formats import Family
from goldcopy.image.sink import Sink

CHUNK_BYTES = 4 << 20
"""What a thread reads at once: two huge pages, so that what is done in Python for each chunk hardly counts."""

LEGACY_CHUNK_BYTES, LEGACY_THREADS = 8 << 20, 2
"""The byte-serial ``innodb`` sum goes through all pages of a buffer at once: the more there are, the faster."""

_TICK_S = 0.1


class _StoppedError(Exception):
    """A thread is to end without a word: another one failed, or the user asked for it."""


class SpaceCopier:
    """Copies tablespaces into ``sink``, every page verified.

    ``legacy``: the server writes ``innodb`` sums by default (MySQL 5.6). ``on_corrupt``: ``stop`` raises
    PageCorrupt at a page that stays bad; ``list`` copies it as it is and names it in the result. ``extended``: see
    ``Checker``. ``newest`` hears of the newest pages. ``progress`` is called with bytes done and in all, from the
    thread that called ``copy``; what it raises stops the copy. ``cancelled``: set it to stop within a second.
    """

    def __init__(
        self,
        sink: Sink,
        *,
        family: Family,
        threads: int = 4,
        throttle: Throttle | None = None,
        legacy: bool = False,
        on_corrupt: Literal["stop", "list"] = "stop",
        extended: bool = False,
        newest: NewestPages | None = None,
        progress: Callable[[int, int], None] = lambda _done, _total: None,
        cancelled: threading.Event | None = None,
    ) -> None:
        chunk_bytes = LEGACY_CHUNK_BYTES if legacy else CHUNK_BYTES
        self._rules = CopyRules(sink, family, chunk_bytes, on_corrupt, newest or NewestPages())
        self._threads = min(threads, LEGACY_THREADS) if legacy else threads
        self._legacy, self._extended = legacy, extended
        self._throttle = throttle or Throttle()
        self._progress = progress
        self._cancelled = cancelled or threading.Event()

    def copy(self, jobs: Sequence[SpaceJob], take: Callable[[SpaceResult], None]) -> None:
        """Copy all of ``jobs``. ``take`` is given the result of each, one at a time, from any thread.

        Raises PageCorrupt, NoSpace, TargetRefused, PrivilegeMissing, Interrupted (``cancelled`` was set).
        """
        work = _Work(jobs, self._rules, take)
        count = min(self._threads, len(jobs) + work.total // self._rules.chunk_bytes)
        threads = [threading.Thread(target=self._run, args=(work,), daemon=True) for _ in range(count)]
        try:
            for t in threads:
                t.start()
            self._watch(work, threads)
        except BaseException as e:
            work.fail(e)
        work.wait_until_left()
        work.end()

    def _watch(self, work: _Work, threads: list[threading.Thread]) -> None:
        for t in threads:
            while t.is_alive():
                t.join(_TICK_S)
                if self._cancelled.is_set():
                    raise Interrupted("the backup was cancelled")
                self._progress(work.done, work.total)
        self._progress(work.done, work.total)

    def _run(self, work: _Work) -> None:
        """One thread: take chunks until there are none."""
        if not work.enter():
            return
        try:
            checker = Checker(self._rules.chunk_bytes, legacy=self._legacy, pause=work.pause, extended=self._extended)
            while work.step(checker, self._throttle):
                pass
        except _StoppedError:
            pass
        except BaseException as e:
            work.fail(e)
        finally:
            work.leave()


class _Work:
    """The queue: what is open and unfinished first, in chunk order; else the next file, largest first."""

    def __init__(self, jobs: Sequence[SpaceJob], rules: CopyRules, take: Callable[[SpaceResult], None]) -> None:
        self._jobs, self._rules, self._take = jobs, rules, take
        sizes = array("q", (job.file.size for job in jobs))
        # taken from its end; an array, because a job in a list would be an object for every table
        self._order = array("q", sorted(range(len(jobs)), key=lambda i: (sizes[i], -i)))
        self._changed = threading.Condition()
        self._giving = threading.Lock()
        self._stop = threading.Event()
        self._shared: deque[tuple[SpaceCopy, int]] = deque()
        self._beginning = 0
        self._inside = 0
        self._open: set[SpaceCopy] = set()
        self._error: BaseException | None = None
        self.total = sum(sizes)
        self.done = 0

    def enter(self) -> bool:
        """A thread wants to work. False: too late, all is to stop."""
        with self._changed:
            if self._stop.is_set():
                return False
            self._inside += 1
            return True

    def leave(self) -> None:
        """A thread that entered touches nothing any more."""
        with self._changed:
            self._inside -= 1
            self._changed.notify_all()

    def wait_until_left(self) -> None:
        """Return when no thread is inside. Python's own join, interrupted once, takes a running thread for ended
        (3.11, ``Thread._wait_for_tstate_lock``)."""
        with self._changed:
            self._changed.wait_for(lambda: not self._inside)

    def step(self, checker: Checker, throttle: Throttle) -> bool:
        """Copy one chunk. False when nothing is left to begin."""
        task = self._next()
        if task is None:
            return False
        if isinstance(task, int):
            self._begin(task, checker, throttle)
        else:
            copy, index = task
            self._wait(throttle, copy.length(index))
            copy.copy(index, checker)
            self._count(copy, copy.length(index))
        return True

    def _next(self) -> int | tuple[SpaceCopy, int] | None:
        """The next chunk of an open file, or else a file to begin. Waits while a file being begun may have more."""
        with self._changed:
            self._changed.wait_for(lambda: self._shared or self._order or not self._beginning or self._stop.is_set())
            if self._stop.is_set():
                raise _StoppedError
            if self._shared:
                copy, index = self._shared.popleft()
                if index + 1 < copy.chunks:
                    self._shared.appendleft((copy, index + 1))
                return copy, index
            if not self._order:
                return None
            self._beginning += 1
            return self._order.pop()

    def _begin(self, index: int, checker: Checker, throttle: Throttle) -> None:
        try:
            copy = self._opened(index)
            if copy is not None:
                self._wait(throttle, copy.length(0))
                copy.begin(checker)
        finally:
            with self._changed:
                self._beginning -= 1
                self._changed.notify_all()
        if copy is not None:
            if copy.chunks > 1:
                with self._changed:
                    self._shared.append((copy, 1))
                    self._changed.notify_all()
            self._count(copy, copy.length(0))

    def _opened(self, index: int) -> SpaceCopy | None:
        """The file, opened; None when it is gone."""
        job = self._jobs[index]
        try:
            copy = SpaceCopy(job, index, self._rules)
        except FileNotFoundError:
            self._give(SpaceResult(path=job.file.path, external=job.file.external, vanished=True))
            return None
        except OSError as e:
            raise read_failure(e, job.file.source) from e
        with self._changed:
            self._open.add(copy)
        return copy

    def _wait(self, throttle: Throttle, length: int) -> None:
        seconds = throttle.reserve(length)
        if seconds:
            self.pause(seconds)

    def _count(self, copy: SpaceCopy, length: int) -> None:
        """A chunk is done; close the file behind its last one."""
        last = copy.count_chunk()
        if last:
            self._give(copy.finish())
        with self._changed:
            self.done += length
            if last:
                self._open.discard(copy)

    def _give(self, result: SpaceResult) -> None:
        with self._giving:
            self._take(result)

    def pause(self, seconds: float) -> None:
        """Sleep, unless the copy is to stop."""
        if self._stop.wait(seconds):
            raise _StoppedError

    def fail(self, error: BaseException) -> None:
        """Stop all threads; the first error is the one that is told."""
        with self._changed:
            self._error = self._error or error
            self._stop.set()
            self._changed.notify_all()
            for copy in self._open:
                copy.give_up()

    def end(self) -> None:
        """Raise the error, if there was one. No thread may be running any more."""
        if self._error is not None:
            for copy in self._open:
                copy.abort()
            raise self._error
