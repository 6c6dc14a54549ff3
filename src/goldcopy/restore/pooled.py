"""Work for a few threads, however long the list: of what is to be done only the next things wait for them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_AHEAD = 4
"""Things that wait for each thread. An executor's own ``map`` would take them all: a kilobyte for each file."""


def each(work: Callable[[T], R], things: Iterable[T], threads: int) -> Iterator[R]:
    """The results of ``work``, in the order of ``things``. Raises what it raises; then nothing more is begun."""
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[R]] = deque()
        try:
            for thing in things:
                waiting.append(pool.submit(work, thing))
                if len(waiting) > _AHEAD * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
