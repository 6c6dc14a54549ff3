"""The log on stderr, in the shapes that the originals' users search and that tools parse.

``completed OK!`` is the last line of a success, and is never printed otherwise: nothing can be logged after it,
and a log that saw an error cannot print it.
"""

from __future__ import annotations

import enum
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TextIO

from goldcopy.compat.words import in_peers_words
from goldcopy.errors import GoldcopyError
from goldcopy.events import Done, Event, Locked, Note, Phase, Warn
from goldcopy.startup import Unfailing

COMPLETED = "completed OK!"
_CODE = "MY-011825"


class Shape(enum.Enum):
    """The generations of log lines.

    STRUCTURED: XtraBackup 8.0.28 and newer, UTC with microseconds. OLD: XtraBackup before, local time.
    INNOBACKUPEX: the same with the program's name on its own lines. MARIADB: mariadb-backup, local time.
    """

    STRUCTURED = "structured"
    OLD = "old"
    INNOBACKUPEX = "innobackupex"
    MARIADB = "mariadb"


class Severity(enum.Enum):
    """How the structured shape marks a line."""

    NOTE = "Note"
    WARNING = "Warning"
    ERROR = "ERROR"


def _now() -> datetime:
    return datetime.now(UTC)


class Log:
    """Renders events and messages, one line each, on one stream."""

    def __init__(
        self, out: TextIO, shape: Shape, *, verbose: bool = False, clock: Callable[[], datetime] = _now
    ) -> None:
        self._out = Unfailing(out)
        self._shape = shape
        self.verbose = verbose
        self._clock = clock
        self._failed = False
        self._ended = False

    def emit(self, event: Event) -> None:
        """An ``Emit``: what an operation tells becomes a line, progress does not."""
        match event:
            case Phase(name, text):
                self.note(text or name)
            case Note(text, detail):
                if self.verbose or not detail:
                    self.note(text)
            case Warn(_, text):
                self.warning(text)
            case Locked(lock, seconds):
                self.note(f"{lock} was held for {seconds:.3f} seconds")
            case Done(text, facts):
                self._done(text, facts)

    def note(self, text: str) -> None:
        """A line of what happens."""
        self._write(Severity.NOTE, text)

    def warning(self, text: str) -> None:
        """A line of what the user must know although it goes on."""
        self._write(Severity.WARNING, text)

    def plain(self, text: str) -> None:
        """A line without stamp or mark, as the originals have some."""
        if not self._ended:
            self._out.write(text.replace(COMPLETED, "completed") + "\n")

    def error(self, failure: GoldcopyError | str) -> None:
        """The failure, with its hint as a line of its own; after it there is no ``completed OK!``."""
        self._failed = True
        if isinstance(failure, str):
            self._write(Severity.ERROR, failure)
            return
        self._write(Severity.ERROR, failure.message)
        if failure.hint:
            self._write(Severity.ERROR, f"Hint: {in_peers_words(failure.hint)}")

    def completed(self) -> None:
        """Say ``completed OK!``, the last line; says nothing when an error was logged or it was said before."""
        if not self._failed and not self._ended:
            self._write(Severity.NOTE, COMPLETED)
        self._ended = True

    def _done(self, text: str, facts: tuple[tuple[str, str], ...]) -> None:
        self.note(text)
        for label, value in facts:
            self.note(f"{label}: {value}")

    def _write(self, severity: Severity, text: str) -> None:
        if self._ended:
            return
        # a message must not be able to end the log in the name of a success
        said = text if text == COMPLETED and severity is Severity.NOTE else text.replace(COMPLETED, "completed")
        for line in said.splitlines() or [""]:
            stamped = line_of(self._shape, severity, line, self._clock()) if line else ""
            self._out.write(stamped + "\n")


def line_of(shape: Shape, severity: Severity, text: str, moment: datetime) -> str:
    """One line of the log. ``moment`` must know its zone; only the structured shape shows UTC. Where the originals give
    the number of the thread it is 0, the main one's.
    """
    if shape is Shape.STRUCTURED:
        utc = moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f-00:00")
        return f"{utc} 0 [{severity.value}] [{_CODE}] [Xtrabackup] {text}"
    local = moment.astimezone()
    if shape is Shape.MARIADB:
        return _mariadb(severity, text, local)
    marked = _MARKS[severity] + text
    if shape is Shape.INNOBACKUPEX and text != COMPLETED:
        marked = f"innobackupex: {marked}"
    return f"{local:%y%m%d %H:%M:%S} {marked}"


_MARKS = {Severity.NOTE: "", Severity.WARNING: "Warning: ", Severity.ERROR: "Error: "}


def _mariadb(severity: Severity, text: str, local: datetime) -> str:
    stamp = f"{local:%Y-%m-%d %H:%M:%S}"
    # what says itself that it is an error is no fatal one there
    if severity is Severity.ERROR and not text.lower().startswith("error: "):
        return f"[00] FATAL ERROR: {stamp} {text}"
    mark = _MARKS[severity] if severity is Severity.WARNING else ""
    return f"[00] {stamp} {mark}{text}"
