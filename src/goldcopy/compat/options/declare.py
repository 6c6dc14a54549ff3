"""What one option of a peer is, as data: all that the parser, the notes and the reference page need."""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass, replace

Value = str | int | bool | None
"""A parsed value: text, a number (bytes for sizes), a switch, or None for "not given and no default"."""


class Release(enum.Flag):
    """Programs of the peers, by the series in which their options differ."""

    XB24 = enum.auto()
    XB80 = enum.auto()
    XB84 = enum.auto()
    XB97 = enum.auto()
    IBX24 = enum.auto()
    MB105 = enum.auto()
    MB1011 = enum.auto()
    MB118 = enum.auto()
    XB8 = XB80 | XB84 | XB97
    XB = XB24 | XB8
    PXB = XB | IBX24
    MB = MB105 | MB1011 | MB118
    ALL = PXB | MB


class Face(enum.Enum):
    """The name that we were called by: which peers' options are understood under it."""

    XTRABACKUP = Release.XB
    INNOBACKUPEX = Release.IBX24 | Release.XB24
    MARIABACKUP = Release.MB
    MARIABACKUP_INNOBACKUPEX = Release.MB | Release.IBX24

    @property
    def mariadb(self) -> bool:
        """Whether this is one of MariaDB's names, with MariaDB's exit statuses and option groups."""
        return bool(self.value & Release.MB)

    @property
    def positional(self) -> bool:
        """Whether a directory may stand bare on the command line."""
        return bool(self.value & Release.IBX24)


class Kind(enum.Enum):
    """How a value is read."""

    FLAG = "switch"
    ACTION = "no value"
    TEXT = "text"
    NUMBER = "number"
    SIZE = "size (K, M, G, T, P, E)"
    ENUM = "one of"


class Arg(enum.Enum):
    """Whether a value follows.

    REQUIRED: after ``=`` or as the next word. OPTIONAL: after ``=`` only. EITHER: the series disagree, so the
    next word is taken unless it begins with a dash.
    """

    NONE = "none"
    REQUIRED = "required"
    OPTIONAL = "optional"
    EITHER = "either"


class Standing(enum.Enum):
    """What becomes of an option here."""

    MEANING = "meaning"
    IGNORED = "ignored"
    REFUSED = "refused"


@dataclass(frozen=True)
class Variant:
    """Where some releases differ from the rest: only what is not None does."""

    releases: Release
    default: Value = None
    arg: Arg | None = None
    maximum: int | None = None


@dataclass(frozen=True, kw_only=True)
class Option:
    """One option under one name.

    ``text`` says what it does here, or why it means nothing, or why it is refused, as ``standing`` has it.
    ``server``: it is one of the server's own variables, so it stands in ``[mysqld]`` of nearly every option
    file and is not worth a note when it comes from there. ``default`` of TEXT: None = not set.
    ``signed``: a negative number is pulled into range instead of refused.
    ``bare``: what an optional value is when it is left out. ``refuse``: (value, why) pairs that are refused
    even though the option is not. ``tilde``: a leading ``~`` or ``~user`` is somebody's home.
    ``said``: how the original's own message about it begins, which users search for.
    ``alias_of``: the option that this is another name of; ``exclusive``: giving both names at once is an error,
    as it is in XtraBackup 9.7.2.
    """

    name: str
    text: str
    releases: Release
    kind: Kind = Kind.TEXT
    arg: Arg = Arg.REQUIRED
    standing: Standing = Standing.MEANING
    short: str = ""
    default: Value = None
    bare: Value = None
    choices: tuple[str, ...] = ()
    minimum: int = 0
    maximum: int = 2**63 - 1
    power_of_two: bool = False
    signed: bool = False
    secret: bool = False
    server: bool = False
    tilde: bool = False
    refuse: tuple[tuple[str, str], ...] = ()
    said: str = ""
    alias_of: str = ""
    exclusive: bool = False
    variants: tuple[Variant, ...] = ()

    def within(self, releases: Release) -> Option:
        """The option as the first of its variants that lies in ``releases`` has it."""
        for variant in self.variants:
            if variant.releases & releases:
                return replace(
                    self,
                    default=self.default if variant.default is None else variant.default,
                    arg=variant.arg or self.arg,
                    maximum=self.maximum if variant.maximum is None else variant.maximum,
                    variants=(),
                )
        return self

    def why_refused(self, value: Value) -> str:
        """Why this value may not be followed, or "" when it may."""
        if self.standing is Standing.REFUSED:
            return self.text
        return next((why for bad, why in self.refuse if str(value).lower() == bad.lower()), "")


def flag(name: str, releases: Release, text: str, *, default: bool = False, **rest: object) -> Option:
    """A switch: ``--x``, ``--skip-x``, ``--enable-x``, ``--x=ON``."""
    return _declare(name, releases, text, Kind.FLAG, arg=Arg.NONE, default=default, bare=True, **rest)


def action(name: str, releases: Release, text: str, **rest: object) -> Option:
    """An option that never takes a value, not even ``=1``."""
    return _declare(name, releases, text, Kind.ACTION, arg=Arg.NONE, default=False, bare=True, **rest)


def valued(name: str, releases: Release, text: str, **rest: object) -> Option:
    """An option with a text that must follow, or may with ``arg=Arg.OPTIONAL``."""
    return _declare(name, releases, text, Kind.TEXT, **rest)


def number(name: str, releases: Release, text: str, default: int | None = None, **rest: object) -> Option:
    """An option with a whole number; suffixes are understood, values out of range are pulled in."""
    return _declare(name, releases, text, Kind.NUMBER, default=default, **rest)


def size(name: str, releases: Release, text: str, default: int | None = None, **rest: object) -> Option:
    """An option with a number of bytes."""
    return _declare(name, releases, text, Kind.SIZE, default=default, **rest)


def one_of(name: str, releases: Release, text: str, choices: Iterable[str], **rest: object) -> Option:
    """An option with one of a few words, case ignored."""
    return _declare(name, releases, text, Kind.ENUM, choices=tuple(choices), **rest)


def _declare(name: str, releases: Release, text: str, kind: Kind, **rest: object) -> Option:
    return Option(name=name, releases=releases, text=text, kind=kind, **rest)  # type: ignore[arg-type]


def ignored(option: Option) -> Option:
    """The option, accepted without effect; its text is the note that says why."""
    return replace(option, standing=Standing.IGNORED)


def refused(option: Option) -> Option:
    """The option, known but never followed; its text is the refusal."""
    return replace(option, standing=Standing.REFUSED)


def of_server(option: Option) -> Option:
    """The option as one of the server's own variables."""
    return replace(option, server=True)
