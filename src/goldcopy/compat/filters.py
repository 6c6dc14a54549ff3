"""Partial backups: which tables are taken, by the originals' rules (check_if_skip_table, xtrabackup.cc).

Everything is matched in file-name encoding (``d@002d3.t``). Expressions are POSIX extended ones, given to the C
library as the originals do it, unanchored and case-sensitive. A database that is excluded goes first, then one
that no list names; then excluded tables, then included ones; a database named whole keeps the rest of its tables.
"""

from __future__ import annotations

import ctypes
import ctypes.util
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from goldcopy.errors import UsageError

_REG_EXTENDED = 1
_REGEX_T_BYTES = 256
"""More than any C library's regex_t (64 in glibc, 56 in musl)."""
_NAME_MAX = 192
"""Characters of a database's or table's name as the originals count: a partition's holds up to three of 64."""
_ENCODED = re.compile(r"@[0-9a-f]{4}")
_PARTITION = re.compile(r"#(?:p|sp)#", re.IGNORECASE)
"""``#`` itself is encoded in names, so the mark cannot be part of one. MySQL 8.0 writes it in lower case."""


class Expression:
    """One compiled POSIX extended regular expression.

    Raises UsageError when the C library does not take it.
    """

    def __init__(self, text: str) -> None:
        self.text = text
        self._libc = ctypes.CDLL(ctypes.util.find_library("c") or None)
        self._regex = ctypes.create_string_buffer(_REGEX_T_BYTES)
        self._compiled = False
        code = self._libc.regcomp(self._regex, os.fsencode(text), _REG_EXTENDED)
        if code:
            raise UsageError(
                f"tables regcomp({text}): {self._message(code)}",
                hint="these are POSIX extended expressions: no (?!...), no \\d; a comma separates expressions",
            )
        self._compiled = True

    def found_in(self, name: str) -> bool:
        """Whether it matches anywhere in the name."""
        return bool(self._libc.regexec(self._regex, os.fsencode(name), ctypes.c_size_t(0), None, 0) == 0)

    def _message(self, code: int) -> str:
        text = ctypes.create_string_buffer(200)
        self._libc.regerror(code, self._regex, text, ctypes.c_size_t(len(text)))
        return os.fsdecode(text.value)

    def __del__(self) -> None:
        if self._compiled:
            self._libc.regfree(self._regex)


@dataclass(frozen=True)
class NameList:
    """Databases named whole, and tables as ``db.table``, all encoded."""

    databases: frozenset[str] = frozenset()
    tables: frozenset[str] = frozenset()

    @classmethod
    def of(cls, entries: Iterable[str]) -> NameList:
        """From ``db`` and ``db.table`` entries; UsageError for what cannot be a name."""
        checked = [_checked(entry) for entry in entries]
        return cls(
            frozenset(e for e in checked if "." not in e),
            frozenset(e for e in checked if "." in e),
        )

    @property
    def mentioned(self) -> frozenset[str]:
        """Every database of which something is named."""
        return self.databases | {table.partition(".")[0] for table in self.tables}

    def __or__(self, other: NameList) -> NameList:
        return NameList(self.databases | other.databases, self.tables | other.tables)

    def __bool__(self) -> bool:
        return bool(self.databases or self.tables)


@dataclass(frozen=True)
class Filters:
    """The rule of one partial backup. Without any list everything is kept."""

    include: NameList = field(default_factory=NameList)
    exclude: NameList = field(default_factory=NameList)
    matching: tuple[Expression, ...] = ()
    not_matching: tuple[Expression, ...] = ()

    @property
    def partial(self) -> bool:
        """Whether anything may be left out."""
        return bool(self.include or self.exclude or self.matching or self.not_matching)

    def keeps(self, path: str) -> bool:
        """Whether the file at this path, relative to the data directory, belongs to the backup.

        Files of the data directory itself (system and undo tablespaces, logs) always do.
        """
        database, slash, file_name = path.removeprefix("./").rpartition("/")
        if not slash or not self.partial:
            return True
        database = database.rpartition("/")[2]
        if not self.keeps_database(database):
            return False
        return self._keeps_table(database, file_name.partition(".")[0])

    def keeps_database(self, database: str) -> bool:
        """Whether anything of a database can be in the backup."""
        if database in self.exclude.databases:
            return False
        return not self.include or database in self.include.mentioned

    def _keeps_table(self, database: str, table: str) -> bool:
        for name in dict.fromkeys((f"{database}.{table}", f"{database}.{_PARTITION.split(table)[0]}")):
            if name in self.exclude.tables or any(e.found_in(name) for e in self.not_matching):
                return False
            if name in self.include.tables or any(e.found_in(name) for e in self.matching):
                return True
        whole = database in self.include.databases
        named_in_part = any(t.startswith(f"{database}.") for t in self.include.tables)
        return (whole and not named_in_part) or not (self.matching or self.include.tables)


def expressions(text: str) -> tuple[Expression, ...]:
    """The expressions of ``--tables``, ``--tables-exclude``, ``--include``: separated by commas."""
    return tuple(Expression(part) for part in text.split(",") if part)


def names(text: str) -> NameList:
    """The entries of ``--databases``, ``--databases-exclude``: separated by blanks or tabs."""
    return NameList.of(text.split())


def databases_file(path: str) -> NameList:
    """The entries of ``--databases-file``: ``db`` or ``db.table``, one a line."""
    return NameList.of(_lines(path))


def tables_file(path: str) -> NameList:
    """The entries of ``--tables-file``: ``db.table``, one a line. UsageError for one without a dot."""
    entries = _lines(path)
    for entry in entries:
        if "." not in entry:
            raise UsageError(f"`{entry}` is not fully qualified name.", hint=f"write database.table in {path}")
    return NameList.of(entries)


def _lines(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return [line.strip() for line in file if line.strip()]
    except OSError as error:
        raise UsageError(f"Can't open {path} for reading: {error.strerror}") from None


def _checked(entry: str) -> str:
    for part in entry.split(".", 1):
        if len(_ENCODED.sub("?", part)) > _NAME_MAX:
            raise UsageError(f"name `{entry}` is too long.")
        if re.search(r"[/\\~]", part) or not part:
            raise UsageError(
                f"name `{entry}` is not valid.",
                hint="names are as the files have them: a dash is @002d, a dot @002e",
            )
    return entry
