"""A restore by --move uses the only copy up: whatever happens, every file of it is in one of the two places."""

from __future__ import annotations

import os
from pathlib import Path

import msgspec
import pytest
from test_target import backup, plain, tree

from goldcopy.commands import restore
from goldcopy.errors import TargetRefused, UsageError
from goldcopy.events import silent
from goldcopy.image.chain import Image, Member
from goldcopy.image.manifest import MANIFEST_NAME, dump
from goldcopy.restore import moving
from goldcopy.restore.materialise import Placement
from goldcopy.restore.target import Target

FILES = ("ibdata1", "d/a.ibd", "d/b.ibd", "e/c.frm")


KEPT: set[Path] = set()
"""Where nothing failed before the very end, which no signal interrupts."""


class Cut(BaseException):
    """The end of the process, at any step."""


class Steps:
    """Cuts the n-th change of names off, before or after it is done."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, at: int, *, links: bool) -> None:
        self.at = at
        for name in ("link", "unlink", "rename"):
            monkeypatch.setattr(os, name, self.counted(getattr(os, name), fails=name == "link" and not links))

    def counted(self, real, *, fails):  # type: ignore[no-untyped-def]
        def step(*args, **kwargs):  # type: ignore[no-untyped-def]
            self.at -= 1
            if self.at == 0:
                raise Cut
            if fails:
                raise OSError(18, "another file system")
            real(*args, **kwargs)
            self.at -= 1
            if self.at == 0:
                raise Cut

        return step


def prepared(directory: Path, external: str = "") -> Image:
    image = backup(directory, *(plain(path) for path in FILES), plain("far.frm", external=external))
    manifest = msgspec.structs.replace(image.newest, state="prepared")
    (directory / MANIFEST_NAME).write_bytes(b"".join(dump(manifest)))
    return Image((Member(str(directory), manifest),))


def move(image: Image, target: Path) -> None:
    with Target(image, Placement(str(target)), silent, move=True) as made:
        made.move_in()
        made.keep()
        KEPT.add(target)


def everything(*directories: Path) -> list[str]:
    return sorted(os.path.basename(p) for d in directories for p in tree(d) if (d / p).is_file())


@pytest.mark.parametrize("links", [True, False])
def test_a_move_that_fails_at_any_step_gives_all_back(tmp_path, monkeypatch, links):
    for at in range(1, 60):
        source, target, far = (tmp_path / f"{name}{at}" for name in ("backup", "data", "far"))
        image = prepared(source, str(far / "x" / "far.frm"))
        before = tree(source)
        with monkeypatch.context() as patch:
            steps = Steps(patch, at, links=links)
            try:
                move(image, target)
            except Cut:
                if target not in KEPT:
                    assert tree(source) == before and not target.exists() and not far.exists()
        if steps.at > 0:
            assert {*FILES} <= tree(target) and tree(far) == {"x", "x/far.frm"}
            return
    raise AssertionError("it never ended")


@pytest.mark.parametrize("links", [True, False])
def test_a_move_that_was_killed_at_any_step_goes_on(tmp_path, monkeypatch, links):
    for at in range(1, 60):
        source, target, far = (tmp_path / f"{name}{at}" for name in ("backup", "data", "far"))
        image = prepared(source, str(far / "far.frm"))
        with monkeypatch.context() as patch:
            steps = Steps(patch, at, links=links)
            killed = Target(image, Placement(str(target)), silent, move=True)
            try:
                killed.__enter__()
                killed.move_in()
            except Cut:
                pass
            os.close(killed._mark._fd)
        with pytest.raises(TargetRefused, match="cut off"):
            Target(image, Placement(str(target)), silent).__enter__()

        move(image, target)

        assert everything(target, far, source) == everything_of_one(source)
        if steps.at > 0:
            return
    raise AssertionError("it never ended")


def everything_of_one(source: Path) -> list[str]:
    assert tree(source) == {"d", "e", MANIFEST_NAME}
    return sorted([*(os.path.basename(f) for f in FILES), "far.frm", MANIFEST_NAME])


def test_nothing_is_moved_for_an_owner_that_does_not_exist_or_over_another_file(tmp_path):
    image = prepared(tmp_path / "backup", str(tmp_path / "far.frm"))
    before = tree(tmp_path / "backup")
    command = restore.Restore(from_=image.directory, datadir=str(tmp_path / "data"), move=True, owner="nosuch")
    with pytest.raises(UsageError, match="nosuch"):
        restore.run(command, silent)
    (tmp_path / "far.frm").write_text("mine")
    with pytest.raises(TargetRefused, match="never overwritten"):
        move(image, tmp_path / "data")
    assert tree(tmp_path / "backup") == before and not (tmp_path / "data").exists()
    assert (tmp_path / "far.frm").read_text() == "mine"


def test_a_failure_after_the_move_gives_all_back(tmp_path, monkeypatch):
    image = prepared(tmp_path / "backup")
    before = tree(tmp_path / "backup")
    monkeypatch.setattr(moving.osfile, "sync_directory", _fail)
    with pytest.raises(OSError):
        move(image, tmp_path / "data")
    assert tree(tmp_path / "backup") == before and not (tmp_path / "data").exists()


def _fail(_path: str) -> None:
    raise OSError(5, "Input/output error")
