"""Every failure a user can meet, as one tree.

    GoldcopyError                exit  code
    ├── UsageError               2     usage
    ├── ConnectFailed            3     connect
    ├── PrivilegeMissing         4     privilege
    ├── ServerRefused            5     server        unknown version, vanished server, a lock not given in time
    ├── RedoOverrun              6     redo-overrun
    ├── PageCorrupt              7     page-corrupt
    ├── BackupInvalid            8     backup-invalid  damaged, incomplete, wrong base, not a backup
    ├── TargetRefused            9     target        not empty, not writable
    ├── NoSpace                  10    no-space
    ├── RecoveryFailed           11    recovery
    ├── KeyMissing               12    key-missing
    ├── Unsupported              13    unsupported
    └── Interrupted              130   interrupted

The exit status and the code are stable: scripts may rely on them. Only fronts print or exit.
"""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Iterator

DISK_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""What a write fails with when there is no more room: on the disk, in the quota, below the file size limit."""

_NO_DIRECTORY = frozenset({errno.ELOOP, errno.ENOTDIR})


class GoldcopyError(Exception):
    """Any other failure. All have a message for people, a stable ``code`` for machines and, mostly, a ``hint``."""

    code = "error"
    exit_status = 1
    usual_hint = ""
    """What to do about failures of this kind where no better advice is given."""

    def __init__(self, message: str, *, hint: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint or self.usual_hint


class UsageError(GoldcopyError):
    """The command line or an option file asks for something that cannot be meant."""

    code = "usage"
    exit_status = 2


class ConnectFailed(GoldcopyError):
    """The server cannot be reached, or refuses the account."""

    code = "connect"
    exit_status = 3
    usual_hint = "does the server run, and may this account log in? see --socket, --host, --user, --ask-password"


class PrivilegeMissing(GoldcopyError):
    """The account lacks a privilege; the hint is the exact GRANT."""

    code = "privilege"
    exit_status = 4


class ServerRefused(GoldcopyError):
    """The server does not let us go on: unknown version, it vanished, a lock was not given in time."""

    code = "server"
    exit_status = 5
    usual_hint = "see the server's error log"


class RedoOverrun(GoldcopyError):
    """The server overwrote redo before it was copied; the hint says which setting to raise and to what."""

    code = "redo-overrun"
    exit_status = 6
    usual_hint = "raise the server's redo log size, or take the backup at a quieter time"


class PageCorrupt(GoldcopyError):
    """A page stays wrong however often it is read: names file, page and byte offset."""

    code = "page-corrupt"
    exit_status = 7

    def __init__(self, message: str, *, hint: str = "", path: str = "") -> None:
        """``path``: of the file within the backup, "" where it is none of its files."""
        super().__init__(message, hint=hint)
        self.path = path


class BackupInvalid(GoldcopyError):
    """A backup is damaged, incomplete, of another server, or no backup at all."""

    code = "backup-invalid"
    exit_status = 8
    usual_hint = "use another backup, or another copy of this one; and look at the disk it lies on"


class TargetRefused(GoldcopyError):
    """A directory to write into is not empty or not writable; nothing in it was touched."""

    code = "target"
    exit_status = 9
    usual_hint = "name a directory that this account may write into, empty or not there yet"


class NoSpace(GoldcopyError):
    """The target's file system is full."""

    code = "no-space"
    exit_status = 10
    usual_hint = "free space there, or write to another place"


class RecoveryFailed(GoldcopyError):
    """The server's own crash recovery did not succeed; the backup is as it was."""

    code = "recovery"
    exit_status = 11
    usual_hint = "the backup is as it was; --verbose shows all that the server says, and --mysqld names another binary"


class KeyMissing(GoldcopyError):
    """An encrypted tablespace or log cannot be read without a key that is not there."""

    code = "key-missing"
    exit_status = 12


class Unsupported(GoldcopyError):
    """What is asked for does not exist on this server or in this build."""

    code = "unsupported"
    exit_status = 13


class Interrupted(GoldcopyError):
    """SIGINT or SIGTERM: everything taken has been given back."""

    code = "interrupted"
    exit_status = 130


def write_failure(e: OSError, what: str, *, full_hint: str = "", hint: str = "") -> GoldcopyError:
    """The error for something that could not be written: NoSpace (with ``full_hint``), else TargetRefused."""
    in_the_way = "a symbolic link or a file stands where a directory must be"
    message = f"cannot write {what}: {in_the_way if e.errno in _NO_DIRECTORY else e.strerror or e}"
    if e.errno in DISK_FULL:
        return NoSpace(message, hint=full_hint)
    return TargetRefused(message, hint=hint)


@contextlib.contextmanager
def writing(what: str, *, full_hint: str = "", hint: str = "") -> Iterator[None]:
    """Around the system calls that write ``what``: see ``write_failure``."""
    try:
        yield
    except OSError as e:
        raise write_failure(e, what, full_hint=full_hint, hint=hint) from e


def system_failure(e: OSError) -> GoldcopyError:
    """What the operating system refused where nobody knew better what it means."""
    message = f"{e.strerror or e}" + (f": {e.filename}" if e.filename else "")
    return NoSpace(message) if e.errno in DISK_FULL else GoldcopyError(message)
