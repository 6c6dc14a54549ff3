"""What must be done to the server even if this process is killed: a second, tiny process that outlives it.

Locks go with their connection, but a replica's SQL thread that was stopped stays so. A child of ours therefore reads
from a pipe who to log in as and what to run, and waits: when the pipe ends without a word, its statements are run.
The password goes through the pipe, never through arguments or environment.
"""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time

import msgspec

from goldcopy.errors import GoldcopyError
from goldcopy.server.session import Account, Session, open_session

_REVOKED = b"revoked\n"
_TRIES, _PAUSE_S = 5, 1.0
_END_S = 5.0


class _Will(msgspec.Struct):
    account: Account
    statements: tuple[str, ...]

    def line(self) -> bytes:
        """As it goes through the pipe. Not by msgspec, which cannot write a password whose bytes are no UTF-8."""
        return json.dumps(msgspec.to_builtins(self)).encode() + b"\n"

    @classmethod
    def of(cls, line: bytes) -> _Will:
        return msgspec.convert(json.loads(line), cls)


class LastWill(contextlib.AbstractContextManager["LastWill"]):
    """``statements`` are run as ``account`` if this process dies within the block, however that happens.

    Leaving the block revokes it. Without a second process (none could be started) there is none: nothing is raised.
    """

    def __init__(self, account: Account, statements: tuple[str, ...]) -> None:
        self._will = _Will(account, statements)
        self._child: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> LastWill:
        try:
            self._child = subprocess.Popen(
                [sys.executable, "-m", __spec__.name],
                stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
                start_new_session=True,  # what is sent to our process group is not meant for it
            )  # fmt: skip
            self._tell(self._will.line())
        except OSError:
            self._child = None
        return self

    def _tell(self, line: bytes) -> None:
        assert self._child is not None and self._child.stdin is not None
        self._child.stdin.write(line)
        self._child.stdin.flush()

    def leave(self) -> None:
        """Have it done now, by the child, which tries for a while and outlives us."""
        child, self._child = self._child, None
        if child is not None and child.stdin is not None:
            child.stdin.close()

    def __exit__(self, *exc: object) -> None:
        if self._child is None:
            return
        with contextlib.suppress(OSError):
            self._tell(_REVOKED)
            assert self._child.stdin is not None
            self._child.stdin.close()
        try:
            self._child.wait(_END_S)
        except subprocess.TimeoutExpired:
            self._child.kill()
            self._child.wait()


def _execute(will: _Will) -> None:
    """Each statement for itself: the one that fails (a channel that is gone) must not keep others from being run."""
    left = will.statements
    for _ in range(_TRIES):
        with contextlib.suppress(GoldcopyError), open_session(will.account) as session:
            left = tuple(statement for statement in left if not _run(session, statement))
        if not left:
            return
        time.sleep(_PAUSE_S)


def _run(session: Session, statement: str) -> bool:
    try:
        session.run(statement)
    except GoldcopyError:
        return False
    return True


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    will = sys.stdin.buffer.readline()
    if will.endswith(b"\n") and sys.stdin.buffer.readline() != _REVOKED:
        _execute(_Will.of(will))


if __name__ == "__main__":
    _main()
