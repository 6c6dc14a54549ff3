"""What a recovering server says nothing of: tablespaces that have gone, or gone elsewhere."""

from __future__ import annotations

import os
import re
from collections.abc import Collection

from goldcopy.errors import RecoveryFailed
from goldcopy.image.manifest import Manifest, Space
from goldcopy.restore.inplace import space_id_of
from goldcopy.restore.materialise import Placement

_OF_UNFINISHED_DDL = re.compile(r"#sql|/FTS_", re.IGNORECASE)
"""Files that recovery removes: of an ALTER TABLE that was under way, of a full-text index that was dropped."""


def away(manifest: Manifest, placement: Placement) -> list[str]:
    """The tablespaces that are not where the backup has them: not there, or another one has the name."""
    return [
        s.path for s in manifest.spaces
        if not _OF_UNFINISHED_DDL.search(s.path) and not _is_home(s, placement.of(s.path, s.external))
    ]


def refuse_losses(manifest: Manifest, placement: Placement, *, before: Collection[str] = ()) -> None:
    """Raises RecoveryFailed when tablespaces are away after recovery that were not among those away ``before``."""
    lost = [path for path in away(manifest, placement) if path not in before]
    if lost:
        raise RecoveryFailed(
            f"{len(lost)} tablespaces of the backup are not under their names after recovery: {', '.join(lost[:10])}"
        )


def _is_home(space: Space, path: str) -> bool:
    if not os.path.exists(path):
        return False
    # an undo tablespace gets another id when it is truncated, one that was not written yet had none to record
    tells_id = path.endswith(".ibd") and space.stored != "raw"
    return not tells_id or space_id_of(path) == space.space_id
