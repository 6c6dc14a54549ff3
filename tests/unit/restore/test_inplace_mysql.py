"""The last increment of a MySQL chain, prepared once more after a kill: what was recovered keeps its newer pages."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from test_target import backup

from goldcopy.compat import prepare
from goldcopy.events import silent
from goldcopy.image.manifest import MANIFEST_NAME, dump
from goldcopy.restore.inplace_mysql import RECOVERING_NAME


class LaidOver(Exception):
    """Old pages would be written now."""


@pytest.mark.parametrize(
    ("same", "state", "mark", "laid_over"),
    [(False, "backup", False, True), (False, "backup", True, True), (True, "backup", False, True),
     (True, "backup", True, False), (True, "prepared", True, False), (True, "prepared", False, False)],
)  # fmt: skip
def test_an_increment_is_laid_over_only_what_its_recovery_has_not_touched(
    tmp_path, monkeypatch, same, state, mark, laid_over
):
    manifest = backup(tmp_path).newest
    there = msgspec.structs.replace(manifest, id="2" if same else "1", state=state)
    (tmp_path / MANIFEST_NAME).write_bytes(b"".join(dump(there)))
    if mark:
        (tmp_path / RECOVERING_NAME).touch()
    target = SimpleNamespace(directory=str(tmp_path), manifest=there, family="mysql", path=lambda n: str(tmp_path / n))
    increment = SimpleNamespace(
        directory="increment", manifest=msgspec.structs.replace(manifest, id="2"),
        checkpoints=SimpleNamespace(from_lsn=1, to_lsn=2, last_lsn=3),
    )

    def overlay(*_: Any, **__: Any) -> None:
        raise LaidOver

    monkeypatch.setattr(prepare, "Overlay", overlay)
    done = False
    try:
        prepare._overlay(target, increment, None, SimpleNamespace(parallel=1), silent)
    except LaidOver:
        done = True
    assert done == laid_over
