"""Our manifest in a directory that the peers' --prepare has changed: so that Goldcopy's own commands know it."""

from __future__ import annotations

import os

from goldcopy.image.manifest import MANIFEST_NAME, dump, load
from goldcopy.restore.durable import write_file
from goldcopy.restore.sums import prepared_manifest


def describe_prepared(directory: str, increment_dir: str, since_ns: int) -> None:
    """Make the manifest say what is in the directory now; without one there is nothing to do.

    ``increment_dir``: what was laid over, "" = nothing. An increment of another tool leaves nothing that our manifest
    could tell: then it goes. ``since_ns``: when the prepare began, as ``file_time_ns`` tells it.
    """
    place = os.path.join(directory, MANIFEST_NAME)
    if not os.path.exists(place):
        return
    if increment_dir and not os.path.exists(os.path.join(increment_dir, MANIFEST_NAME)):
        os.unlink(place)
        return
    write_file(place, dump(prepared_manifest(load(directory), directory, since_ns)))
