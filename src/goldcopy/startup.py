"""Starting fast: nobody waits for a backup of hours, but many wait for one of an empty server."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def importing() -> Iterator[None]:
    """Around the imports of a command. What they make stays to the end: the garbage collector, which would look
    through all of it every few hundred objects, and once more at the exit, is kept away from it."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()
