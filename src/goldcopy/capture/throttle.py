"""A limit on how hard a backup reads the server's disks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

REQUEST_BYTES = 1 << 20
BURST_S = 0.1
"""An idle throttle saves up this much, so that a late thread does not cost rate."""


class Throttle:
    """Shared by all threads. ``bytes_per_s`` and ``iops`` bound reads of the source; 0 is no bound.

    A request is 1 MiB or less: a longer read counts as several.
    """

    def __init__(self, bytes_per_s: int = 0, iops: int = 0, clock: Callable[[], float] = time.monotonic) -> None:
        self._byte_s = 1 / bytes_per_s if bytes_per_s else 0.0
        self._request_s = 1 / iops if iops else 0.0
        self._clock = clock
        self._lock = threading.Lock()
        self._free_at = clock()

    def reserve(self, length: int) -> float:
        """Announce a read of ``length`` bytes. Returns the seconds to wait before making it."""
        if not self._byte_s and not self._request_s:
            return 0.0
        cost = max(length * self._byte_s, -(-length // REQUEST_BYTES) * self._request_s)
        with self._lock:
            now = self._clock()
            start = max(self._free_at, now - BURST_S)
            self._free_at = start + cost
        return max(0.0, start - now)
