"""numpy, where it is installed: only what MySQL 5.6 and before wrote needs it, and importing it costs 0.1 s."""

from __future__ import annotations

from functools import lru_cache
from typing import Any


@lru_cache(maxsize=1)
def numpy_or_none() -> Any:
    """The numpy module, imported on first use; None without it."""
    try:
        import numpy
    except ImportError:
        return None
    return numpy
