"""What the small programs (xbstream, mbstream, xbcrypt) share: their words, their keys, their exit status."""

from __future__ import annotations

import argparse
import errno
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from goldcopy import signals
from goldcopy.errors import GoldcopyError, UsageError


class Parser(argparse.ArgumentParser):
    """Ends with status 1, as the originals do."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def dashed(argv: Sequence[str]) -> list[str]:
    """Arguments with dashes in the names of options, where MySQL's programs take underscores as well."""
    named = [(a.partition("="), a.startswith("--")) for a in argv]
    return [name.replace("_", "-") + sep + value if option else name + sep + value
            for (name, sep, value), option in named]


def read_key(text: str | None, path: str | None) -> bytes:
    """The key from one of the two options. Raises UsageError unless exactly one is given, or it cannot be read."""
    if (text is None) == (path is None):
        raise UsageError("the key must be given, by --encrypt-key or by --encrypt-key-file")
    if text is not None:
        return text.encode("utf-8", "surrogateescape")
    assert path is not None
    try:
        with open(path, "rb") as f:
            return f.read()
    except OSError as e:
        raise UsageError(f"cannot read the key file {path}: {e.strerror}") from e


def run(program: str, work: Callable[[], None]) -> int:
    """Run ``work``; its errors go to stderr. The exit status, 0 or 1, as the peers' programs have it."""
    # so that what is half-written is removed
    signals.catch()
    try:
        work()
    except GoldcopyError as e:
        print(f"{program}: {e.message}", file=sys.stderr)  # noqa: T201
        if e.hint:
            print(f"{program}: hint: {e.hint}", file=sys.stderr)  # noqa: T201
        return 1
    except KeyboardInterrupt:
        print(f"{program}: interrupted", file=sys.stderr)  # noqa: T201
        return 1
    except OSError as e:
        gone = "cannot write: the reader of the output is gone"
        said = gone if e.errno == errno.EPIPE else " ".join(filter(None, (e.filename, e.strerror)))
        print(f"{program}: {said}", file=sys.stderr)  # noqa: T201
        return 1
    return 0
