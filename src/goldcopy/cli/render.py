"""Events on a terminal, or as JSON lines. Progress is drawn only where somebody looks, and only after two seconds."""

from __future__ import annotations

import dataclasses
import json
import sys
import threading
import time
from typing import TextIO

from goldcopy.errors import GoldcopyError
from goldcopy.events import Done, Event, Locked, Note, Phase, Progress, Warn
from goldcopy.startup import Unfailing

DRAW_AFTER_S, DRAW_EVERY_S = 2.0, 0.2


def human_bytes(count: float) -> str:
    """1536 -> '1.5 KiB'."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if abs(count) < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def human_seconds(seconds: float) -> str:
    """75 -> '1m15s'."""
    s = int(seconds)
    if s < 60:
        return f"{s}s"
    return f"{s // 60}m{s % 60:02d}s" if s < 3600 else f"{s // 3600}h{s % 3600 // 60:02d}m"


class Terminal:
    """For people. ``level``: 0 quiet (errors and warnings only), 1 normal, 2 verbose."""

    def __init__(self, level: int, out: TextIO | None = None) -> None:
        stream = out or sys.stderr
        self._level, self._out = level, Unfailing(stream)
        self._live = stream.isatty() and level > 0
        self._lock = threading.Lock()
        self._started = self._phase_started = time.monotonic()
        self._drawn_at = 0.0
        self._drawn = False

    def __call__(self, event: Event) -> None:
        with self._lock:
            if isinstance(event, Progress):
                self._progress(event)
            elif isinstance(event, Phase):
                self._phase_started = time.monotonic()
                self._line(f"{self._clock()}  {event.name:<8} {event.text}", 1)
            elif isinstance(event, Note):
                self._line(f"{self._clock()}  {event.text}", 2 if event.detail else 1)
            elif isinstance(event, Locked):
                self._line(f"{self._clock()}  {event.lock} held for {event.seconds:.3f} s", 1)
            elif isinstance(event, Warn):
                self._line(f"warning [{event.code}]: {event.text}", 0)
            elif isinstance(event, Done):
                self._done(event)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._started:7.1f}s"

    def _wipe(self) -> None:
        if self._drawn:
            self._out.write("\r\x1b[K")
            self._drawn = False

    def _line(self, text: str, level: int) -> None:
        if self._level >= level:
            self._wipe()
            self._out.write(text + "\n")

    def _progress(self, event: Progress) -> None:
        now = time.monotonic()
        elapsed = now - self._phase_started
        if not self._live or elapsed < DRAW_AFTER_S or now - self._drawn_at < DRAW_EVERY_S:
            return
        self._drawn_at = now
        rate = event.done / elapsed
        text = f"  {event.phase}: {human_bytes(event.done)}"
        if event.total:
            text += f" of {human_bytes(event.total)} ({100 * event.done // event.total}%)"
        text += f", {human_bytes(rate)}/s"
        if event.total and rate:
            text += f", {human_seconds((event.total - event.done) / rate)} left"
        if event.redo_head_start_s is not None:
            text += f", redo head start {human_seconds(event.redo_head_start_s)}"
        self._wipe()
        self._out.write("\r" + text)
        self._drawn = True

    def _done(self, event: Done) -> None:
        self._line(f"{self._clock()}  {event.text}", 1)
        width = max((len(label) for label, _ in event.facts), default=0)
        for label, value in event.facts:
            self._line(f"          {label:<{width}}  {value}", 1)

    def fail(self, error: GoldcopyError) -> None:
        """The one message of a failed operation."""
        self._line(f"goldcopy: {error.message} [{error.code}]", 0)
        if error.hint:
            self._line(f"HINT: {error.hint}", 0)


class JsonLines:
    """For machines: one JSON object a line on stdout; the last one of a failure is ``{"event": "error"}``."""

    def __init__(self, out: TextIO | None = None) -> None:
        self._out = Unfailing(out or sys.stdout)
        self._lock = threading.Lock()
        self._last = 0.0

    def __call__(self, event: Event) -> None:
        now = time.monotonic()
        with self._lock:
            if isinstance(event, Progress):
                if now - self._last < 1.0:
                    return
                self._last = now
            fields = dataclasses.asdict(event)
            if isinstance(event, Done):
                fields["facts"] = dict(event.facts)
            self._write({"event": type(event).__name__.lower(), **fields})

    def fail(self, error: GoldcopyError) -> None:
        """The one message of a failed operation."""
        self._write(
            {"event": "error", "code": error.code, "message": error.message, "hint": error.hint,
             "exit_status": error.exit_status}
        )

    def _write(self, fields: dict[str, object]) -> None:
        self._out.write(json.dumps(fields) + "\n")


Renderer = Terminal | JsonLines
