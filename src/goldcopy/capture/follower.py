"""The redo follower: a thread that copies the redo log raw while the server writes it, and never parses it.

The server overwrites redo that it no longer needs; the follower therefore measures how far it is from that (the
*head start*) and an overrun is an error that says which setting to raise, and to what.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Protocol

from goldcopy.capture.redo_base import RedoSource
from goldcopy.errors import GoldcopyError, RedoOverrun, ServerRefused
from goldcopy.formats import Lsn

MAX_READ_BYTES = 4 << 20
FASTEST_S, SLOWEST_S = 0.005, 0.25


class Appender(Protocol):
    """Where the redo bytes go: appended only, so a stream will do."""

    def write(self, data: bytes) -> object: ...


class Follower:
    """Copies ``[checkpoint, flushed)`` into ``out`` until told where the window ends.

    ``lsns`` asks the server for (flushed, current) on a connection of the follower's own; ``advance`` tells the
    server's redo consumer, where there is one, what need not be kept any more.
    """

    def __init__(
        self,
        source: RedoSource,
        out: Appender,
        lsns: Callable[[], tuple[Lsn, Lsn]],
        *,
        capacity_bytes: int,
        setting: str,
        advance: Callable[[Lsn], None] | None = None,
    ) -> None:
        self._source, self._out, self._lsns, self._advance = source, out, lsns, advance
        self._capacity, self._setting = capacity_bytes, setting
        self._end: Lsn | None = None
        self._wake = threading.Event()
        self._stop = False
        self._error: BaseException | None = None
        self._tail = b""
        self._thread = threading.Thread(target=self._run, name="redo-follower", daemon=True)
        self._rate = 0.0
        self._seen: tuple[float, int] | None = None
        self.head_start_s: float | None = None
        """Seconds until the server would overwrite what is not copied yet; None = not known yet."""
        self.position = Lsn(0)
        self.start_lsn = Lsn(0)

    def start(self, checkpoint: Lsn) -> None:
        """Copy what there is from ``checkpoint`` on, then go on in a thread.

        Raises RedoOverrun when even this first read comes too late: take a newer checkpoint and start again.
        """
        # from the block's begin: on a server that stands still at its checkpoint nothing else would be copied at all
        self.start_lsn = Lsn(checkpoint - checkpoint % self._source.block)
        self.position = self.start_lsn
        self._step()
        self._thread.start()

    def check(self) -> None:
        """Raise what ended the follower, if anything did."""
        if self._error is not None:
            if isinstance(self._error, GoldcopyError):
                raise self._error
            raise ServerRefused(f"the redo follower failed: {self._error}") from self._error

    def finish(self, end: Lsn, *, last_block: bytes = b"") -> None:
        """Wait until everything up to ``end`` is copied, and close the window there.

        ``last_block``: for redo whose blocks are encrypted as a whole, the block of ``end`` as it was when it held
        exactly ``end``; it replaces a later state that the follower may have read.
        """
        self._end = end
        self._wake.set()
        self._thread.join()
        self.check()
        tail = last_block or self._tail
        if tail:
            self._out.write(tail)

    def stop(self) -> None:
        """Give up (the backup failed): the thread ends, whatever it was doing."""
        self._stop = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join(timeout=30)

    def _run(self) -> None:
        pause = FASTEST_S
        try:
            while not self._stop:
                flushed = self._step()
                if self._end is not None and self.position >= self._end:
                    return
                if self._end is None and flushed - self.position < MAX_READ_BYTES:
                    pause = self._pause(pause)
                    self._wake.wait(pause)
                elif self._end is not None and flushed <= self.position:
                    time.sleep(FASTEST_S)
        except BaseException as e:
            self._error = e

    def _pause(self, before: float) -> float:
        """Look more often the larger the part of the log is that fills between two looks."""
        growth = self._rate * before
        if growth > self._capacity / 20:
            return max(FASTEST_S, before / 2)
        return min(SLOWEST_S, before * 1.5)

    def _step(self) -> Lsn:
        """Copy once. Returns the LSN up to which the server has flushed."""
        flushed, _ = self._lsns()
        upto = flushed if self._end is None else min(flushed, self._end)
        upto = Lsn(min(upto, self.position + MAX_READ_BYTES))
        if upto > self.position:
            block = self._source.block
            start = self.position - self.position % block
            data = self._read(Lsn(start), upto)
            self._measure(start)
            whole = upto - start - (upto % block)
            self._out.write(data[:whole])
            self._tail = data[whole:]
            self.position = upto
            if self._advance is not None:
                self._advance(Lsn(upto - upto % block))
        return flushed

    def _read(self, start: Lsn, upto: Lsn) -> bytes:
        """The source knows that the redo is gone; how much the server should keep is known here."""
        try:
            return self._source.read(start, upto)
        except RedoOverrun as e:
            raise RedoOverrun(e.message, hint=self._advice(self._lsns()[1] - start)) from e

    def _measure(self, start: int) -> None:
        """After a read: is what was read still there? The server may have come round while we read."""
        _, current = self._lsns()
        behind = current - start
        now = time.monotonic()
        if self._seen is not None and now > self._seen[0]:
            rate = (current - self._seen[1]) / (now - self._seen[0])
            self._rate = rate if not self._rate else 0.7 * self._rate + 0.3 * rate
        self._seen = (now, current)
        left = self._capacity - behind
        self.head_start_s = left / self._rate if self._rate > 0 else None
        capacity = self._source.capacity
        if capacity is not None and behind + self._source.guard > capacity:
            raise self.overrun(behind)

    def overrun(self, behind: int) -> RedoOverrun:
        """The error that says how much redo the server would have to keep."""
        return RedoOverrun(
            f"the server overwrote redo before it was copied: the follower was {behind:,} bytes behind, "
            f"the redo log holds {self._capacity:,} bytes and {self._rate / 1e6:.1f} MB/s are written",
            hint=self._advice(behind),
        )

    def _advice(self, behind: int) -> str:
        want = max(2 * self._capacity, int(self._rate * 120), 2 * behind)
        want_mb = -(-want // (64 << 20)) * 64
        return (
            f"raise {self._setting} to {want_mb}M or more (and do not change it during a backup), or take the backup "
            "at a quieter time"
        )
