"""What an operation tells while it runs, as values. Fronts render them; nobody else prints.

An operation takes an ``Emit`` and calls it with one of these. The JSON form of an event is its fields plus
``event``, the class name in lower case: that is an interface scripts may rely on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Base of all events."""


@dataclass(frozen=True)
class Phase(Event):
    """A step of the operation begins; ``name`` is short and stable (``copy``, ``lock``, ``recover``...)."""

    name: str
    text: str = ""


@dataclass(frozen=True)
class Note(Event):
    """Something worth a line when the user wants to know what happens. ``detail`` notes are for ``--verbose``."""

    text: str
    detail: bool = False


@dataclass(frozen=True)
class Warn(Event):
    """Something the user must know although the operation goes on; ``code`` is stable."""

    code: str
    text: str


@dataclass(frozen=True)
class Progress(Event):
    """How far a step is. ``done`` and ``total`` count ``unit``s (``bytes`` mostly); total 0 = not known.

    ``redo_head_start_s``: seconds until the server would overwrite redo that is not copied yet, None outside
    a backup.
    """

    phase: str
    done: int
    total: int
    unit: str = "bytes"
    redo_head_start_s: float | None = None


@dataclass(frozen=True)
class Locked(Event):
    """A lock on the live server was given back: what it was and how long it was held."""

    lock: str
    seconds: float


@dataclass(frozen=True)
class Done(Event):
    """The operation succeeded; ``facts`` is what a summary shows, in order (label -> value for people)."""

    text: str
    facts: tuple[tuple[str, str], ...] = ()


Emit = Callable[[Event], None]


def silent(_event: Event) -> None:
    """An Emit that drops everything."""
