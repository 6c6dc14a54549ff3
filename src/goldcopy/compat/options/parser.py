"""Command lines as MySQL's programs read them, with the exit statuses of the originals.

Dashes and underscores are alike, a name may be cut as long as it stays unambiguous, ``--loose-``,
``--skip-``, ``--disable-``, ``--enable-`` stand before any name (mysys/my_getopt.cc). Option files come
first, in their order, and the command line after them, so the later one wins.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from goldcopy.compat.options import options_of
from goldcopy.compat.options.declare import Arg, Face, Kind, Option, Standing, Value
from goldcopy.compat.options.settings import COMMAND_MAX_BYTES, Given, Settings
from goldcopy.compat.options.values import (
    AMBIGUOUS,
    ARGUMENT_REQUIRED,
    NO_MAXIMUM,
    UNKNOWN_OPTION,
    UNKNOWN_VARIABLE,
    OptionError,
    negated,
    read,
)
from goldcopy.events import Event, Warn

TOOL_GROUPS = frozenset(("xtrabackup", "mariabackup", "mariadb-backup"))
CLIENT_GROUPS = frozenset(("client", "client-server", "client-mariadb"))
_SWITCHES = ("skip", "disable", "enable")
_PREFIXES = ("loose", "maximum", *_SWITCHES)


@dataclass(frozen=True)
class _Name:
    """An option's name without its prefixes, and what these say.

    ``negation``: switched off (True) or on (False), None for neither. ``loose``: it may be unknown. ``bound``: the
    value is the highest that the option may have, not the one that it gets.
    """

    text: str
    negation: bool | None = None
    loose: bool = False
    bound: bool = False


@dataclass(frozen=True)
class FileOption:
    """One line of an option file; ``value`` is None without a ``=``, ``group`` lacks its suffix."""

    name: str
    value: str | None = field(repr=False)
    group: str
    path: str = ""

    @property
    def source(self) -> str:
        """Where it stands, for messages."""
        return f"{self.path} [{self.group}]"


def face_of(program: str, args: Sequence[str]) -> tuple[Face, tuple[str, ...]]:
    """Which program we are, by the last part of argv[0] and MariaDB's ``--innobackupex``; the other words."""
    name = program.rsplit("/", 1)[-1]
    if name.startswith("innobackupex"):
        return Face.INNOBACKUPEX, tuple(args)
    if not name.startswith(("mariabackup", "mariadb-backup")):
        return Face.XTRABACKUP, tuple(args)
    if args and args[0] == "--innobackupex":
        return Face.MARIABACKUP_INNOBACKUPEX, tuple(args[1:])
    return Face.MARIABACKUP, tuple(args)


def parse(
    face: Face, args: Sequence[str], from_files: Iterable[FileOption] = (), leading: Sequence[str] = ()
) -> Settings:
    """Read option files' lines and a command line (without program name and leading ``--defaults-`` options).

    ``leading``: those options, which the recorded command has as well.

    Raises OptionError for an ambiguous or refused option, or a value that cannot be. An unknown option is for the
    caller to refuse: ``Settings.refuse_unknown``.
    """
    reader = _Reader(face, options_of(face), shown=list(leading))
    for line in from_files:
        reader.file_option(line)
    reader.command_line(args)
    return reader.settings()


