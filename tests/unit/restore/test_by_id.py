"""A tablespace that keeps the name it was lent is a table that nobody finds."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldcopy.image.manifest import Manifest, Position, Redo, Server, Space
from goldcopy.restore.by_id import _nameless
from goldcopy.restore.materialise import Placement


def space(path, number, stored="full", external=""):
    return Space(
        path=path, space_id=number, identity="i", page_size=16384, size=1, size_final=1, stored=stored,
        external=external,
    )


SPACES = (
    space("ibdata1", 0), space("undo001", 1), space("d/a.ibd", 5), space("d/b.ibd", 6),
    space("e/a.ibd", 7, external="/far/e/a.ibd"), space("d/new.ibd", 0xFFFFFFFF, "raw"),
)


@pytest.fixture
def datadir(tmp_path: Path) -> Path:
    for name in ("ibdata1", "undo001", "d/a.ibd", "d/b.ibd", "d/new.ibd", "e/a.isl", "d/a.frm"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    return tmp_path


def manifest() -> Manifest:
    return Manifest(
        id="b", kind="full", tool="goldcopy", started="", finished="",
        server=Server(family="mysql", version="5.6.24", dialect="mysql-5.6", identity="i"),
        redo=Redo(layout="R56", start=512, checkpoint=600, end=1024), position=Position(), spaces=SPACES, plain=(),
    )


def tree(folder: Path) -> dict[str, str]:
    return {str(p.relative_to(folder)): p.read_text() for p in folder.rglob("*") if p.is_file()}


def test_no_table_has_a_name_that_redo_knows_and_all_have_their_own_afterwards(datadir):
    before = tree(datadir)
    with _nameless(manifest(), Placement(str(datadir))):
        assert {p for p in tree(datadir) if p.endswith((".ibd", ".isl"))} == {
            "d/goldcopy-5.ibd", "d/goldcopy-6.ibd", "e/goldcopy-7.isl", "d/new.ibd",
        }
    assert tree(datadir) == before


def test_a_run_that_was_cut_off_halfway_is_taken_up(datadir):
    before = tree(datadir)
    (datadir / "d/a.ibd").rename(datadir / "d/goldcopy-5.ibd")
    with _nameless(manifest(), Placement(str(datadir))):
        assert not (datadir / "d/b.ibd").exists()
    assert tree(datadir) == before
