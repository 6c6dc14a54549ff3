"""From the text of a value to the value, as MySQL's my_getopt reads it (mysys/my_getopt.cc)."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from goldcopy.compat.options.declare import Arg, Kind, Option, Value
from goldcopy.errors import UsageError

UNKNOWN_OPTION = 2
AMBIGUOUS = 3
NO_ARGUMENT_ALLOWED = 4
ARGUMENT_REQUIRED = 5
UNKNOWN_VARIABLE = 7
UNKNOWN_SUFFIX = 9
NO_MAXIMUM = 10
ARGUMENT_INVALID = 13

_SUFFIXES = "KMGTPE"
# the originals look at one letter only, and their manuals write 1GB
_NUMBER = re.compile(r"([+-]?\d+)(?:([KMGTPE])(?:i?B)?)?", re.IGNORECASE)
_TRUE = ("1", "true", "on")
_FALSE = ("0", "false", "off")


class OptionError(UsageError):
    """A command line or option file that cannot be followed; ``exit_status`` is MariaDB's; XtraBackup's is always 1."""

    def __init__(self, message: str, status: int = 1, *, hint: str = "") -> None:
        super().__init__(message, hint=hint)
        self.exit_status = status


@dataclass(frozen=True)
class Read:
    """A value, or none to be set, with what has to be said about it."""

    value: Value
    remark: str = ""
    taken: bool = True


def read(option: Option, text: str | None) -> Read:
    """The value of an option from what stood behind its ``=`` (None: nothing stood there).

    Raises OptionError for what cannot be a value of this option.
    """
    if option.kind is Kind.ACTION and text is not None:
        raise OptionError(f"option '--{option.name}' cannot take an argument", NO_ARGUMENT_ALLOWED)
    if text is None:
        if option.arg is Arg.REQUIRED:
            raise OptionError(f"option '--{option.name}' requires an argument", ARGUMENT_REQUIRED)
        return Read(option.bare)
    if option.kind is Kind.FLAG:
        return _switch(option, text)
    if option.kind in (Kind.NUMBER, Kind.SIZE):
        return _number(option, text)
    if option.tilde:
        # no shell expands what stands behind =
        return Read(os.path.expanduser(text))
    return Read(_word(option, text) if option.kind is Kind.ENUM else text)


def negated(option: Option) -> Value:
    """What ``--skip-`` makes of an option: off, 0, or not set."""
    if option.kind in (Kind.FLAG, Kind.ACTION):
        return False
    return 0 if option.kind in (Kind.NUMBER, Kind.SIZE) else None


def _switch(option: Option, text: str) -> Read:
    word = text.lower()
    if word in _TRUE or word in _FALSE:
        return Read(word in _TRUE)
    return Read(None, f"ignoring option '--{option.name}' due to invalid value '{text}'", taken=False)


def _number(option: Option, text: str) -> Read:
    wanted = _scaled(option, text)
    value = min(max(wanted, option.minimum), option.maximum)
    if option.power_of_two and value & (value - 1):
        raise OptionError(f"{option.name.replace('-', '_')}={value} is not a power of two")
    if value == wanted:
        return Read(value)
    name = option.name.replace("-", "_")
    kind = "signed" if option.signed else "unsigned"
    return Read(value, f"option '{name}': {kind} value {wanted} adjusted to {value}")


def _scaled(option: Option, text: str) -> int:
    found = _NUMBER.fullmatch(text)
    if found is None:
        raise _bad_suffix(option, text)
    number, suffix = int(found[1]), (found[2] or "").upper()
    if number < 0 and not option.signed:
        raise OptionError(f"Error while setting value '{text}' to '{option.name}'", ARGUMENT_INVALID)
    return number << 10 * (_SUFFIXES.index(suffix) + 1) if suffix else number


def _bad_suffix(option: Option, text: str) -> OptionError:
    suffix = text.lstrip("+-0123456789")[:1]
    return OptionError(
        f"Unknown suffix '{suffix}' used for variable '{option.name}' (value '{text}'). "
        "Legal suffix characters are: K, M, G, T, P, E",
        UNKNOWN_SUFFIX,
    )


def _word(option: Option, text: str) -> str:
    wanted = text.lower()
    exact = [choice for choice in option.choices if choice.lower() == wanted]
    begun = [choice for choice in option.choices if wanted and choice.lower().startswith(wanted)]
    if exact or len(begun) == 1:
        return (exact or begun)[0]
    if text.isdigit() and int(text) < len(option.choices):
        return option.choices[int(text)]
    raise OptionError(
        f"Error while setting value '{text}' to '{option.name}'",
        ARGUMENT_INVALID,
        hint=f"one of: {', '.join(option.choices)}",
    )
