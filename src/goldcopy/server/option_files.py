"""MySQL's option files, read as the servers' own programs read them (my_default.c)."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator

from goldcopy.errors import UsageError

_MAX_INCLUDES = 10
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " "}

Option = tuple[str, str | None]


def default_files() -> tuple[str, ...]:
    """The files that are read when none is named, in order: later ones win."""
    return ("/etc/my.cnf", "/etc/mysql/my.cnf", os.path.expanduser("~/.my.cnf"))


def read_groups(files: Iterable[str], groups: Iterable[str]) -> list[Option]:
    """The options of ``groups`` in ``files``, in the order in which they stand: the last of a name wins.

    Names come with dashes, whatever the file writes; a value is None where the line has no ``=``. Files that do not
    exist, and files that everybody may write, are passed over. Raises UsageError on a line that cannot be read.
    """
    wanted = frozenset(groups)
    return [
        option
        for file in files
        if _is_trusted(file)
        for group, option in _options(file, 0)
        if group in wanted
    ]


def require(file: str) -> None:
    """Raise UsageError unless an option file that the user named can be read."""
    if not (os.path.isfile(file) and os.access(file, os.R_OK)):
        raise UsageError(f"the option file {file} cannot be read")


def _is_trusted(file: str) -> bool:
    """The servers' programs ignore a world-writable option file, and so do we."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return False
    return stat.S_ISREG(mode) and not mode & stat.S_IWOTH and os.access(file, os.R_OK)


def _options(file: str, depth: int) -> Iterator[tuple[str, Option]]:
    group = ""
    with open(file, encoding="utf-8", errors="surrogateescape") as f:
        for number, raw in enumerate(f, 1):
            line = raw.strip()
            if not line or line[0] in "#;":
                continue
            if line.startswith("!"):
                yield from _include(line, file, depth)
            elif line.startswith("["):
                group = _group(line, f"{file}:{number}")
            elif group:
                yield group, _option(line)
            else:
                raise UsageError(f"{file}:{number}: an option before the first [group]")


def _group(line: str, where: str) -> str:
    end = line.find("]")
    if end < 0:
        raise UsageError(f"{where}: [ without ]")
    return line[1:end].strip()


def _include(line: str, file: str, depth: int) -> Iterator[tuple[str, Option]]:
    if depth >= _MAX_INCLUDES:
        return
    word, _, path = line.partition(" ")
    path = os.path.join(os.path.dirname(file), path.strip())
    if word == "!include":
        found = [path]
    elif word == "!includedir":
        names = sorted(os.listdir(path)) if os.path.isdir(path) else []
        found = [os.path.join(path, name) for name in names if name.endswith(".cnf")]
    else:
        raise UsageError(f"{file}: {word} is neither !include nor !includedir")
    for one in found:
        if _is_trusted(one):
            yield from _options(one, depth + 1)


def _option(line: str) -> Option:
    name, equals, rest = line.partition("=")
    if not equals:
        name = name.partition("#")[0]
    value = _value(rest) if equals else None
    return name.strip().replace("_", "-"), value


def _value(text: str) -> str:
    """What stands after ``=``: without end comment and quotes, escapes resolved."""
    text = _without_comment(text).strip()
    if len(text) >= 2 and text[0] in "'\"" and text[-1] == text[0]:
        text = text[1:-1]
    out, characters = [], iter(text)
    for c in characters:
        if c != "\\":
            out.append(c)
            continue
        escaped = next(characters, "")
        out.append(_ESCAPES.get(escaped, "\\" + escaped))
    return "".join(out)


def _without_comment(text: str) -> str:
    """Cut at the first # that does not stand in quotes."""
    quote = ""
    for position, c in enumerate(text):
        if c in "'\"" and (position == 0 or text[position - 1] != "\\"):
            if not quote:
                quote = c
            elif quote == c:
                quote = ""
        elif c == "#" and not quote:
            return text[:position]
    return text
