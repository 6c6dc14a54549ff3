"""A prepared copy takes the backup's place: killed at any step, the next attempt finds a whole backup and cleans up."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from goldcopy.errors import TargetRefused
from goldcopy.image import osfile
from goldcopy.image.manifest import MANIFEST_NAME
from goldcopy.restore import exchange
from goldcopy.restore.unfinished import MARK_NAME, Mark


class Killed(BaseException):
    """Stands for SIGKILL: nothing of ours runs after it."""


def lay_down(tmp_path: Path) -> tuple[str, Mark]:
    home = tmp_path / "b"
    for directory, content in ((home, "old"), (Path(exchange.working_copy(str(home))), "new")):
        (directory / "db").mkdir(parents=True)
        for name in (MANIFEST_NAME, "ibdata1", "db/t.ibd"):
            (directory / name).write_text(content)
    return str(home), Mark(exchange.working_copy(str(home)), "a test")


def dies_at(step: int, monkeypatch: pytest.MonkeyPatch, *, can_exchange: bool) -> None:
    """Of all calls that change something, the one of this number and all after it are not made."""
    calls = iter(range(1000))

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def call(*args: object, **kwargs: object) -> object:
            if next(calls) >= step:
                raise Killed
            return real(*args, **kwargs)

        return call

    class Libc:
        renameat2 = staticmethod(counted(exchange._libc.renameat2 if can_exchange else lambda *_: -1))

    monkeypatch.setattr(exchange, "_libc", Libc)
    for name in ("rename", "unlink", "rmdir"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))
    monkeypatch.setattr(osfile, "sync_directory", counted(osfile.sync_directory))


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("step", range(14))
def test_killed_at_any_step_a_whole_backup_is_found(tmp_path, monkeypatch, step, can_exchange):
    home, mark = lay_down(tmp_path)
    with monkeypatch.context() as patched:
        dies_at(step, patched, can_exchange=can_exchange)
        try:
            exchange.take_place(home)
            mark.remove()
        except Killed:
            with pytest.raises(TargetRefused):
                patched.undo()
                exchange.settle(home)
            os.close(mark._fd)
    exchange.settle(home)
    kept = {(Path(home) / name).read_text() for name in (MANIFEST_NAME, "ibdata1", "db/t.ibd")}
    assert kept in ({"old"}, {"new"})
    assert os.listdir(tmp_path) == ["b"]
    assert MARK_NAME not in os.listdir(home)


@pytest.mark.parametrize("step", range(9))
def test_killed_while_it_settles_it_can_be_done_again(tmp_path, monkeypatch, step):
    home, mark = lay_down(tmp_path)
    os.close(mark._fd)
    with monkeypatch.context() as patched:
        dies_at(step, patched, can_exchange=True)
        try:
            exchange.settle(home)
        except Killed:
            pass
    exchange.settle(home)
    left = exchange.working_copy(home)
    assert not os.path.exists(left) or not os.listdir(left)
    assert (Path(home) / MANIFEST_NAME).read_text() == "old"


def test_a_half_restored_data_directory_is_none_that_took_a_place(tmp_path):
    home, mark = lay_down(tmp_path)
    work = exchange.working_copy(home)
    os.close(mark._fd)
    os.rename(os.path.join(work, MARK_NAME), os.path.join(home, MARK_NAME))
    os.unlink(os.path.join(home, MANIFEST_NAME))
    assert not exchange.settle(home)
    assert os.path.isdir(work)
    shutil.rmtree(work)
