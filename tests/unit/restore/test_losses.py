"""A table that recovery has lost, or has given another's name, must never pass for restored."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldcopy.errors import RecoveryFailed
from goldcopy.image.manifest import Manifest, Position, Redo, Server, Space
from goldcopy.restore.losses import away, refuse_losses
from goldcopy.restore.materialise import Placement


def space(path, number, stored="full"):
    return Space(
        path=path, space_id=number, identity="i", page_size=16384, size=1, size_final=1, stored=stored,
    )  # fmt: skip


MANIFEST = Manifest(
    id="b", kind="full", tool="goldcopy", started="", finished="",
    server=Server(family="mysql", version="5.6.24", dialect="mysql-5.6", identity="i"),
    redo=Redo(layout="R56", start=512, checkpoint=600, end=1024), position=Position(), plain=(),
    spaces=(
        space("ibdata1", 0), space("undo_001", 8), space("d/a.ibd", 5), space("d/b.ibd", 6),
        space("d/new.ibd", 0xFFFFFFFF, "raw"), space("d/#sql-1.ibd", 7),
    ),
)  # fmt: skip


def write(path: Path, number: int) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(bytes(34) + number.to_bytes(4, "big") + bytes(100))


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    for name, number in (("ibdata1", 0), ("undo_001", 99), ("d/a.ibd", 5), ("d/b.ibd", 6), ("d/new.ibd", 12)):
        write(tmp_path / name, number)
    return tmp_path


def refuse(datadir: Path) -> None:
    refuse_losses(MANIFEST, Placement(str(datadir)))


def test_what_recovery_may_change_is_no_loss(datadir):
    refuse(datadir)


def test_a_tablespace_that_has_gone_is_named(datadir):
    (datadir / "d/b.ibd").rename(datadir / "d/#sqlx-1.ibd")
    with pytest.raises(RecoveryFailed, match="d/b.ibd"):
        refuse(datadir)


def test_a_tablespace_under_the_name_of_another_is_named(datadir):
    write(datadir / "d/a.ibd", 6)
    write(datadir / "d/b.ibd", 5)
    with pytest.raises(RecoveryFailed, match=r"d/a.ibd, d/b.ibd"):
        refuse(datadir)


def test_a_tablespace_that_somebody_had_taken_out_is_no_loss(datadir):
    (datadir / "d/a.ibd").unlink()
    before = away(MANIFEST, Placement(str(datadir)))
    assert before == ["d/a.ibd"]
    refuse_losses(MANIFEST, Placement(str(datadir)), before=before)
    (datadir / "d/b.ibd").unlink()
    with pytest.raises(RecoveryFailed, match="1 tablespaces.*d/b.ibd"):
        refuse_losses(MANIFEST, Placement(str(datadir)), before=before)
