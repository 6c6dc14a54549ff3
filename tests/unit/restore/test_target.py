"""A restore that fails leaves its target as it was, though not every file that it wrote is remembered."""

from __future__ import annotations

from pathlib import Path

import pytest

from goldcopy.errors import BackupInvalid
from goldcopy.events import silent
from goldcopy.formats.chunksum import RunningSum
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import Manifest, Plain, Position, Redo, Server
from goldcopy.restore.materialise import Placement
from goldcopy.restore.target import Target


def sums(data: bytes) -> str:
    running = RunningSum()
    running.add(memoryview(data))
    return running.text()


def backup(directory: Path, *files: Plain) -> Image:
    for file in files:
        place = directory / file.path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"content")
    manifest = Manifest(
        id="1", kind="full", tool="t", started="", finished="", position=Position(), spaces=(), plain=files,
        server=Server(family="mariadb", version="10.11.19", dialect="mariadb-10.11", identity="x"),
        redo=Redo(layout="R108", start=0, checkpoint=0, end=0),
    )
    return Image((Member(str(directory), manifest),))


def plain(path: str, *, external: str = "", good: bool = True) -> Plain:
    return Plain(path=path, external=external, size=7, sums=sums(b"content" if good else b"another"))


def tree(directory: Path) -> set[str]:
    return {str(p.relative_to(directory)) for p in directory.rglob("*")}


@pytest.mark.parametrize("good", [True, False])
def test_what_a_failed_restore_wrote_goes_and_nothing_else(tmp_path, good):
    target, ssd = tmp_path / "data", tmp_path / "ssd"
    (target / "kept").mkdir(parents=True)
    (target / "kept" / "note").write_text("mine")
    ssd.mkdir()
    image = backup(
        tmp_path / "backup", plain("kept/a.frm"), plain("new/b.frm"), plain("top"),
        plain("far.frm", external=str(ssd / "far.frm")), plain("zz.frm", good=good),
    )
    before = tree(tmp_path / "data") | tree(ssd)
    try:
        with Target(image, Placement(str(target)), silent, force_non_empty=True) as made:
            made.fill(threads=1)
            made.keep()
    except BackupInvalid:
        assert not good
        assert tree(target) | tree(ssd) == before
    else:
        assert good
        assert tree(target) | tree(ssd) == before | {"kept/a.frm", "new", "new/b.frm", "top", "far.frm", "zz.frm"}
