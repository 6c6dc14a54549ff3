"""MySQL's option files, read as the servers' own programs read them (mysys/my_default.c).

Files are read in their order and each from top to bottom; which group a line stands in decides only whether it
counts. The last line of a name wins.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterable, Iterator

import msgspec

from goldcopy.errors import UsageError

INCLUDE_DEPTH_MAX = 10
_ESCAPES = {"b": "\b", "t": "\t", "n": "\n", "r": "\r", "\\": "\\", "s": " ", '"': '"', "'": "'"}

Option = tuple[str, str | None]
Skipped = Callable[[str], None]
"""Is told why a file, or a line of one, is passed over."""


class Line(msgspec.Struct, frozen=True):
    """One option of a file, as it is written; ``value`` is None where the line has no ``=``."""

    group: str
    name: str
    value: str | None
    file: str


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
        (line.name.replace("_", "-"), line.value) for file in files for line in read_file(file) if line.group in wanted
    ]


def require(file: str) -> None:
    """Raise UsageError unless an option file that the user named can be read."""
    if not (os.path.isfile(file) and os.access(file, os.R_OK)):
        raise UsageError(
            f"Could not open required defaults file: {file}",
            hint="it does not exist, or this user may not read it",
        )


def _in_silence(_why: str) -> None:
    pass


def read_file(file: str, skipped: Skipped = _in_silence, depth: int = 0) -> Iterator[Line]:
    """Every option of one file and of what it includes, group by group as they stand.

    What is included by a relative path is looked for in the working directory, as the originals do it. A file that
    does not exist, cannot be read, or that everybody may write, has no options. Raises UsageError.
    """
    if _is_trusted(file, skipped):
        with open(file, encoding="utf-8", errors="surrogateescape") as f:
            yield from read_text(f.read(), file, skipped, depth)


def read_text(text: str, file: str, skipped: Skipped = _in_silence, depth: int = 0) -> Iterator[Line]:
    """Every option of the text of a file called ``file``."""
    group = ""
    for number, raw in enumerate(text.split("\n"), 1):
        line = raw.strip()
        if not line or line[0] in "#;":
            continue
        if line.startswith("!"):
            yield from _include(line, file, skipped, depth)
        elif line.startswith("["):
            group = _group(line, f"{file} at line {number}")
        elif group:
            yield _option(line, group, file)
        else:
            raise UsageError(
                f"Found option without preceding group in config file {file} at line {number}",
                hint="a line such as [client] must stand above it",
            )


def _is_trusted(file: str, skipped: Skipped) -> bool:
    """The servers' programs ignore a world-writable option file, and so do we."""
    try:
        mode = os.stat(file).st_mode
    except OSError:
        return False
    if stat.S_ISREG(mode) and mode & stat.S_IWOTH:
        skipped(f"World-writable config file '{file}' is ignored")
        return False
    return not stat.S_ISDIR(mode) and os.access(file, os.R_OK)


def _group(line: str, where: str) -> str:
    end = line.find("]")
    if end < 0:
        raise UsageError(f"Wrong group definition in config file {where}", hint="[ without ]")
    return line[1:end].strip()


def _include(line: str, file: str, skipped: Skipped, depth: int) -> Iterator[Line]:
    if depth >= INCLUDE_DEPTH_MAX:
        skipped(f"skipping '{line}': includes are nested too deeply in {file}")
        return
    word, _, target = line.partition(" ")
    path = target.strip()
    if word not in ("!include", "!includedir") or not path:
        raise UsageError(
            f"Wrong '{word}' directive in config file {file}", hint="!include FILE or !includedir DIRECTORY"
        )
    for one in [path] if word == "!include" else _configuration_files(path):
        yield from read_file(one, skipped, depth + 1)


def _configuration_files(directory: str) -> list[str]:
    try:
        names = sorted(os.listdir(directory))
    except OSError as error:
        raise UsageError(f"Can't read dir of '{directory}': {error.strerror}", hint="see !includedir") from None
    return [os.path.join(directory, name) for name in names if name.endswith(".cnf")]


def _option(line: str, group: str, file: str) -> Line:
    name, equals, value = _without_comment(line).partition("=")
    return Line(group, name.strip(), _unquoted(value.strip()) if equals else None, file)


def _without_comment(line: str) -> str:
    """Cut at the first # that does not stand in quotes; a quote after a backslash in quotes does not end them."""
    quote, escaped = "", False
    for at, character in enumerate(line):
        if character in "'\"" and not escaped:
            quote = "" if quote == character else quote or character
        if not quote and character == "#":
            return line[:at]
        escaped = bool(quote) and character == "\\" and not escaped
    return line


def _unquoted(value: str) -> str:
    """Without the quotes around it, escapes resolved; a backslash before anything else stays."""
    if len(value) > 1 and value[0] in "'\"" and value[-1] == value[0]:
        value = value[1:-1]
    out, characters = [], iter(value)
    for character in characters:
        following = next(characters, None) if character == "\\" else None
        out.append(character if following is None else _ESCAPES.get(following, "\\" + following))
    return "".join(out)
