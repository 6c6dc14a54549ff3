"""SIGINT, SIGTERM and SIGHUP become KeyboardInterrupt, but never while something is being taken or given back.

An exception out of a signal may strike anywhere, also in the ``__exit__`` that releases a lock or removes half of a
backup, or in an ``__enter__`` that has just taken what nobody knows of yet. There it waits until that is done. It is
no GoldcopyError: code that expects one of those, and goes on without what failed, must not take an interrupt for it.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

_AGAIN_S = 0.05
_ENTER_S = 2.0
"""An ``__enter__`` that takes longer waits for something; then it gives back by itself what it has taken."""
_CAUGHT = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_AT_ONCE: list[Callable[[], None]] = []
_received: list[str] = []


def catch() -> None:
    """Raise KeyboardInterrupt, named after the signal, in the main thread at the first of them; later ones pass.

    One that is ignored stays so: nohup and the like mean it.
    """
    _received.clear()
    for number in _CAUGHT:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _first)


def check() -> None:
    """For long work in other threads, which no signal reaches: raises KeyboardInterrupt there when one has come."""
    if _received and threading.current_thread() is not threading.main_thread():
        raise KeyboardInterrupt(_received[0])


@contextlib.contextmanager
def at_once(action: Callable[[], None]) -> Iterator[None]:
    """Within the block the first signal runs ``action``, whatever is being given back: to end another thread's wait.

    It runs within a signal handler: it must not wait for a lock, and not raise.
    """
    _AT_ONCE.append(action)
    try:
        yield
    finally:
        _AT_ONCE.remove(action)


def ignore() -> None:
    """All is done: nothing is to be interrupted any more, not even the interpreter on its way out."""
    for number in _CAUGHT:
        signal.signal(number, signal.SIG_IGN)


def _first(number: int, frame: FrameType | None) -> None:
    ignore()
    name = signal.Signals(number).name
    _received.append(name)
    for action in list(_AT_ONCE):
        action()
    patience_ends = time.monotonic() + _ENTER_S

    def interrupt(_number: int, where: FrameType | None) -> None:
        inside = _context_managers(where)
        if "__exit__" in inside or ("__enter__" in inside and time.monotonic() < patience_ends):
            signal.setitimer(signal.ITIMER_REAL, _AGAIN_S)
            return
        signal.signal(signal.SIGALRM, signal.SIG_IGN)
        raise KeyboardInterrupt(name)

    signal.signal(signal.SIGALRM, interrupt)
    interrupt(number, frame)


def _context_managers(frame: FrameType | None) -> set[str]:
    """Which methods of context managers are being executed."""
    found = set()
    while frame is not None:
        if frame.f_code.co_name in ("__enter__", "__exit__"):
            found.add(frame.f_code.co_name)
        frame = frame.f_back
    return found
