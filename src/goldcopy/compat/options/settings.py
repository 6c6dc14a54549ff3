"""What a command line and its option files came to: values by name, and what has to be said about them."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

from goldcopy.compat.options import options_of
from goldcopy.compat.options.declare import Face, Option, Value
from goldcopy.compat.options.values import OptionError
from goldcopy.events import Event

COMMAND_MAX_BYTES = 2047
"""The info file's tool_command is cut there (write_xtrabackup_info, backup_mysql.cc)."""


@dataclass(frozen=True)
class Given:
    """An option that was given; ``source`` is the option file and group, or "" for the command line."""

    option: Option
    value: Value = field(repr=False)
    source: str = ""

    def shown(self) -> str:
        """``--name=value`` as XtraBackup has it: a variable of the server with underscores, a switch as 1 or 0, a
        secret as an asterisk (xb_get_one_option, xtrabackup.cc).
        """
        name = self.option.name.replace("-", "_") if self.option.server else self.option.name
        value = int(self.value) if isinstance(self.value, bool) else self.value
        return f"--{name}={'*' if self.option.secret else '' if value is None else value}"


@dataclass(frozen=True)
class Settings:
    """A parsed command line.

    Ask by the original's name: ``flag("slave-info")``, ``text("target-dir")``, ``number("parallel")``.
    Aliases are resolved: innobackupex's ``--include`` is found as ``tables``. Of several settings of one
    option the last counts, and the command line over any file. ``command`` is the line as it may be shown,
    secrets masked. ``unknown``: a complaint for each option that nobody knows.
    """

    face: Face
    given_options: tuple[Given, ...]
    directories: tuple[str, ...]
    notes: tuple[Event, ...]
    command: str
    unknown: tuple[OptionError, ...] = ()

    def refuse_unknown(self) -> None:
        """Raises OptionError for the first option that nobody knows."""
        for complaint in self.unknown:
            raise complaint

    def given(self, name: str) -> bool:
        """Whether the option was given anywhere."""
        return self._last(name) is not None

    def on_command_line(self, name: str) -> bool:
        """Whether the option was given on the command line itself."""
        return any(g.option.name == name and not g.source for g in self.given_options)

    def value(self, name: str) -> Value:
        """The option's value, or its default under this name of the program."""
        last = self._last(name)
        if last is not None:
            return last.value
        return next((o.default for o in options_of(self.face) if o.name == name), None)

    def flag(self, name: str) -> bool:
        """The switch; off where this program does not have it."""
        return bool(self.value(name))

    def text(self, name: str) -> str:
        """The text; "" when it is not set, or set to nothing."""
        value = self.value(name)
        return "" if value is None else str(value)

    def number(self, name: str) -> int:
        """The number; 0 when it is not set."""
        value = self.value(name)
        return value if isinstance(value, int) else int(value or 0)

    def recognized(self) -> Iterator[str]:
        """What was understood of option files and command line, as the originals tell it; secrets masked."""
        for noun, of_server in (("server", True), ("client", False)):
            words = [g.shown() for g in self.given_options if g.option.server is of_server]
            if words:
                yield f"recognized {noun} arguments: {' '.join(words)} "

    def with_text(self, name: str, text: str) -> Settings:
        """The same with one option set, as if it had been given."""
        option = next(o for o in options_of(self.face) if o.name == name)
        return replace(self, given_options=(*self.given_options, Given(option, text)))

    def _last(self, name: str) -> Given | None:
        return next((g for g in reversed(self.given_options) if g.option.name == name), None)
