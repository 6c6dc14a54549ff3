"""Manifests for tests that are not about what stands in them."""

from __future__ import annotations

from typing import Any

from goldcopy.image.manifest import Manifest, Position, Redo, Server, dump


def manifest(**changes: Any) -> Manifest:
    """Of a full backup without files."""
    facts = {
        "id": "m", "kind": "full", "tool": "goldcopy", "started": "2026-01-01T00:00:00.000Z",
        "finished": "2026-01-01T00:00:09.000Z", "spaces": (), "plain": (), "position": Position(),
        "server": Server(family="mysql", version="8.0.45", dialect="mysql-8.0", identity="i"),
        "redo": Redo(layout="R8030", start=0, checkpoint=0, end=0),
    }  # fmt: skip
    return Manifest(**(facts | changes))


def stored(written: Manifest) -> bytes:
    """What of it lies on disk."""
    return b"".join(dump(written))