@dataclass
class _Reader:
    """The state of one parse."""

    face: Face
    options: tuple[Option, ...]
    given: list[Given] = field(default_factory=list)
    directories: list[str] = field(default_factory=list)
    shown: list[str] = field(default_factory=list)
    notes: list[Event] = field(default_factory=list)
    unknown: list[OptionError] = field(default_factory=list)

    def file_option(self, line: FileOption) -> None:
        """One line of an option file; what its group has no business with is passed over."""
        tool = line.group in TOOL_GROUPS
        name = self._name(line.name)
        # in the server's groups stand names that we do not know and must not take for short forms of ours
        option = self._find(name.text) if tool else next((o for o in self.options if o.name == name.text), None)
        if option is None:
            if tool and not name.loose:
                self.unknown.append(_unknown(line.name, line.value))
            return
        # --loose- in the server's group is meant for others than the server
        meant = name.loose and line.group not in CLIENT_GROUPS
        if not (tool or meant or option.server != (line.group in CLIENT_GROUPS)):
            return
        if line.value is None and option.arg is Arg.REQUIRED and name.negation is None:
            raise _needs_argument(option)
        self._take(option, line.value, name, line.source, quiet=not tool)

    def command_line(self, args: Sequence[str]) -> None:
        """The words after the program's name."""
        words = list(reversed(args))
        while words:
            word = words.pop()
            self.shown.append(word)
            if word == "--":
                for rest in reversed(words):
                    self._bare(rest)
                self.shown += reversed(words)
                return
            if word.startswith("--"):
                self._long(word, words)
            elif word.startswith("-") and len(word) > 1:
                self._short(word, words)
            else:
                self._bare(word)

    def settings(self) -> Settings:
        """The result; unknown options are warned of when they are no errors."""
        lenient = self._skips("strict")
        if lenient:
            self.notes += [Warn("unknown-option", f"WARNING: {error.message}") for error in self.unknown]
        self._refuse()
        self._say_what_is_renamed()
        command = " ".join(self.shown).encode(errors="surrogateescape")[:COMMAND_MAX_BYTES].decode(errors="ignore")
        return Settings(
            self.face,
            tuple(map(self._resolved, self.given)),
            tuple(self.directories),
            tuple(self.notes),
            command,
            () if lenient else tuple(self.unknown),
        )

    def _skips(self, name: str) -> bool:
        return any(g.option.name == name and g.value is False for g in self.given)

    def _bare(self, word: str) -> None:
        if self.face.positional:
            self.directories.append(word)
        elif not self._passes_over():
            raise OptionError(f"unknown argument: '{word}'", hint="options begin with --; did a blank slip in?")

    def _passes_over(self) -> bool:
        return any(g.option.name == "mysqld-args" and g.value for g in self.given)

    def _long(self, word: str, words: list[str]) -> None:
        written, equals, text = word[2:].partition("=")
        value = text if equals else None
        name = self._name(written)
        option = self._find(name.text)
        if option is None:
            self._unknown(written, value, name.loose)
            return
        if value is None and name.negation is None:
            value = self._next(option, words)
        self._mask(option, f"--{option.name}=...")
        self._take(option, value, name)

    def _unknown(self, written: str, value: str | None, loose: bool) -> None:
        error = _unknown(written, value)
        if loose:
            self.notes.append(Warn("unknown-option", error.message))
        elif not self._passes_over():
            self.unknown.append(error)

    def _next(self, option: Option, words: list[str]) -> str | None:
        wants = option.arg is Arg.REQUIRED or (
            option.arg is Arg.EITHER and bool(words) and not words[-1].startswith("-")
        )
        if not wants:
            return None
        if not words:
            raise _needs_argument(option)
        value = words.pop()
        if not option.secret:
            self.shown.append(value)
        return value

    def _short(self, word: str, words: list[str]) -> None:
        for at in range(1, len(word)):
            option = next((o for o in self.options if o.short == word[at]), None)
            if option is None:
                self.unknown.append(OptionError(f"unknown option '-{word[at]}'", UNKNOWN_OPTION))
                return
            if option.arg is not Arg.NONE:
                value = word[at + 1 :] or self._next(option, words)
                self._mask(option, f"-{option.short}=...")
                self._take(option, value, _Name(option.name))
                return
            self._take(option, None, _Name(option.name))

    def _mask(self, option: Option, mask: str) -> None:
        if option.secret:
            self.shown[-1] = mask

    def _take(self, option: Option, text: str | None, name: _Name, source: str = "", quiet: bool = False) -> None:
        if name.negation is not None:
            off = name.negation != (text == "0")
            value: Value = negated(option) if off else option.bare
        else:
            found = read(option, text)
            if found.remark:
                self.notes.append(Warn("option-value", found.remark))
            if not found.taken:
                return
            value = self._bounded(option, found.value) if name.bound else found.value
        self.given.append(Given(option, value, source))
        if option.standing is Standing.IGNORED and value not in (False, None) and not quiet:
            said = f"{option.said}; it" if option.said else f"--{option.name}"
            self.notes.append(Warn("ignored-option", f"{said} has no effect here: {option.text}"))

    def _bounded(self, option: Option, highest: Value) -> Value:
        """What the option has now, brought under ``highest``."""
        if option.kind not in (Kind.NUMBER, Kind.SIZE) or not isinstance(highest, int):
            raise OptionError(f"Maximum value of '{option.name}' cannot be set", NO_MAXIMUM)
        now = next((g.value for g in reversed(self.given) if g.option.name == option.name), option.default)
        return min(now, highest) if isinstance(now, int) else now

    def _name(self, written: str) -> _Name:
        name = _Name(written.replace("_", "-"))
        if self.face.mariadb:
            # MariaDB's getopt does not look at case
            name = _Name(name.text.lower())
        while self._find(name.text, quiet=True) is None:
            prefix, dash, rest = name.text.partition("-")
            if prefix not in _PREFIXES or not dash:
                break
            name = _Name(
                rest,
                negation=prefix != "enable" if prefix in _SWITCHES else name.negation,
                loose=name.loose or prefix == "loose",
                bound=name.bound or prefix == "maximum",
            )
        return name

    def _find(self, name: str, quiet: bool = False) -> Option | None:
        exact = [o for o in self.options if o.name == name]
        begun = exact or [o for o in self.options if name and o.name.startswith(name)]
        if len(begun) > 1 and not quiet:
            names = ", ".join(o.name for o in begun)
            raise OptionError(f"ambiguous option '--{name}' ({names})", AMBIGUOUS, hint="write the name out")
        return begun[0] if begun else None

    def _refuse(self) -> None:
        for g in self.given:
            why = g.option.why_refused(g.value) if g.value not in (False, None) else ""
            if why:
                raise OptionError(f"--{g.option.name} is refused: {why}")
            if g.option.exclusive and any(h.option.name == g.option.alias_of for h in self.given):
                raise OptionError(
                    f"--{g.option.alias_of} and --{g.option.name} are the same option; pass only one"
                )

    def _say_what_is_renamed(self) -> None:
        newer = {o.alias_of: o.name for o in self.options if o.exclusive}
        for old in dict.fromkeys(g.option.name for g in self.given if g.option.name in newer):
            text = f"--{old} is deprecated and will be removed in a future release. Please use --{newer[old]} instead."
            self.notes.append(Warn("renamed-option", text))

    def _resolved(self, given: Given) -> Given:
        target = next((o for o in self.options if o.name == given.option.alias_of), None)
        return Given(target, given.value, given.source) if target else given


def _unknown(written: str, value: str | None) -> OptionError:
    if value is None:
        return OptionError(f"unknown option '--{written}'", UNKNOWN_OPTION)
    return OptionError(f"unknown variable '{written}={value}'", UNKNOWN_VARIABLE)


def _needs_argument(option: Option) -> OptionError:
    return OptionError(f"option '--{option.name}' requires an argument", ARGUMENT_REQUIRED)
