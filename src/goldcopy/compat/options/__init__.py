"""Every option of the peers, declared once. The parser, the notes on stderr and the reference page read this.

``OPTIONS`` is the whole list; ``parser.parse`` reads a command line by it.
"""

from __future__ import annotations

import functools

from goldcopy.compat.options import backup, connection, locks, modes, prepare, serverside, streams
from goldcopy.compat.options.declare import Face, Option

TOPICS: tuple[tuple[str, tuple[Option, ...]], ...] = (
    ("Modes and target", modes.OPTIONS),
    ("Connection and option files", connection.OPTIONS),
    ("Backup, increments, partial backups", backup.OPTIONS),
    ("Locks and patience", locks.OPTIONS),
    ("Streams, compression, encryption", streams.OPTIONS),
    ("Recovery and keys", prepare.OPTIONS),
    ("The server's variables", serverside.OPTIONS),
)

OPTIONS: tuple[Option, ...] = tuple(option for _, options in TOPICS for option in options)


@functools.cache
def options_of(face: Face) -> tuple[Option, ...]:
    """The options that are understood under one name, each as that name has it."""
    return tuple(option.within(face.value) for option in OPTIONS if option.releases & face.value)
