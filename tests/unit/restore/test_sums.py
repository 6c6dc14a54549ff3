"""What counts as damage where no sum tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldcopy.formats.delta import DeltaEncoder
from goldcopy.image.manifest import Manifest, Position, Redo, Server, Space
from goldcopy.restore.sums import Damage, damages, file_sums

PAGE = 16384


def increment(home: Path, meta: str) -> Manifest:
    """An increment of one table, with what lies beside its delta."""
    (home / "d").mkdir(parents=True)
    encoder = DeltaEncoder(PAGE)
    encoder.add(3, bytes(PAGE))
    (home / "d/t.ibd.delta").write_bytes(b"".join(block.data for block in encoder.finish()))
    (home / "d/t.ibd.meta").write_text(meta)
    space = Space(
        path="d/t.ibd", space_id=5, identity="i", page_size=PAGE, flags=33, size=4 * PAGE, size_final=4 * PAGE,
        stored="delta", sums=file_sums(str(home / "d/t.ibd.delta"))[1],
    )  # fmt: skip
    return Manifest(
        id="i", kind="incremental", tool="t", started="", finished="", spaces=(space,), plain=(), position=Position(),
        server=Server(family="mysql", version="8.0.45", dialect="", identity=""),
        redo=Redo(layout="R8030", start=0, checkpoint=0, end=0),
    )  # fmt: skip


@pytest.mark.parametrize(
    ("meta", "damaged"),
    [
        ("page_size = 16384\nzip_size = 0\nspace_id = 5\nspace_flags = 33\n", False),
        ("page_size = 16384\nzip_size = 0\nspace_flags = 33\n", False),
        ("page_size = 16384\nzip_size = 0\nspace_id = 6\nspace_flags = 33\n", True),
        ("page_size = 8192\nzip_size = 0\nspace_flags = 33\n", True),
        ("page_size = 16384\nzip_size = 0\nspace_id = 5\n", True),
    ],
)
def test_the_text_beside_a_delta_may_leave_the_id_out_and_nothing_else(
    tmp_path: Path, meta: str, damaged: bool
) -> None:
    found = damages(increment(tmp_path, meta), str(tmp_path), twice=False)
    named = {d.path for d in found if isinstance(d, Damage)}
    assert ("d/t.ibd.meta" in named) is damaged
